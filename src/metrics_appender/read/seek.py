"""Which file of a log comes first, which comes next, and which one holds the place of a cursor.

A log's files are its sealed segments, the files that other programs rotated away, and the active
one. They are renamed and deleted at any moment, so each answer is given only when the names still
stand as they were listed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import CorruptSegmentError, CursorGoneError
from ..segment.logrotate import identities, list_rotated
from ..segment.segments import base_of_active, list_segments
from ..segment.source import closed_on_error
from .log_file import LogFile, open_active, open_rotated, open_sealed

if TYPE_CHECKING:
    from ..segment.logrotate import Rotated
    from ..segment.segments import Segment
    from .cursor import Cursor


_SECOND_NS: Final = 1_000_000_000
_TICK_NS: Final = 20_000_000  # by which the clock of the files may lag behind ours


class Absence(NamedTuple):
    """A moment when a log may have had no file, and the files that were rotated away before it."""

    moment_ns: int
    inodes: frozenset[int]

    def is_before(self, rotated: Rotated) -> bool:
        """Whether a file was begun after the moment."""
        return rotated.mtime_ns >= self.moment_ns - _TICK_NS and rotated.inode not in self.inodes


def note_absence(path: str) -> Absence:
    """Return what has to be known of this moment, should there be no file at `path`."""
    return Absence(time.time_ns(), frozenset(rotated.inode for rotated in list_rotated(path)))


def open_first(path: str) -> LogFile | None:
    """Open the oldest file of the log's own: its first sealed segment, else the active file.

    `None` when there is none yet.
    """
    while True:
        with closed_on_error(open_active(path)) as active:
            if active and active.start == 0:
                return active
            for segment in list_segments(path):
                try:
                    first = open_sealed(segment)
                except FileNotFoundError:
                    continue
                _close(active)
                return first
            if active is None or active.has_name(path):
                return active
        active.close()


def open_begun_since(path: str, absence: Absence) -> LogFile | None:
    """Open the oldest file that was begun after a moment when there was none.

    It may have been rotated away by now.
    """
    while True:
        with closed_on_error(open_first(path)) as first:
            begun = [rotated for rotated in list_rotated(path) if absence.is_before(rotated)]
        if not begun:
            return first
        _close(first)
        try:
            return open_rotated(begun[0], base_of_active(path))
        except FileNotFoundError:
            continue


def open_near_end(path: str, count: int) -> tuple[LogFile, int] | None:
    """Open the file in which the last `count` lines of the log's own files begin.

    Tell the offset; `None` when there is none yet.
    """
    file = _open_last(path)
    if file is None:
        return None
    try:
        offset, found = file.begin_of_last_lines(count)
        for segment in reversed(list_segments(path)):
            if found < count and segment.end <= file.start:
                try:
                    older = open_sealed(segment)
                except FileNotFoundError:  # deleted, and all before it
                    break
                file.close()
                file = older
                offset, more = file.begin_of_last_lines(count - found)
                found += more
    except BaseException:
        file.close()  # whichever it is by now
        raise
    return file, offset


def _open_last(path: str) -> LogFile | None:
    while True:
        active = open_active(path)
        if active:
            return active
        segments = list_segments(path)
        if not segments:
            return None
        try:
            return open_sealed(segments[-1])
        except FileNotFoundError:
            continue


def open_next(path: str, current: LogFile, cursor: Cursor) -> LogFile | None:
    """Open the file that was begun after `current`.

    Has lost its name and is read to its end; `None` if there is none yet.

    Raises `CursorGoneError` when files in between are deleted already.
    """
    while True:
        with closed_on_error(open_active(path)) as active:
            try:
                found = _sealed_after(path, current, cursor) or _rotated_after(
                    path, current, cursor
                )
            except FileNotFoundError:  # renamed between listing and opening
                _close(active)
                continue
            if found:
                _close(active)
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
        is_in_its_place = segment.start == current.start and not (
            segment.end == end and _is_sealed_as(segment, current)
        )
        if segment.start == end or is_in_its_place:
            return open_sealed(segment)
        if segment.start > end:
            reason = f"the segments from {end} to {segment.start} of its stream were deleted before they were read"
            raise CursorGoneError(path, str(cursor), reason)
    return None


def _is_sealed_as(segment: Segment, current: LogFile) -> bool:
    """Whether a segment with the stretch of `current` is that file itself.

    Not one that was begun when that was removed.

    Once it was compressed, its bytes tell; where it cannot be unpacked there is nothing to go on
    with anyway.
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
    newer = rotated[_place_of(current, cursor, rotated) + 1 :]
    if not newer:
        return None
    return open_rotated(newer[0], current.end if current.is_sealed else current.start)


def _place_of(current: LogFile, cursor: Cursor, rotated: list[Rotated]) -> int:
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
    """Whether a compressed file holds a cursor; unpacked once, for who waits asks at every look.

    Written anew, it has another time.
    """
    return _is_held_by(rotated, cursor)


def _is_held_by(rotated: Rotated, cursor: Cursor) -> bool:
    file = _holding(rotated, cursor)
    _close(file)
    return file is not None


