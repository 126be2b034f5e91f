"""Finding the files of a log that another program rotated, in the order in which they were written.

The names of logrotate are known: `events.ndjson.1`, `.2`, …, where higher is older, and with its
option `dateext` `events.ndjson-20261124`. Python's `RotatingFileHandler`, savelog and newsyslog use
the same names. A date or a time after a dot is known too. Each may have `.gz` added.
"""

from __future__ import annotations

import heapq
import os
import re
import stat
from typing import Final, NamedTuple

from ..fs import calls
from .segments import names_beside

# A number of up to five digits counts rotations; a longer one is a date or a time. The numbers of
# sealed segments have at least fifteen digits.
_NUMBERED: Final = re.compile(r"\.(\d{1,5})(\.gz)?", re.ASCII)
_DATED: Final = re.compile(r"[.-](\d{6,14}(?:[-_.T]\d{1,14})*)(\.gz)?", re.ASCII)


class Rotated(NamedTuple):
    """A rotated file: its path, and its attributes by stat(2)."""

    path: str
    device: int
    inode: int
    mtime_ns: int
    is_compressed: bool


def list_rotated(path: str) -> list[Rotated]:
    """Return the rotated files of the log at `path`, oldest first.

    Of a file that is there plain and compressed (while it is being compressed), the plain one is
    returned. A rotation renames one file after the other, and a listing in the meantime can miss
    one; so the listing is repeated until two show the same files. Their times may differ, because a
    writer may still append to one of them.
    """
    before = _listed(path)
    while True:
        now = _listed(path)
        if identities(now) == identities(before):
            return now
        before = now


def identities(listed: list[Rotated]) -> set[tuple[str, int, int]]:
    """Return the path, device and inode number of each file."""
    return {rotated[:3] for rotated in listed}


def _listed(path: str) -> list[Rotated]:
    directory, own = os.path.split(path)
    numbered: dict[tuple[int, str], Rotated] = {}
    dated: dict[tuple[int, str], Rotated] = {}
    # In reverse order a plain file comes after its compressed copy, and replaces it.
    for name in sorted(names_beside(path), reverse=True):
        if not name.startswith(own):
            continue
        file = os.path.join(directory, name)
        if found := _NUMBERED.fullmatch(name, len(own)):
            _add(numbered, (-int(found[1]), ""), file, is_compressed=bool(found[2]))
        elif found := _DATED.fullmatch(name, len(own)):
            _add(dated, (0, found[1]), file, is_compressed=bool(found[2]))
    orders = ([files[key] for key in sorted(files)] for files in (numbered, dated))
    return list(heapq.merge(*orders, key=lambda rotated: rotated.mtime_ns))


def _add(
    files: dict[tuple[int, str], Rotated], key: tuple[int, str], path: str, *, is_compressed: bool
) -> None:
    try:
        found = calls.stat_named(path)
    except FileNotFoundError:
        return
    if stat.S_ISREG(found.st_mode):
        files[key] = Rotated(path, found.st_dev, found.st_ino, found.st_mtime_ns, is_compressed)
