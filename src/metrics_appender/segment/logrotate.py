"""The files beside a log that another program rotated away.

Which there are, and in which order they were written.

Known are logrotate's names (`events.ndjson.1`, `.2`, …, the higher the older; with `dateext`,
`events.ndjson-20261124`), those of Python's `RotatingFileHandler`, savelog and newsyslog, which are
the same, and names with a date or a time behind a dot; each with `.gz` once it is compressed.
"""

from __future__ import annotations

import heapq
import os
import re
import stat
from typing import Final, NamedTuple

from ..fs import calls
from .segments import names_beside

# A number of up to five digits counts rotations; more digits are a date or a time. Those of sealed
# segments have fifteen and more.
_NUMBERED: Final = re.compile(r"\.(\d{1,5})(\.gz)?", re.ASCII)
_DATED: Final = re.compile(r"[.-](\d{6,14}(?:[-_.T]\d{1,14})*)(\.gz)?", re.ASCII)


class Rotated(NamedTuple):
    """A file that was rotated away: its path, and what stat(2) says of it."""

    path: str
    device: int
    inode: int
    mtime_ns: int
    is_compressed: bool


def list_rotated(path: str) -> list[Rotated]:
    """Return the rotated files of the log at `path`, oldest first.

    Where one is there plain and compressed (its compressor is at work), the plain one is given. A
    rotation renames the files one after the other and can hide one from a listing in the meantime;
    so the listing is repeated until two show the same files. That somebody writes to one of them
    changes its time, and nothing that matters here.
    """
    before = _listed(path)
    while True:
        now = _listed(path)
        if identities(now) == identities(before):
            return now
        before = now


def identities(listed: list[Rotated]) -> set[tuple[str, int, int]]:
    """Return which file has which name."""
    return {rotated[:3] for rotated in listed}


def _listed(path: str) -> list[Rotated]:
    directory, own = os.path.split(path)
    numbered: dict[tuple[int, str], Rotated] = {}
    dated: dict[tuple[int, str], Rotated] = {}
    for name in sorted(
        names_beside(path), reverse=True
    ):  # a plain file after its compressed twin, so that it takes its place
        if not name.startswith(own):
            continue
        if found := _NUMBERED.fullmatch(name, len(own)):
            _look(
                numbered,
                (-int(found[1]), ""),
                os.path.join(directory, name),
                is_compressed=bool(found[2]),
            )
        elif found := _DATED.fullmatch(name, len(own)):
            _look(dated, (0, found[1]), os.path.join(directory, name), is_compressed=bool(found[2]))
    orders = ([files[key] for key in sorted(files)] for files in (numbered, dated))
    return list(heapq.merge(*orders, key=lambda rotated: rotated.mtime_ns))


def _look(
    files: dict[tuple[int, str], Rotated], key: tuple[int, str], path: str, *, is_compressed: bool
) -> None:
    try:
        found = calls.stat_named(path)
    except FileNotFoundError:
        return
    if stat.S_ISREG(found.st_mode):
        files[key] = Rotated(path, found.st_dev, found.st_ino, found.st_mtime_ns, is_compressed)