def _holding(rotated: Rotated, cursor: Cursor) -> LogFile | None:
    """Open a file that was rotated away if it holds a cursor.

    One that cannot be unpacked holds none.
    """
    try:
        return _if_it_holds(cursor, open_rotated(rotated, cursor.start))
    except CorruptSegmentError:
        return None


def _if_it_holds(cursor: Cursor, file: LogFile) -> LogFile | None:
    """Return a file that holds a cursor, and close one that does not."""
    is_found = False
    try:
        is_found = file.holds(cursor)
    finally:
        if not is_found:
            file.close()
    return file if is_found else None


def open_copy(path: str, cursor: Cursor, since_ns: int) -> LogFile | None:
    """Open the copy that was made of a file before it was cut to nothing in place, as logrotate's `copytruncate` does.

    It was last written to in the second of `since_ns` or later: compression may cut its time to
    seconds.
    """
    while True:
        try:
            return _rotated_twin(path, cursor, is_cut=True, since_ns=since_ns)
        except FileNotFoundError:
            continue


def open_holder(path: str, cursor: Cursor) -> tuple[LogFile, int]:
    """Open the file that holds a stored cursor's place, and return it with the offset in it.

    `CursorGoneError` if there is none.
    """
    while True:
        before = _names(path)
        try:
            found = _holder(path, cursor)
        except FileNotFoundError:  # renamed between listing and opening
            continue
        if found:
            return found
        if _names(path) == before:
            raise CursorGoneError(
                path, str(cursor), "no file that is left holds the record in front of it"
            )


def _names(path: str) -> tuple[object, ...]:
    active = open_active(path)
    _close(active)
    return active and active.inode, identities(list_rotated(path)), list_segments(path)


def _holder(path: str, cursor: Cursor) -> tuple[LogFile, int] | None:
    for segment in list_segments(path):
        if segment.start == cursor.start and segment.start + cursor.offset <= segment.end:
            sealed = _if_it_holds(cursor, open_sealed(segment))
            if sealed:
                return _it_or_its_copy(path, cursor, sealed), cursor.offset
    active = open_active(path)
    is_cut = False
    if active:
        if active.start == cursor.start and active.is_of(cursor):
            if _if_it_holds(cursor, active):
                return _it_or_its_copy(path, cursor, active), cursor.offset
            is_cut = True
        active.close()
    found = _rotated_original(path, cursor) or _rotated_twin(path, cursor, is_cut=is_cut)
    return (found, cursor.offset) if found else _beginning_at(path, cursor.start + cursor.offset)


def _it_or_its_copy(path: str, cursor: Cursor, file: LogFile) -> LogFile:
    """Return a file that holds a cursor, or the copy that was made of it before it was cut in place, and close the other.

    The lines behind a cut may be the same as those in front of it, so what fits by its last line
    only gives way to what fits by all of its bytes; unless that is what the file was before a
    repair.
    """
    with closed_on_error(file):
        copy = None if file.has_content_of(cursor) else _rotated_twin(path, cursor, is_cut=True)
        with closed_on_error(copy):
            is_cut = copy is not None and not file.is_repaired_from(copy, cursor.offset)
    _close(file if is_cut else copy)
    return copy if copy and is_cut else file


def _rotated_original(path: str, cursor: Cursor) -> LogFile | None:
    """Open the file of a cursor where it was rotated away and is as it was."""
    for rotated in list_rotated(path):
        if rotated.inode == cursor.inode:
            found = _holding(rotated, cursor)
            if found and found.is_of(cursor):
                return found
            _close(found)
    return None


def _rotated_twin(path: str, cursor: Cursor, *, is_cut: bool, since_ns: int = 0) -> LogFile | None:
    """Open what has the content of a cursor's file in another.

    It was compressed, or copied before it was cut (`is_cut`).

    Raises `CursorGoneError` where several have it: which of them is the one cannot be known.
    """
    since_s = since_ns // _SECOND_NS
    others = [
        rotated
        for rotated in list_rotated(path)
        if (rotated.is_compressed or is_cut) and rotated.mtime_ns // _SECOND_NS >= since_s
    ]
    twins = [rotated for rotated in others if _is_held_by(rotated, cursor)]
    if len(twins) > 1:
        names = ", ".join(os.path.basename(twin.path) for twin in twins)
        raise CursorGoneError(
            path, str(cursor), f"several files hold the same in front of it ({names})"
        )
    return open_rotated(twins[0], cursor.start) if twins else None


def _beginning_at(path: str, place: int) -> tuple[LogFile, int] | None:
    """Return the file that begins at a place of the stream.

    A cursor at the end of a segment that is deleted has missed nothing.
    """
    if not place:
        return None
    for segment in list_segments(path):
        if segment.end == place:  # it stands where the cursor's file stood, and is another
            return None
        if segment.start == place:
            return open_sealed(segment), 0
    active = open_active(path)
    if active and active.start == place:
        return active, 0
    _close(active)
    return None


def _close(file: LogFile | None) -> None:
    if file:
        file.close()
