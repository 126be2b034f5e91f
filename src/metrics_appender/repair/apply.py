"""Carrying out a plan, stage by stage, each durable before the next begins.

That a crash in between does no harm.

A line is overwritten in place, where a reader may look at any time and the power may go in the
middle. So its first byte becomes a mark first, with which no JSON begins, and is put right last: no
half of what is written is ever a record. Only then are the newlines changed that make lines of it,
or join it to a neighbour: each a single byte, and right by itself.
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


def carry_out(plan: Plan, fd: int, lock: FileLock, active: int) -> None:
    """Do to the open file `fd` what the plan says.

    `lock` is held, of the log's active file, which is open to overwrite as `active`.

    What is in the way goes to `.torn` first. Objects that move to the end of the log stand there
    before they are blanked where they were, but without the newline that makes a record of them,
    and get it last: a crash in between leaves them in `.torn`, and in no file twice. After an error
    the same holds as after a crash, and the next repair goes on.
    """
    if plan.aside:
        recovery.quarantine(fd, plan.aside, lock.path)
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
    """Append objects to the active file, all but the newline behind each of them.

    Return where they begin.
    """
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


def _newlines_of(moved: list[bytes], place: int) -> Iterator[tuple[int, bytes]]:
    for item in moved:
        place += len(item)
        yield place, b"\n"
        place += 1


def _rest_of(patch: Patch) -> Iterator[tuple[int, bytes]]:
    """Yield what is to be written behind a patch's first byte."""
    start = patch.start + 1
    if patch.content is not None:
        yield start, patch.content[1:]
        return
    for place in range(start, patch.end, _BLANK_BYTES):
        yield place, _BLANK[: patch.end - place]


def _write(lock: FileLock, fd: int, writes: Iterable[tuple[int, bytes]]) -> None:
    """Write each of the bytes at its offset, then sync."""
    is_written = False
    for offset, data in writes:
        if lock.fd < 0:  # a signal handler forked, and this is the child
            raise lock.error_of_child()
        calls.overwrite(fd, data, offset)
        is_written = True
    if is_written:
        calls.sync_file(fd)
