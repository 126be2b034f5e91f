"""Repairing one log: scan it without a lock, then lock it, scan the rest, and apply the plans."""

from __future__ import annotations

import errno
import functools
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from ..check.examine import find_faults
from ..check.files import list_parts
from ..check.scan import Finding, Scan
from ..check.schema import schema_for
from ..errors import LockTimeoutError
from ..fs import calls, filename
from ..outcome import NOTHING_WRITTEN, add_outcome, explain
from ..segment import recovery
from ..segment.source import CompressedFile
from ..write.log_writer import LogWriter
from .apply import apply_plan
from .plan import Plan, make_plan
from .report import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ..check.report import FaultKind
    from ..fs.lock import FileLock
    from ..segment.source import Source

_MAX_ATTEMPTS: Final = 100
_INCOMPLETE: Final = "every byte is in the file or in its .torn; repair again"
_COMPRESSED: Final = (
    "in a compressed segment; unpack it beside the log (gunzip, unzstd), then repair again"
)


class _ChangedError(Exception):
    """A rotation or another repair changed the log after it was scanned."""


class _ScannedFile(NamedTuple):
    """One open file of the log with its scan and its faults."""

    source: Source
    is_active: bool
    scan: Scan
    findings: list[Finding]

    def is_writable(self) -> bool:
        """Return whether the file can be overwritten, that is, is not compressed."""
        return not isinstance(self.source, CompressedFile)


def repair_log(
    path: str,
    *,
    is_dry_run: bool,
    keep: Collection[FaultKind],
    lock_timeout: float | None,
    progress: Callable[[int], None],
) -> list[Change]:
    """Repair one log, or plan it for a dry run; see `repair`."""
    for _ in range(_MAX_ATTEMPTS):
        with ExitStack() as opened:
            scanned_files = _scan_files(path, opened, progress)
            plans = [_plan_for(scanned, keep) for scanned in scanned_files]
            if is_dry_run or not any(plan.has_work() for plan in plans):
                return [change for plan in plans for change in plan.changes]
            with _maintenance_lock(path, lock_timeout):
                work = functools.partial(_repair_locked, scanned_files=scanned_files, keep=keep)
                changes = _run_under_lock(path, work, lock_timeout)
            if changes is not None:
                return changes
    raise OSError(
        errno.ESTALE,
        f"{os.strerror(errno.ESTALE)}: changed {_MAX_ATTEMPTS} times while it was looked at",
        path,
    )


def _scan_files(
    path: str, opened: ExitStack, progress: Callable[[int], None]
) -> list[_ScannedFile]:
    schema, ids = schema_for(path), set[str]()
    scanned_files = []
    for part in list_parts(path, opened):
        try:
            source = opened.enter_context(part.open())
        except FileNotFoundError:
            continue  # a segment that retention or a person deleted
        scan = Scan(source, schema, ids)
        scanned_files.append(
            _ScannedFile(source, part.is_active, scan, list(find_faults(scan, source, progress)))
        )
    return scanned_files


def _plan_for(scanned: _ScannedFile, keep: Collection[FaultKind]) -> Plan:
    if scanned.is_writable():
        return make_plan(
            scanned.source,
            scanned.findings,
            scanned.scan.position,
            keep,
            is_sealed=not scanned.is_active,
        )
    return Plan([Change(finding.fault, "left", _COMPRESSED) for finding in scanned.findings])


def _run_under_lock(
    path: str, work: Callable[[FileLock], list[Change]], lock_timeout: float | None
) -> list[Change] | None:
    """Run `work` under the file's lock; return `None` if the log has to be scanned again."""

    def task(lock: FileLock) -> list[Change] | None:
        try:
            return work(lock)
        except _ChangedError:
            return None
        except OSError as error:
            add_outcome(error, path, _INCOMPLETE)
            raise

    writer = LogWriter(path, "fsync", lock_timeout)
    try:
        changes: list[Change] | None = writer.run_exclusive(task)
    finally:
        writer.close()
    return changes


