"""Which file of a log comes after the current one, whatever was renamed or deleted meanwhile."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import CorruptSegmentError, CursorGoneError
from ..segment.logrotate import list_rotated
from ..segment.segments import base_of_active, list_segments
from ..segment.source import closed_on_error
from .log_file import LogFile, open_active, open_rotated, open_sealed
from .seek import does_hold, seek_head

if TYPE_CHECKING:
    from ..segment.logrotate import Rotated
    from ..segment.segments import Segment
    from .cursor import Cursor

_TICK_NS: Final = 20_000_000  # by which the clock of the files may lag behind ours


class Absence(NamedTuple):
    """A moment when a log may have had no file, and the files that were rotated away before it."""

    moment_ns: int
    inodes: frozenset[int]

    def is_before(self, rotated: Rotated) -> bool:
        """Return whether a file was begun after the moment."""
        return rotated.mtime_ns >= self.moment_ns - _TICK_NS and rotated.inode not in self.inodes


def note_absence(path: str) -> Absence:
    """Return what has to be known of this moment, should there be no file at `path`."""
    return Absence(time.time_ns(), frozenset(rotated.inode for rotated in list_rotated(path)))


def open_begun_since(path: str, absence: Absence) -> LogFile | None:
    """Open the oldest file that was begun after a moment when there was none.

    It may have been rotated away by now.
    """
    while True:
        head = seek_head(path)
        first = head[0] if head else None
        with closed_on_error(first):
            begun = [rotated for rotated in list_rotated(path) if absence.is_before(rotated)]
        if not begun:
            return first
        if first:
            first.close()
        try:
            return open_rotated(begun[0], base_of_active(path))
        except FileNotFoundError:
            continue


def open_next(path: str, current: LogFile, cursor: Cursor) -> LogFile | None:
    """Open the file that was begun after `current`; `None` if there is none yet.

    `current` has lost its name and is read to its end, which is at `cursor`. Raises
    `CursorGoneError` when files in between are deleted already.
    """
    while True:
        with closed_on_error(open_active(path)) as active:
            try:
                found = _sealed_after(path, current, cursor) or _rotated_after(
                    path, current, cursor
                )
            except FileNotFoundError:  # renamed between listing and opening
                if active:
                    active.close()
                continue
            if found:
                if active:
                    active.close()
                return found
            if active is None:
                return None
            if current.is_same(active):  # it has its name back
                active.close()
                return None
            if active.has_name(path):
                return active
        active.close()


def _sealed_after(path: str, current: LogFile, cursor: Cursor) -> LogFile | None:
    end = current.end
    for segment in list_segments(path):
        is_in_its_position = segment.start == current.start and not (
            segment.end == end and _is_sealed_as(segment, current)
        )
        if segment.start == end or is_in_its_position:
            return open_sealed(segment)
        if segment.start > end:
            reason = (
                f"the segments from {end} to {segment.start} of its stream "
                "were deleted before they were read"
            )
            raise CursorGoneError(path, str(cursor), reason)
    return None


def _is_sealed_as(segment: Segment, current: LogFile) -> bool:
    """Return whether a segment with the range of `current` is that file itself.

    And not a file that was begun when that was removed. Once it was compressed, its bytes tell;
    where it cannot be unpacked there is nothing to go on with anyway.
    """
    if current.is_sealed:
        return True  # both names say the same
    try:
        with contextlib.closing(open_sealed(segment)) as sealed:
            return sealed.is_same(current) or (
                segment.compression is not None and sealed.has_bytes_of(current)
            )
    except (CorruptSegmentError, ImportError):
        return True


def _rotated_after(path: str, current: LogFile, cursor: Cursor) -> LogFile | None:
    """Open the oldest file that was rotated away after `current`."""
    rotated = list_rotated(path)
    newer = rotated[_index_of(current, cursor, rotated) + 1 :]
    if not newer:
        return None
    return open_rotated(newer[0], current.end if current.is_sealed else current.start)


def _index_of(current: LogFile, cursor: Cursor, rotated: list[Rotated]) -> int:
    """Return the index of a file among those that were rotated away.

    Where it is not, of the last that was written before it.
    """
    for index, file in enumerate(rotated):
        if current.is_same(file):
            return index
    last_written_ns = current.last_written_ns()
    for index, file in reversed(list(enumerate(rotated))):
        if (file.is_compressed and _is_packed_in(file, cursor)) or file.mtime_ns <= last_written_ns:
            return index
    return -1


@functools.lru_cache(maxsize=128)
def _is_packed_in(rotated: Rotated, cursor: Cursor) -> bool:
    """Return whether a compressed file holds a cursor.

    Unpacked once, for a follower that waits asks at every look. Written anew, it has another time.
    """
    return does_hold(rotated, cursor)
