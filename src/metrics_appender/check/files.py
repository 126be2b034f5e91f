"""Which files there are to read: the logs of a directory, and the segments of a log."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import beside, disk, naming
from ..segments import PlainFile, Segment, list_segments, open_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..segments import Source

# What is a log in a directory where other files may lie too; a file that is named itself may have any name.
SUFFIXES: Final = (naming.PERFORMANCE, naming.OUTCOMES, naming.FIDELITY, naming.PROMOTION_LOG, ".ndjson", ".jsonl")
_MOST_TRIES: Final = 100


class Part(NamedTuple):
    """One file of a log, and how it is opened: a sealed segment, or (`segment` is `None`) the active file."""

    path: str
    size: int
    segment: Segment | None
    open: Callable[[], Source]


def logs_at(path: str) -> list[str]:
    """Return the logs of a directory, or the one log that a file is, as absolute paths.

    Raises `FileNotFoundError` where nothing is there, and `OSError` for what is neither a directory nor a plain file.
    """
    path = os.path.abspath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if list_segments(path):  # all of it is sealed
            return [path]
        raise
    if stat.S_ISDIR(mode):
        return [os.path.join(path, name) for name in _logs_among(disk.list_names(path))]
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "neither a directory nor a regular file", path)
    return [path]


def parts_of(path: str) -> list[Part]:
    """Return the files of a log: its sealed segments, oldest first, then the active one if it is there.

    A rotation in the middle is waited out, so that no segment is missed.
    """
    for _ in range(_MOST_TRIES):
        before = list_segments(path)
        parts = [Part(segment.path, segment.end - segment.start, segment, partial(open_segment, segment)) for segment in before]
        try:
            parts.append(Part(path, os.stat(path).st_size, None, partial(PlainFile, path)))
        except FileNotFoundError:
            pass
        if [segment.start for segment in list_segments(path)] == [segment.start for segment in before]:
            return parts
    raise OSError(errno.ESTALE, f"{os.strerror(errno.ESTALE)}: rotated {_MOST_TRIES} times while its segments were listed", path)


def _logs_among(names: list[str]) -> list[str]:
    logs = {beside.log_of_sealed(name) or name for name in names}
    return sorted(name for name in logs if name.endswith(SUFFIXES))
