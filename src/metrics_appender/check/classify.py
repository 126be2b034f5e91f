"""Classifying one line: the record it holds, or the kind of fault it has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ..records import nested_json
from ..records.ndjson import decode_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import FaultKind
    from .schema import Schema

_SHOWN_BYTES: Final = 80
_WHITE_SPACE: Final = " \t\r"


class Span(NamedTuple):
    """A range of bytes within a line."""

    start: int
    end: int


class Verdict(NamedTuple):
    """The fault of one line.

    `pieces` are the objects of a glued line, each with its own verdict if it has a fault.
    """

    kind: FaultKind
    reason: str
    pieces: Sequence[tuple[Span, Verdict | None]] = ()


def classify_line(line: bytes, schema: Schema) -> Any:
    """Return the record that a line holds, or the `Verdict` on the line.

    Duplicate ids are not found here: that takes the other lines of the log.
    """
    try:
        return schema.decode(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors, as json's are
        pass
    if b"\0" in line:
        return Verdict(
            "nul_run",
            f"{line.count(0)} NUL bytes, the first of them {line.index(0)} bytes into the line",
        )
    try:
        record = decode_line(line)
    except json.JSONDecodeError as error:
        objects = find_objects(line)
        if objects:
            return Verdict("glued", f"{len(objects)} whole objects in one line")
        return Verdict("no_object", f"{error.msg} at character {error.pos + 1}")
    try:
        return schema.conform(record)
    except msgspec.ValidationError as error:
        return Verdict("schema", str(error))


def find_objects(line: bytes) -> list[Span]:
    """Return where the objects are in a line of two or more with only white space around them.

    For any other line the list is empty.

        >>> find_objects(b'{"a":1} {"b":2}')
        [Span(start=0, end=7), Span(start=8, end=15)]
    """
    try:
        text = line.decode()
        spans = []
        position = byte = 0
        while position < len(text):
            if text[position] in _WHITE_SPACE:
                position += 1
                byte += 1
                continue
            value, end = nested_json.decode_at(text, position)
            if not isinstance(value, dict):
                return []
            length = len(text[position:end].encode())
            spans.append(Span(byte, byte + length))
            position, byte = end, byte + length
    except ValueError:
        return []
    return spans if len(spans) > 1 else []


def excerpt_of(line: bytes) -> str:
    """Return the beginning of a line as printable text, with an ellipsis where it is cut."""
    text = line[:_SHOWN_BYTES].decode(errors="backslashreplace")
    shown = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
    return f"{shown}…" if len(line) > _SHOWN_BYTES else shown
