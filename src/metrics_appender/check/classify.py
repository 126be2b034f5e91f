"""What is wrong with one line: the kinds of faults, told apart."""

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
    """A stretch of a line, as offsets of bytes within it."""

    start: int
    end: int


class Verdict(NamedTuple):
    """The fault of a line.

    `pieces` are the objects of one in which they are glued, each with the verdict on it, if it has
    a fault.
    """

    kind: FaultKind
    reason: str
    pieces: Sequence[tuple[Span, Verdict | None]] = ()


def judge_line(line: bytes, schema: Schema) -> Any:
    """Return the record that a line is, or the `Verdict` on it.

    A duplicate id is for whoever knows the other lines to find.
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
        objects = objects_in(line)
        if objects:
            return Verdict("glued", f"{len(objects)} whole objects in one line")
        return Verdict("no_object", f"{error.msg} at character {error.pos + 1}")
    try:
        return schema.conform(record)
    except msgspec.ValidationError as error:
        return Verdict("schema", str(error))


def objects_in(line: bytes) -> list[Span]:
    """Return where the objects are of a line that holds two or more.

    Beside them white space only; else nothing.

    >>> objects_in(b'{"a":1} {"b":2}')
    [Span(start=0, end=7), Span(start=8, end=15)]
    """
    try:
        text = line.decode()
        spans = []
        place = byte = 0
        while place < len(text):
            if text[place] in _WHITE_SPACE:
                place += 1
                byte += 1
                continue
            found, end = nested_json.decode_at(text, place)
            if not isinstance(found, dict):
                return []
            length = len(text[place:end].encode())
            spans.append(Span(byte, byte + length))
            place, byte = end, byte + length
    except ValueError:
        return []
    return spans if len(spans) > 1 else []


def excerpt_of(line: bytes) -> str:
    """Return a line's beginning as printable text, cut with an ellipsis."""
    text = line[:_SHOWN_BYTES].decode(errors="backslashreplace")
    shown = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
    return f"{shown}…" if len(line) > _SHOWN_BYTES else shown
