"""A file to its whole lines, backwards or forwards; no lock, and no wait for any writer.

Every line comes out of one read: what a dead writer left behind the last newline may be cut away
and written anew between two reads, and halves of the two must not meet.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import logger
from .position import GUARD_BYTES, KEPT_BYTES, Trail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..segment.source import Source

_FORWARD_BYTES: Final = 1 << 18
_BACKWARD_BYTES: Final = 1 << 14
_LIKELY_LINE_BYTES: Final = 512
_LARGEST_STEP_BYTES: Final = 1 << 22
_MOST_GROWTH: Final = 8


def iter_blocks(source: Source, start: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield runs of whole lines, without their newlines, each with the offset of its first.

    `start` begins a line.

    Where a writer takes back lines that were yielded, it goes on with what comes in their place;
    where the file was cut to nothing in place, with what it holds now, and a warning is logged.
    """
    step = _FORWARD_BYTES
    passed: deque[_Passed] = deque()
    while True:
        guard = passed[-1].guard if passed else b""
        block = source.read_at(len(guard) + step, start - len(guard))
        end = block.rfind(b"\n")
        if not block.startswith(guard):
            trail = _trail_over(source, passed)
            standing = trail.settle(source.read_at)
            if standing == "shorter":
                return
            if standing == "replaced":
                logger.warn(
                    "%s was cut to nothing in place: what was written behind byte %d before that is not read",
                    source.path,
                    start,
                )
            start = 0 if standing == "replaced" else trail.offset
            passed.clear()
        elif end >= len(guard):
            yield start, block[len(guard) : end].split(b"\n")
            passed.append(_Passed(start, block, len(guard), end + 1))
            start += end + 1 - len(guard)
            while len(passed) > 1 and start - passed[1].start >= KEPT_BYTES:
                passed.popleft()
            step = _FORWARD_BYTES
        elif len(block) < len(guard) + step:
            return  # the end of the file, or of what is whole in it
        else:
            step *= 2  # a line longer than the block is read again, whole


class _Passed(NamedTuple):
    """A run of lines that was yielded.

    Where it starts in the file, and where it stands in the block that was read.
    """

    start: int
    block: bytes
    begin: int
    end: int

    @property
    def guard(self) -> bytes:
        """Its last bytes; while they stand there, nothing happened to what was read."""
        return self.block[max(self.begin, self.end - GUARD_BYTES) : self.end]


def _trail_over(source: Source, passed: deque[_Passed]) -> Trail:
    """Return the trail of who has passed these runs."""
    trail = Trail(source.read_at, passed[0].start, start=0, inode=0, generation=0)
    for run in passed:
        trail.advance(run.block[run.begin : run.end])
    return trail


def last_lines(source: Source, limit: int) -> tuple[int, list[bytes]]:
    """Return the last whole lines, at most `limit`, and the offset of the first of them.

    0 where no line has ended yet.
    """
    end = source.size
    limit = min(limit, end)  # there are no more lines
    step = min(max(_BACKWARD_BYTES, limit * _LIKELY_LINE_BYTES), _LARGEST_STEP_BYTES)
    while True:
        start = max(0, end - step)
        pieces = source.read_at(end - start, start).rsplit(
            b"\n", limit + 1
        )  # one more than the limit: the newline before the first line
        if len(pieces) > limit + 1:
            return start + len(pieces[0]) + 1, pieces[1:-1]
        if start == 0:
            return 0, pieces[:-1]
        # Once more, and all of it, so that halves of two reads never meet: as much as lines of this
        # length take.
        likely = step * (limit + 1) // len(pieces)
        step = min(max(likely, step * 3 // 2 + 1), step * _MOST_GROWTH)


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but spaces, one at least: what a repair leaves in passing."""
    return bool(line) and not line.strip(b" ")


def with_offsets(start: int, lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its offset; `start` is that of the first."""
    for line in lines:
        yield start, line
        start += len(line) + 1


def line_number(source: Source, offset: int) -> int:
    """Return the number, from 1, of the line that begins at this offset."""
    number = 1
    place = 0
    while place < offset:
        piece = source.read_at(min(_LARGEST_STEP_BYTES, offset - place), place)
        if not piece:
            break
        number += piece.count(b"\n")
        place += len(piece)
    return number
