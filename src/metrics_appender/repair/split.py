"""Splitting a line of glued objects into lines, in place and without a change of its length.

Where white space is between two objects, one byte of it becomes the newline. Otherwise a byte is
taken from insignificant white space within the object before or after (RFC 8259, section 2), and
the bytes up to there move by one.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..check.classify import Span

# A string, whose white space is significant, or a byte of white space outside of strings.
_TEXT_OR_SPACE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[ \t\r]')
_NEWLINE: Final = 0x0A


def keep_only(line: bytes, spans: Sequence[Span]) -> bytearray:
    """Return the line with spaces everywhere outside the spans."""
    kept = bytearray(b" " * len(line))
    for start, end in spans:
        kept[start:end] = line[start:end]
    return kept


def split_in_place(line: bytes, spans: Sequence[Span]) -> bytes | None:
    """Return lines of the same total length that hold the spans, one each, and nothing else.

    Return `None` if two adjacent spans have no byte to spare for the newline between them.

        >>> split_in_place(b'{"a": 1}{"b": 2}', [(0, 8), (8, 16)])
        b'{"a":1}\\n{"b": 2}'
    """
    new = keep_only(line, spans)
    begin = spans[0][0]
    for (_, end), (start, next_end) in itertools.pairwise(spans):
        begin_of_next = start
        if end < start:
            new[start - 1] = _NEWLINE
        elif before := _spare_bytes(bytes(new[begin:end])):
            spare = begin + before[-1]
            new[spare : end - 1] = new[spare + 1 : end]
            new[end - 1] = _NEWLINE
        elif after := _spare_bytes(bytes(new[start:next_end])):
            spare = start + after[0]
            new[start + 1 : spare + 1] = new[start:spare]
            new[start] = _NEWLINE
            begin_of_next = start + 1
        else:
            return None
        begin = begin_of_next
    return bytes(new)


def _spare_bytes(text: bytes) -> list[int]:
    """Return the offsets of insignificant white space."""
    return [
        match.start() for match in _TEXT_OR_SPACE.finditer(text) if not match[0].startswith(b'"')
    ]
