"""A snapshot of a log: its active file, held open, and the sealed segments before it.

Nothing is locked. The open file stays the same file when it is renamed, so the open decides which
segments come before it: a later rotation neither hides a line from a reader nor shows one twice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ..fs import calls
from .recovery import end_of_whole_lines
from .segments import Segment, base_of_active, list_segments, open_segment
from .source import PlainFile, closed_on_error

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from .source import Source


class Active(NamedTuple):
    """The active file, open, and its base: the position in the log's stream where it begins."""

    file: PlainFile
    base: int


def open_if_there(path: str) -> PlainFile | None:
    """Open the file at `path`, or return `None` if there is none."""
    try:
        return PlainFile(path)
    except FileNotFoundError:
        return None


def base_of(file: PlainFile | None, path: str) -> int | None:
    """Return the base of an open active file, `None` if it was sealed or replaced since the open.

    Without a file, return the base of the next one.
    """
    base = base_of_active(path)
    if file is None:
        # Without a file there is no check by its name. A listing can miss a segment that is being
        # compressed, and the next listing shows it.
        return max(base, base_of_active(path))
    return base if _is_named(file, path) else None


def open_active(path: str) -> Active | None:
    """Open the active file, and determine its exact base; return `None` if there is no file."""
    while True:
        file = open_if_there(path)
        if file is None:
            return None
        with closed_on_error(file):
            base = base_of(file, path)
        if base is not None:
            return Active(file, base)
        file.close()


def end_of_log(path: str) -> int:
    """Return the position in the log's stream after its last whole line; takes no lock."""
    active = open_active(path)
    if active is None:
        return base_of(None, path) or 0
    with active.file as file:
        return active.base + end_of_whole_lines(file.fd, file.size)


def open_before(path: str, base: int) -> Generator[Source]:
    """Yield the sealed segments that end at or before `base`, open, the newest first.

    Segments that retention deletes in the meantime are left out.
    """
    yield from _opened(reversed(list_segments(path, base)))


def open_all(path: str) -> Generator[Source]:
    """Yield every file of the log, open, oldest first; each is closed when the next is requested.

    They are a snapshot of the log at the first request, except that lines appended to the active
    file until it is read are in it too.
    """
    active = open_active(path)
    try:
        base = base_of(None, path) if active is None else active.base
        yield from _opened(list_segments(path, base))
        if active is not None:
            yield active.file
    finally:
        if active is not None:
            active.file.close()


def _opened(segments: Iterable[Segment]) -> Iterator[Source]:
    for segment in segments:
        try:
            source = open_segment(segment)
        except FileNotFoundError:
            continue
        with source:
            yield source


def _is_named(file: PlainFile, path: str) -> bool:
    try:
        # Symbolic links are followed: a reader's path may be one.
        return os.path.samestat(calls.stat_open(file.fd), calls.stat_followed(path))
    except FileNotFoundError:
        return False
