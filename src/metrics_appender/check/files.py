"""Finding the files to read: the logs of a directory, and the segments of a log."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from ..fs import calls, filename
from ..records import naming
from ..segment import snapshot
from ..segment.segments import base_of_active, list_segments, open_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    from ..segment.source import Source

    Progress = Callable[[int, int], None]

# The suffixes by which a log is recognized in a directory; a file that is passed may have any name.
SUFFIXES: Final = (
    naming.PERFORMANCE,
    naming.OUTCOMES,
    naming.FIDELITY,
    naming.PROMOTION_LOG,
    ".ndjson",
    ".jsonl",
)


class Part(NamedTuple):
    """One file of a log: a sealed segment, or the active file.

    `open` raises what opening the file raised or raises.
    """

    path: str
    size: int
    is_active: bool
    open: Callable[[], Source]


def find_logs(path: str) -> list[str]:
    """Return the logs of a directory, or `path` itself if it is a log, as absolute paths.

    Raises `FileNotFoundError` where nothing is there, and `OSError` for what is neither a directory
    nor a regular file.
    """
    path = os.path.abspath(path)
    try:
        mode = calls.stat_followed(path).st_mode
    except FileNotFoundError:
        if list_segments(path):  # every line is in a sealed segment
            return [path]
        raise
    if stat.S_ISDIR(mode):
        return [os.path.join(path, name) for name in _select_logs(calls.list_names(path))]
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "neither a directory nor a regular file", path)
    return [path]


def list_parts(path: str, opened: ExitStack) -> list[Part]:
    """Return the files of a log: its sealed segments, oldest first, then the active file if any.

    The active file is opened here and closed by `opened`, so that the parts stay complete: a file
    that a rotation seals from now on is still read as the active one.
    """
    active = None
    try:
        active = snapshot.open_active(path)
    except OSError as error:
        refusal: list[Part] = [Part(path, 0, True, partial(_refuse, error))]
    else:
        refusal = []
        if active is not None:
            opened.enter_context(active.file)
    base = base_of_active(path) if active is None else active.base
    sealed = [segment for segment in list_segments(path) if segment.end <= base]
    parts = [
        Part(segment.path, segment.end - segment.start, False, partial(open_segment, segment))
        for segment in sealed
    ]
    if active is not None:
        parts.append(Part(path, active.file.size, True, lambda: active.file))
    return parts + refusal


def size_of(path: str) -> int:
    """Return how many bytes a log has in all of its files, uncompressed."""
    size = sum(segment.end - segment.start for segment in list_segments(path))
    try:
        return size + calls.stat_followed(path).st_size
    except OSError:  # no active file at this moment; any other error is reported when it is opened
        return size


def byte_counter(logs: Iterable[str], progress: Progress | None) -> Callable[[int], None]:
    """Return a function that adds up the lengths read, and calls `progress` with sum and total."""
    total = sum(map(size_of, logs))
    done = 0

    def count(length: int) -> None:
        nonlocal done
        done += length
        if progress is not None:
            progress(done, max(done, total))

    return count


def _refuse(error: OSError) -> Source:
    raise error


def _select_logs(names: list[str]) -> list[str]:
    logs = {filename.log_of_sealed(name) or name for name in names}
    return sorted(name for name in logs if name.endswith(SUFFIXES))
