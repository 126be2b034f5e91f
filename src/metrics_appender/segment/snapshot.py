"""A log at one instant: its active file, held open, and the sealed segments before it.

Nothing is locked. The open file stays the same file whatever is done to its name, so that what is
before it in the stream is settled at the open: a rotation that comes later neither takes a line
from a reader nor shows it one twice.
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
    """The active file, open, and where in the log's stream it begins."""

    file: PlainFile
    base: int


def open_if_there(path: str) -> PlainFile | None:
    """Open the file that has the name; `None` if there is none."""
    try:
        return PlainFile(path)
    except FileNotFoundError:
        return None


def base_of(file: PlainFile | None, path: str) -> int | None:
    """Return where in the stream an open active file begins, `None` when it was sealed or replaced meanwhile.

    Without a file (there was none at `path`), where the next one begins.
    """
    base = base_of_active(path)
    if file is None:
        # No name says that nothing was sealed meanwhile; what one listing missed, because it was
        # being compressed, the next one shows.
        return max(base, base_of_active(path))
    return base if _is_named(file, path) else None


def open_active(path: str) -> Active | None:
    """Open the active file and tell exactly where it begins; `None` when there is none."""
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
    """Return the position in the log's stream behind its last whole line, without any lock."""
    active = open_active(path)
    if active is None:
        return base_of(None, path) or 0
    with active.file as file:
        return active.base + end_of_whole_lines(file.fd, file.size)


def open_before(path: str, base: int) -> Generator[Source]:
    """Yield the sealed segments that end at `base` or before, open, the newest first.

    What retention takes meanwhile is left out.
    """
    yield from _opened(reversed(list_segments(path, base)))


def open_all(path: str) -> Generator[Source]:
    """Yield every file of the log, open, oldest first; each is closed when the next is asked for.

    They are the log as it is when the first is asked for; what is appended to its active file
    later, until it is read, is in it too.
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
        return os.path.samestat(
            calls.stat_open(file.fd), calls.stat_followed(path)
        )  # a reader may come through a link
    except FileNotFoundError:
        return False
