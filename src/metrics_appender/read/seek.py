"""Where following begins: at the head of a log, at its tail, or behind a cursor.

A log's files are its sealed segments, the files that other programs rotated away, and the active
one. They are renamed and deleted at any moment, so each answer is given only when the names still
stand as they were listed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ..errors import CorruptSegmentError, CursorGoneError
from ..segment.logrotate import identities, list_rotated
from ..segment.segments import list_segments
from ..segment.source import closed_on_error
from .log_file import LogFile, open_active, open_rotated, open_sealed

if TYPE_CHECKING:
    from ..segment.logrotate import Rotated
    from .cursor import Cursor

    Found = tuple[LogFile, int]  # a file that is open, and an offset in it

_SECOND_NS: Final = 1_000_000_000


def seek_head(path: str) -> Found | None:
    """Open the oldest of the log's own files: its first sealed segment, else the active file.

    `None` when there is none yet.
    """
    while True:
        with closed_on_error(open_active(path)) as active:
            if active and active.start == 0:
                return active, 0
            for segment in list_segments(path):
                try:
                    first = open_sealed(segment)
                except FileNotFoundError:
                    continue
                _close(active)
                return first, 0
            if active is None:
                return None
            if active.has_name(path):
                return active, 0
        active.close()


def seek_tail(path: str, count: int) -> Found | None:
    """Open the file in which the last `count` lines of the log's own files begin.

    `None` when there is none yet.
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


def seek_cursor(path: str, cursor: Cursor) -> Found:
    """Open the file that holds the position of a stored cursor.

    `CursorGoneError` if there is none.
    """
    while True:
        before = _names(path)
        try:
            found = _find(path, cursor)
        except FileNotFoundError:  # renamed between listing and opening
            continue
        if found:
            return found
        if _names(path) == before:
            raise CursorGoneError(
                path, str(cursor), "no file that is left holds the record in front of it"
            )


def open_copy(path: str, cursor: Cursor, since_ns: int) -> LogFile | None:
    """Open the copy of a file that was cut to nothing in place (logrotate's `copytruncate`).

    It was last written to in the second of `since_ns` or later: compression may cut its time to
    seconds. Raises `CursorGoneError` where several files could be the copy.
    """
    while True:
        try:
            return _rotated_twin(path, cursor, is_cut=True, since_ns=since_ns)
        except FileNotFoundError:
            continue


def does_hold(rotated: Rotated, cursor: Cursor) -> bool:
    """Return whether a file that was rotated away holds a cursor."""
    file = _open_if_it_holds(rotated, cursor)
    _close(file)
    return file is not None


def _names(path: str) -> tuple[object, ...]:
    active = open_active(path)
    _close(active)
    return active and active.inode, identities(list_rotated(path)), list_segments(path)


def _find(path: str, cursor: Cursor) -> Found | None:
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
    """Return a file that holds a cursor, or its copy of before it was cut in place.

    The other one is closed. The lines behind a cut may be the same as those in front of it, so a
    file that matches by its last line only gives way to a file that matches by all of its bytes;
    unless that is what the file was before a repair.
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
            found = _open_if_it_holds(rotated, cursor)
            if found and found.is_of(cursor):
                return found
            _close(found)
    return None


def _rotated_twin(path: str, cursor: Cursor, *, is_cut: bool, since_ns: int = 0) -> LogFile | None:
    """Open another file with the content of a cursor's file.

    That was compressed, or copied before it was cut (`is_cut`). Raises `CursorGoneError` where
    several have the content: which of them is meant cannot be known.
    """
    since_s = since_ns // _SECOND_NS
    others = [
        rotated
        for rotated in list_rotated(path)
        if (rotated.is_compressed or is_cut) and rotated.mtime_ns // _SECOND_NS >= since_s
    ]
    twins = [rotated for rotated in others if does_hold(rotated, cursor)]
    if len(twins) > 1:
        names = ", ".join(os.path.basename(twin.path) for twin in twins)
        raise CursorGoneError(
            path, str(cursor), f"several files hold the same in front of it ({names})"
        )
    return open_rotated(twins[0], cursor.start) if twins else None


def _open_if_it_holds(rotated: Rotated, cursor: Cursor) -> LogFile | None:
    """Open a file that was rotated away if it holds a cursor.

    A file that cannot be unpacked holds none.
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


def _beginning_at(path: str, position: int) -> Found | None:
    """Open the file that begins at a position of the stream.

    A cursor at the end of a segment that is deleted has missed nothing.
    """
    if not position:
        return None
    for segment in list_segments(path):
        if segment.end == position:  # it stands where the cursor's file stood, and is another
            return None
        if segment.start == position:
            return open_sealed(segment), 0
    active = open_active(path)
    if active and active.start == position:
        return active, 0
    _close(active)
    return None


def _close(file: LogFile | None) -> None:
    if file:
        file.close()