@contextmanager
def _maintenance_lock(path: str, lock_timeout: float | None) -> Iterator[None]:
    """Exclude other repairs and the cleaner, which must not compress a half-repaired segment."""
    from filelock import FileLock, Timeout

    lock_path = filename.maintenance_lock_path(path)
    lock = FileLock(
        lock_path, timeout=-1 if lock_timeout is None else lock_timeout, fallback_to_soft=False
    )
    try:
        lock.acquire()
    except Timeout:
        raise explain(
            LockTimeoutError(lock_path, lock_timeout or 0.0), lock_path, NOTHING_WRITTEN
        ) from None
    try:
        yield
    finally:
        lock.release()


def _repair_locked(
    lock: FileLock, scanned_files: list[_ScannedFile], keep: Collection[FaultKind]
) -> list[Change]:
    """Repair all files of a log, under its lock."""
    with ExitStack() as opened:
        active = _open_same(lock.path, lock.inode, opened)
        scanned_files = [
            _scan_rest(scanned, lock) if scanned.is_active else scanned for scanned in scanned_files
        ]
        if lock.size and not any(scanned.is_active for scanned in scanned_files):
            raise _ChangedError
        plans = []
        for scanned in scanned_files:
            _require_unchanged(scanned)
            plans.append((_open_for_repair(scanned, active, opened), _plan_for(scanned, keep)))
        _recover_tail(lock, scanned_files, [plan for _, plan in plans])
        for fd, plan in plans:
            if plan.has_work():
                times = calls.stat_open(fd)
                apply_plan(plan, fd, lock, active)
                if fd != active:
                    calls.set_times(fd, times)  # a segment's mtime is when it was sealed
        return [change for _, plan in plans for change in plan.changes]


def _scan_rest(scanned: _ScannedFile, lock: FileLock) -> _ScannedFile:
    """Scan the active file to its end, under the lock: no line is being written now."""
    if _inode_of(scanned.source) != lock.inode:
        raise _ChangedError
    findings = [finding for finding in scanned.findings if finding.fault.kind != "torn_tail"]
    findings += scanned.scan.scan_new_lines()
    torn = scanned.scan.find_torn_tail(lambda: True)
    return scanned._replace(findings=[*findings, torn] if torn else findings)


def _recover_tail(lock: FileLock, scanned_files: list[_ScannedFile], plans: list[Plan]) -> None:
    """Quarantine the torn tail, or the whole active file where nothing in it is valid.

    This comes before objects are moved to the end of that file.
    """
    for scanned, plan in zip(scanned_files, plans, strict=True):
        end = 0 if plan.is_cut else scanned.scan.position
        if scanned.is_active and end != lock.size:
            recovery.quarantine_tail(lock.fd, lock.path, end, lock.size)


def _require_unchanged(scanned: _ScannedFile) -> None:
    """Raise `_ChangedError` unless each faulty line is still where it was found."""
    for fault, fingerprint, _ in scanned.findings:
        before = min(1, fault.byte_offset)
        data = scanned.source.read_at(before + fault.length + 1, fault.byte_offset - before)
        line = data[before : before + fault.length]
        ends = data[:before] + data[before + fault.length :]
        if hash(line) != fingerprint or ends.strip(b"\n"):
            raise _ChangedError


def _open_for_repair(scanned: _ScannedFile, active: int, opened: ExitStack) -> int:
    if scanned.is_active:
        return active
    return (
        _open_same(scanned.source.path, _inode_of(scanned.source), opened)
        if scanned.is_writable() and scanned.findings
        else -1
    )


def _open_same(path: str, inode: int, opened: ExitStack) -> int:
    """Open a file to overwrite; raise `_ChangedError` unless it has this inode number."""
    try:
        fd = calls.open_overwrite(path)
    except FileNotFoundError:
        raise _ChangedError from None
    opened.callback(calls.close, fd)
    if calls.stat_open(fd).st_ino != inode:
        raise _ChangedError
    return fd


def _inode_of(source: Source) -> int:
    return calls.stat_open(source.fd).st_ino
