"""Objects that were glued into one line get a newline between them, and the line keeps its length.

Where white space stands between two objects, a byte of it becomes the newline. Where none does, a
byte is taken from the white space within the object before or behind, which means nothing (RFC
8259, section 2), and the bytes up to there move by one.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..check.classify import Span

# A text, whose white space has a meaning, or white space outside of one.
_TEXT_OR_SPACE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[ \t\r]')
_NEWLINE: Final = 0x0A


def keep_only(line: bytes, spans: Sequence[Span]) -> bytearray:
    """Return the line with spaces in place of everything outside the spans."""
    kept = bytearray(b" " * len(line))
    for start, end in spans:
        kept[start:end] = line[start:end]
    return kept


def split_in_place(line: bytes, spans: Sequence[Span]) -> bytes | None:
    """Return what has to stand in a line's place so that each span is a line.

    Nothing else is there.

        >>> split_in_place(b'{"a": 1}{"b": 2}', [(0, 8), (8, 16)])
        b'{"a":1}\\n{"b": 2}'

    It is as long as the line. `None` where two spans touch that have no byte to spare.
    """
    new = keep_only(line, spans)
    begin = spans[0][0]
    for (_, end), (start, next_end) in itertools.pairwise(spans):
        begin_of_next = start
        if end < start:
            new[start - 1] = _NEWLINE
        elif before := _spare_bytes(bytes(new[begin:end])):
            place = begin + before[-1]
            new[place : end - 1] = new[place + 1 : end]
            new[end - 1] = _NEWLINE
        elif behind := _spare_bytes(bytes(new[start:next_end])):
            place = start + behind[0]
            new[start + 1 : place + 1] = new[start:place]
            new[start] = _NEWLINE
            begin_of_next = start + 1
        else:
            return None
        begin = begin_of_next
    return bytes(new)


def _spare_bytes(text: bytes) -> list[int]:
    """Return where white space is that means nothing."""
    return [
        match.start() for match in _TEXT_OR_SPACE.finditer(text) if not match[0].startswith(b'"')
    ]
