"""The names of the files beside an NDJSON file.

Torn bytes, sealed segments, cursors, the lock of the upkeep.

All are the file's own name and an ending, so that a listing shows them together, and none ends as a
file of records does: a pattern such as `*_performance.json` matches none of them.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

TORN: Final = ".torn"
UNFINISHED: Final = ".tmp"  # added to the name of what is not whole yet
_MAINTENANCE_LOCK: Final = ".maintenance.lock"
_CURSOR: Final = ".cursor"
_LONGEST_NAME_BYTES: Final = 255
# Left free for an ending that varies, so that all of a kind are cut at one place: a stretch, its
# compression and `.tmp`; a cursor's name.
_SEALED_ROOM: Final = 48
_CURSOR_ROOM: Final = 80
_SEALED: Final = re.compile(r"(\d{15,})-(\d{15,})((?:\.[a-z]+)*)")
_OF_SEALED: Final = re.compile(rf"(.+)\.{_SEALED.pattern}")


class SealedName(NamedTuple):
    """What the name of a sealed segment says.

    Its stretch in the stream of bytes, and what is added (`.gz`, `.gz.tmp`).
    """

    start: int
    end: int
    ending: str


def torn_path(path: str) -> str:
    """Return where the torn bytes of a file are kept: beside it, `.torn` added.

    Where that would pass the 255 bytes of a file name, the name is cut and told apart by a digest.

        >>> torn_path("/var/log/Live Chat_performance.json")
        '/var/log/Live Chat_performance.json.torn'
    """
    return _stem(path, len(TORN)) + TORN


def sealed_path(path: str, start: int, end: int, ending: str = "") -> str:
    """Return the name of the sealed segment that holds the bytes from `start` to `end` of the log's stream.

    Such names sort in the order of time.

        >>> sealed_path("/var/log/events.ndjson", 0, 1234, ".gz")
        '/var/log/events.ndjson.000000000000000-000000000001234.gz'
    """
    return f"{_stem(path, _SEALED_ROOM)}.{start:015d}-{end:015d}{ending}"


def sealed_names(path: str, names: list[str]) -> list[tuple[str, SealedName]]:
    """Return those of a directory's names that are sealed segments of `path`, whole or unfinished, in the order of their stretches."""
    prefix = os.path.basename(_stem(path, _SEALED_ROOM)) + "."
    found = []
    for name in names:
        if name.startswith(prefix):
            matched = _SEALED.fullmatch(name, len(prefix))
            if matched:
                found.append((name, SealedName(int(matched[1]), int(matched[2]), matched[3])))
    return sorted(found, key=lambda pair: pair[1])


def log_of_sealed(name: str) -> str | None:
    """Return the name of the file whose sealed segment a name is, `None` where it is none.

    A name that was cut stays cut.

    >>> log_of_sealed("events.ndjson.000000000000000-000000000001234.gz")
    'events.ndjson'
    """
    matched = _OF_SEALED.fullmatch(name)
    return matched[1] if matched else None


def maintenance_lock_path(path: str) -> str:
    """Return the file that is locked by whoever compresses or deletes the sealed segments of `path`."""
    return _stem(path, len(_MAINTENANCE_LOCK)) + _MAINTENANCE_LOCK


def cursor_path(path: str, name: str) -> str:
    """Return where the cursor of this name is kept; a name holds no dot, and 64 bytes at the most.

    >>> cursor_path("/var/log/events.ndjson", "billing")
    '/var/log/events.ndjson.billing.cursor'
    """
    return f"{_stem(path, _CURSOR_ROOM)}.{name}{_CURSOR}"


def cursor_names(path: str, names: list[str]) -> list[str]:
    """Return the names of the cursors of `path` that are among a directory's names, sorted."""
    prefix = os.path.basename(_stem(path, _CURSOR_ROOM)) + "."
    found = (
        name[len(prefix) : -len(_CURSOR)]
        for name in names
        if name.startswith(prefix) and name.endswith(_CURSOR)
    )
    return sorted(name for name in found if name and "." not in name)


def _stem(path: str, room: int) -> str:
    """Return the path, cut and told apart by a digest where its name leaves no room for so many bytes."""
    directory, name = os.path.split(path)
    raw = os.fsencode(name)
    if len(raw) + room <= _LONGEST_NAME_BYTES:
        return path
    import hashlib

    digest = "~" + hashlib.sha256(raw).hexdigest()[:12]
    return os.path.join(
        directory, raw[: _LONGEST_NAME_BYTES - len(digest) - room].decode(errors="ignore") + digest
    )
