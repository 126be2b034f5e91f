"""Applying a plan in stages, each durable before the next begins, so that a crash does no harm.

A line is overwritten in place, where a reader may read it at any time and the power may fail in the
middle. So its first byte is set to a mark that begins no JSON text before anything else, and gets
its final value after the rest: a half-written line is never a record. The newlines that split a
line, or join it to its neighbour, are changed last: each is a single byte, and valid by itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ..fs import calls
from ..read.repair_mark import MARK
from ..segment import recovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..fs.lock import FileLock
    from .plan import Patch, Plan

_BLANK_BYTES: Final = 1 << 20
_BLANK: Final = b" " * _BLANK_BYTES


def apply_plan(plan: Plan, fd: int, lock: FileLock, active: int) -> None:
    """Apply a plan to the open file `fd`, under the lock of the log.

    What is overwritten is copied to `.torn` first. Objects that move are appended to the active
    file before they are blanked in `fd`, but the newlines that complete them are written last: a
    crash in between leaves them in `.torn`, and never in the log twice. An error leaves the same
    state as a crash, and the next repair continues.

    Args:
        plan: What is to be written to `fd`.
        fd: The file, open to overwrite.
        lock: The lock of the active file, held.
        active: The active file, open to overwrite.
    """
    if plan.quarantined:
        recovery.quarantine(fd, plan.quarantined, lock.path)
    end = _add_unfinished(plan.moved, lock)
    marked = [patch for patch in plan.patches if patch.end > patch.start]
    _write(lock, fd, ((patch.start, MARK) for patch in marked))
    _write(lock, fd, (write for patch in marked for write in _rest_of(patch)))
    _write(
        lock, fd, ((patch.start, patch.content[:1] if patch.content else b" ") for patch in marked)
    )
    _write(lock, fd, plan.flips)
    _write(lock, active, _newlines_of(plan.moved, end))


def _add_unfinished(moved: list[bytes], lock: FileLock) -> int:
    """Append objects to the active file without their newlines; return where they begin."""
    end = calls.size_of(lock.fd)
    if moved:
        if end == 0:
            calls.sync_directory(os.path.dirname(lock.path))
        try:
            calls.write_all(lock.fd, b" ".join(moved))
            calls.sync_file(lock.fd)
        except BaseException:
            calls.cut_back(lock.fd, end)
            raise
    return end


def _newlines_of(moved: list[bytes], offset: int) -> Iterator[tuple[int, bytes]]:
    for item in moved:
        offset += len(item)
        yield offset, b"\n"
        offset += 1


def _rest_of(patch: Patch) -> Iterator[tuple[int, bytes]]:
    """Yield what is written after the first byte of a patch."""
    start = patch.start + 1
    if patch.content is not None:
        yield start, patch.content[1:]
        return
    for offset in range(start, patch.end, _BLANK_BYTES):
        yield offset, _BLANK[: patch.end - offset]


def _write(lock: FileLock, fd: int, writes: Iterable[tuple[int, bytes]]) -> None:
    """Write each piece of data at its offset, then sync once."""
    is_written = False
    for offset, data in writes:
        if lock.fd < 0:  # a signal handler forked, and this is the child, which has no lock
            raise lock.error_of_child()
        calls.overwrite(fd, data, offset)
        is_written = True
    if is_written:
        calls.sync_file(fd)
