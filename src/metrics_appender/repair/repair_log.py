"""The repair of one log.

Look without a lock, then lock, look at what was added since, and carry out.
"""

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
from .apply import carry_out
from .plan import Plan, make_plan
from .report import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ..check.report import FaultKind
    from ..fs.lock import FileLock
    from ..segment.source import Source

_MOST_TRIES: Final = 100
_UNDER_WAY: Final = "every byte is in the file or in its .torn; repair again"
_COMPRESSED: Final = (
    "in a compressed segment; unpack it beside the log (gunzip, unzstd), then repair again"
)


class _ChangedError(Exception):
    """What was looked at is not what is there any more.

    A rotation came between, or another repair.
    """


class _Look(NamedTuple):
    """One open file of the log, how far it was read, and its faults."""

    source: Source
    is_active: bool
    scan: Scan
    found: list[Finding]

    def is_writable(self) -> bool:
        """Whether what is read are the file's own bytes."""
        return not isinstance(self.source, CompressedFile)


def mend_log(
    path: str,
    *,
    is_dry_run: bool,
    keep: Collection[FaultKind],
    lock_timeout: float | None,
    progress: Callable[[int], None],
) -> list[Change]:
    """Repair a log, or tell what would be done; see `repair`."""
    for _ in range(_MOST_TRIES):
        with ExitStack() as opened:
            looks = _look_at(path, opened, progress)
            plans = [_plan_for(look, keep) for look in looks]
            if is_dry_run or not any(plan.has_work() for plan in plans):
                return [change for plan in plans for change in plan.changes]
            with _maintenance_of(path, lock_timeout):
                work = functools.partial(_mend, looks=looks, keep=keep)
                changes = _run_under_lock(path, work, lock_timeout)
            if changes is not None:
                return changes
    raise OSError(
        errno.ESTALE,
        f"{os.strerror(errno.ESTALE)}: changed {_MOST_TRIES} times while it was looked at",
        path,
    )


def _look_at(path: str, opened: ExitStack, progress: Callable[[int], None]) -> list[_Look]:
    schema, ids = schema_for(path), set[str]()
    looks = []
    for part in list_parts(path, opened):
        try:
            source = opened.enter_context(part.open())
        except FileNotFoundError:
            continue  # deleted by retention, or by hand
        scan = Scan(source, schema, ids)
        looks.append(_Look(source, part.is_active, scan, list(find_faults(scan, source, progress))))
    return looks


def _plan_for(look: _Look, keep: Collection[FaultKind]) -> Plan:
    if look.is_writable():
        return make_plan(
            look.source, look.found, look.scan.position, keep, is_sealed=not look.is_active
        )
    return Plan([Change(found.fault, "left", _COMPRESSED) for found in look.found])


def _run_under_lock(
    path: str, work: Callable[[FileLock], list[Change]], lock_timeout: float | None
) -> list[Change] | None:
    """Do the work under the file's lock; `None` when it has to be begun anew."""

    def task(lock: FileLock) -> list[Change] | None:
        try:
            return work(lock)
        except _ChangedError:
            return None
        except OSError as error:
            add_outcome(error, path, _UNDER_WAY)
            raise

    writer = LogWriter(path, "fsync", lock_timeout)
    try:
        changes: list[Change] | None = writer.run_exclusive(task)
    finally:
        writer.close()
    return changes


@contextmanager
def _maintenance_of(path: str, lock_timeout: float | None) -> Iterator[None]:
    """Keep other repairs away, and the compressor, which must not copy what is half repaired."""
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


def _mend(lock: FileLock, looks: list[_Look], keep: Collection[FaultKind]) -> list[Change]:
    """Repair all files of a log whose active file is locked."""
    with ExitStack() as opened:
        active = _open_same(lock.path, lock.inode, opened)
        looks = [_look_on(look, lock) if look.is_active else look for look in looks]
        if lock.size and not any(look.is_active for look in looks):
            raise _ChangedError
        plans = []
        for look in looks:
            _require_same(look)
            plans.append((_open_to_mend(look, active, opened), _plan_for(look, keep)))
        _mend_tail(lock, looks, [plan for _, plan in plans])
        for fd, plan in plans:
            if plan.has_work():
                times = calls.stat_open(fd)
                carry_out(plan, fd, lock, active)
                if fd != active:
                    calls.set_times(fd, times)  # a segment's age is its time of sealing
        return [change for _, plan in plans for change in plan.changes]


def _look_on(look: _Look, lock: FileLock) -> _Look:
    """Look at what was added since, to the end: nobody writes now."""
    if _inode_of(look.source) != lock.inode:
        raise _ChangedError
    found = [found for found in look.found if found.fault.kind != "torn_tail"]
    found += look.scan.scan_new_lines()
    torn = look.scan.find_torn_tail(lambda: True)
    return look._replace(found=[*found, torn] if torn else found)


def _mend_tail(lock: FileLock, looks: list[_Look], plans: list[Plan]) -> None:
    """Cut off what is torn, or everything where nothing is good.

    Before any object is moved to where the file ends.
    """
    for look, plan in zip(looks, plans, strict=True):
        end = 0 if plan.is_cut else look.scan.position
        if look.is_active and end != lock.size:
            recovery.quarantine_tail(lock.fd, lock.path, end, lock.size)


def _require_same(look: _Look) -> None:
    """Raise unless each faulty line still stands where it was found."""
    for fault, fingerprint, _ in look.found:
        before = min(1, fault.byte_offset)
        data = look.source.read_at(before + fault.length + 1, fault.byte_offset - before)
        line = data[before : before + fault.length]
        ends = data[:before] + data[before + fault.length :]
        if hash(line) != fingerprint or ends.strip(b"\n"):
            raise _ChangedError


def _open_to_mend(look: _Look, active: int, opened: ExitStack) -> int:
    if look.is_active:
        return active
    return (
        _open_same(look.source.path, _inode_of(look.source), opened)
        if look.is_writable() and look.found
        else -1
    )


def _open_same(path: str, inode: int, opened: ExitStack) -> int:
    """Open a file to overwrite, which has to be the one with this inode number."""
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
