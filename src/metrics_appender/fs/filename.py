"""The names of the files beside a log: torn bytes, sealed segments, cursors, and a lock.

Each is the name of the log and an ending, so that a listing shows them together. None ends as a log
does: a pattern such as `*_performance.json` matches none of them.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

TORN: Final = ".torn"
UNFINISHED: Final = ".tmp"  # added to the name of a file that is being written
_MAINTENANCE_LOCK: Final = ".maintenance.lock"
_CURSOR: Final = ".cursor"
_LONGEST_NAME_BYTES: Final = 255
# The room for the endings of one kind, whose length varies, so that all names of a log are cut at
# the same length: a range, the compression and `.tmp`; the name of a cursor.
_SEALED_ROOM: Final = 48
_CURSOR_ROOM: Final = 80
_SEALED: Final = re.compile(r"(\d{15,})-(\d{15,})((?:\.[a-z]+)*)")
_OF_SEALED: Final = re.compile(rf"(.+)\.{_SEALED.pattern}")


class SealedName(NamedTuple):
    """What the name of a sealed segment says: its range of the stream, and its ending (`.gz`)."""

    start: int
    end: int
    ending: str


def torn_path(path: str) -> str:
    """Return the path of the file for the torn bytes of a log: its own with `.torn` added.

    Where that exceeds the 255 bytes of a file name, the name is cut, and a digest is added to it.

        >>> torn_path("/var/log/Live Chat_performance.json")
        '/var/log/Live Chat_performance.json.torn'
    """
    return _stem(path, len(TORN)) + TORN


def sealed_path(path: str, start: int, end: int, ending: str = "") -> str:
    """Return the path of the sealed segment with the bytes from `start` to `end` of the stream.

    Such names sort in the order of time.

        >>> sealed_path("/var/log/events.ndjson", 0, 1234, ".gz")
        '/var/log/events.ndjson.000000000000000-000000000001234.gz'
    """
    return f"{_stem(path, _SEALED_ROOM)}.{start:015d}-{end:015d}{ending}"


def sealed_names(path: str, names: list[str]) -> list[tuple[str, SealedName]]:
    """Return the names of sealed segments of `path`, whole or unfinished, ordered by their range.

    `names` are those of the log's directory.
    """
    prefix = os.path.basename(_stem(path, _SEALED_ROOM)) + "."
    found = []
    for name in names:
        if name.startswith(prefix):
            matched = _SEALED.fullmatch(name, len(prefix))
            if matched:
                found.append((name, SealedName(int(matched[1]), int(matched[2]), matched[3])))
    return sorted(found, key=lambda pair: pair[1])


def log_of_sealed(name: str) -> str | None:
    """Return the name of the log that a sealed segment belongs to, `None` for any other file.

    The name of a log that was cut stays cut.

        >>> log_of_sealed("events.ndjson.000000000000000-000000000001234.gz")
        'events.ndjson'
    """
    matched = _OF_SEALED.fullmatch(name)
    return matched[1] if matched else None


def maintenance_lock_path(path: str) -> str:
    """Return the path of the lock for compressing, deleting and repairing the files of a log."""
    return _stem(path, len(_MAINTENANCE_LOCK)) + _MAINTENANCE_LOCK


def cursor_path(path: str, name: str) -> str:
    """Return the path of a named cursor; the name has no dot, and at most 64 bytes.

    >>> cursor_path("/var/log/events.ndjson", "billing")
    '/var/log/events.ndjson.billing.cursor'
    """
    return f"{_stem(path, _CURSOR_ROOM)}.{name}{_CURSOR}"


def cursor_names(path: str, names: list[str]) -> list[str]:
    """Return the names of the cursors of `path` among the names of its directory, sorted."""
    prefix = os.path.basename(_stem(path, _CURSOR_ROOM)) + "."
    found = (
        name[len(prefix) : -len(_CURSOR)]
        for name in names
        if name.startswith(prefix) and name.endswith(_CURSOR)
    )
    return sorted(name for name in found if name and "." not in name)


def _stem(path: str, room: int) -> str:
    """Return the path, with its name cut and a digest added if it has no room for `room` bytes."""
    directory, name = os.path.split(path)
    raw = os.fsencode(name)
    if len(raw) + room <= _LONGEST_NAME_BYTES:
        return path
    import hashlib

    digest = "~" + hashlib.sha256(raw).hexdigest()[:12]
    return os.path.join(
        directory, raw[: _LONGEST_NAME_BYTES - len(digest) - room].decode(errors="ignore") + digest
    )
