"""The whole lines at the end of a file, and the numbers of its lines.

No lock is taken, and no writer waits. All lines come out of one read: what a dead writer left
behind the last newline may be cut away and written anew between two reads, and halves of the two
must not meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..segment.source import Source

_BACKWARD_BYTES: Final = 1 << 14
_LIKELY_LINE_BYTES: Final = 512
_LARGEST_STEP_BYTES: Final = 1 << 22
_MOST_GROWTH: Final = 8


def last_lines(source: Source, limit: int) -> tuple[int, list[bytes]]:
    """Return the last whole lines, at most `limit`, and the offset of the first of them.

    0 where no line has ended yet.
    """
    end = source.size
    limit = min(limit, end)  # there are no more lines
    step = min(max(_BACKWARD_BYTES, limit * _LIKELY_LINE_BYTES), _LARGEST_STEP_BYTES)
    while True:
        start = max(0, end - step)
        # One more than the limit: the newline before the first line.
        pieces = source.read_at(end - start, start).rsplit(b"\n", limit + 1)
        if len(pieces) > limit + 1:
            return start + len(pieces[0]) + 1, pieces[1:-1]
        if start == 0:
            return 0, pieces[:-1]
        # Once more, and all of it, so that halves of two reads never meet: as much as lines of this
        # length take.
        likely = step * (limit + 1) // len(pieces)
        step = min(max(likely, step * 3 // 2 + 1), step * _MOST_GROWTH)


def is_blank(line: bytes) -> bool:
    """Return whether a line holds nothing but spaces, one at least: a repair leaves them."""
    return bool(line) and not line.strip(b" ")


def with_offsets(start: int, lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its offset; `start` is that of the first."""
    for line in lines:
        yield start, line
        start += len(line) + 1


def line_number(source: Source, offset: int) -> int:
    """Return the number, from 1, of the line that begins at this offset."""
    number = 1
    read = 0
    while read < offset:
        piece = source.read_at(min(_LARGEST_STEP_BYTES, offset - read), read)
        if not piece:
            break
        number += piece.count(b"\n")
        read += len(piece)
    return number
