"""Where a reader is in one file, and the bytes that it passed last.

By them the reader's cursor is made, and the reader notices that the bytes behind it are not those
that it has read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from ..records.ndjson import decode_line
from . import cursor
from .cursor import HEAD_BYTES, TAIL_BYTES, Cursor
from .repair_mark import MARK

if TYPE_CHECKING:
    from typing import Self

    from .cursor import Reads

# As much as one batch of joined lines writes, and may take back.
KEPT_BYTES: Final = 1 << 20
_LOADED_BYTES: Final = 1 << 16
GUARD_BYTES: Final = TAIL_BYTES  # so that no cursor is made with bytes that a repair has changed

# What became of the bytes that were read: they are where they were; some were taken back, and other
# lines may stand there or not yet; none of them is there any more.
Standing = Literal["same", "shorter", "replaced"]


class _Run:
    """Bytes that were passed one after the other, as a range of what was read at once."""

    __slots__ = ("begin", "data", "end")

    def __init__(self, data: bytes, begin: int, end: int) -> None:
        self.data = data
        self.begin = begin
        self.end = end


class Position:
    """The begin of a line, `offset` bytes into a file that starts at `start` in the log's stream.

    `inode` and `generation` are the file's; only cursors need them.
    """

    __slots__ = ("_first", "_generation", "_head", "_inode", "_kept", "_runs", "offset", "start")

    def __init__(
        self, offset: int = 0, *, start: int = 0, inode: int = 0, generation: int = 0
    ) -> None:
        """Begin at `offset`, knowing nothing of the bytes in front of it."""
        self.start = start
        self.offset = offset
        self._inode = inode
        self._generation = generation
        self._first = b""
        self._head = cursor.hash_head(b"")
        self._keep(b"")

    def look_back(self, read_at: Reads) -> Self:
        """Read the bytes in front of the position, as cursors need them; return itself."""
        self.renew_head(self.read_head(read_at))
        loaded = min(self.offset, _LOADED_BYTES)
        self._keep(read_at(loaded, self.offset - loaded))
        return self

    def at_beginning(self) -> Position:
        """Return the position at the beginning of the same file."""
        return Position(start=self.start, inode=self._inode, generation=self._generation)

    def advance(self, data: bytes, begin: int, end: int) -> None:
        """Pass the lines `data[begin:end]`, which stand at the position."""
        if self.offset < HEAD_BYTES:
            self._head.update(data[begin : min(end, begin + HEAD_BYTES - self.offset)])
        self.offset += end - begin
        self._kept += end - begin
        last = self._runs[-1]
        if last.data is data and last.end == begin:
            last.end = end
        else:
            last = _Run(data, begin, end)
            self._runs.append(last)
        if self._kept > 2 * KEPT_BYTES:
            self._trim()

    def _trim(self) -> None:
        """Drop the bytes in front of the last that may be taken back."""
        while self._kept - (self._runs[0].end - self._runs[0].begin) >= KEPT_BYTES:
            dropped = self._runs.popleft()
            self._kept -= dropped.end - dropped.begin
        if self._kept > 4 * KEPT_BYTES:  # a line of many megabytes, say
            self._keep(self._passed(KEPT_BYTES))

    def cursor(self) -> Cursor:
        """Return the cursor of this position."""
        tail = self._passed(TAIL_BYTES)
        content = cursor.content_checksum(self._head, tail)
        return Cursor(
            self.start,
            self.offset,
            self._inode,
            self._generation,
            cursor.line_checksum(tail),
            content,
        )

    def read_head(self, read_at: Reads) -> bytes:
        """Return the file's first bytes, as far as cursors cover them and they are passed."""
        return read_at(min(self.offset, HEAD_BYTES), 0)

    def renew_head(self, head: bytes) -> None:
        """Make cursors with the first bytes as they are now.

        A repair may have changed them, far in front of the guard.
        """
        if head != self._first:
            self._first, self._head = head, cursor.hash_head(head)

    @property
    def guard(self) -> bytes:
        """The last bytes that were passed; while they stand there, what was read is as it was."""
        return self._passed(GUARD_BYTES)

    def reconcile(self, read_at: Reads) -> Standing:
        """Find out what became of the bytes that were read, and go back to where they are the same.

        A writer whose sync failed takes its last lines back, and the next one writes others in
        their place, or the same again: those that are the same are not passed twice. A repair
        blanks or splits bad lines, the first and the last one too, and moves no other.
        """
        head = self.read_head(read_at)
        passed = self._passed(self._kept)
        begin = self.offset - len(passed)
        now = read_at(len(passed), begin)
        same = passed.rfind(b"\n", 0, _length_in_common(passed, now)) + 1
        if is_repaired(passed, now):
            self._keep(now)
            self.renew_head(head)
            return "same"
        if not same:
            return "replaced"
        if not has_line(read_at, begin + same):
            return "shorter"
        self.offset = begin + same
        self._keep(passed[:same])
        self.renew_head(self.read_head(read_at))
        return "same"

    def _keep(self, passed: bytes) -> None:
        self._runs = deque([_Run(passed, 0, len(passed))])
        self._kept = len(passed)

    def _passed(self, most: int) -> bytes:
        """Return the last bytes that were passed, `most` of them at the most."""
        last = self._runs[-1]
        if last.end - last.begin >= most:
            return last.data[last.end - most : last.end]
        pieces = []
        for run in reversed(self._runs):
            pieces.append(run.data[max(run.begin, run.end - most) : run.end])
            most -= len(pieces[-1])
            if not most:
                break
        return b"".join(reversed(pieces))


def has_line(read_at: Reads, offset: int) -> bool:
    """Return whether a whole line begins there."""
    step = _LOADED_BYTES
    while b"\n" not in (block := read_at(step, offset)):
        if len(block) < step:
            return False
        step *= 2
    return True


def is_repaired(passed: bytes, now: bytes) -> bool:
    """Return whether a repair leaves of each line what stands in its place, or is about to.

    Some newlines may be spaces.
    """
    if len(now) != len(passed):
        return False
    begin = 0
    for line in passed.split(b"\n"):
        end = begin + len(line)
        new = now[begin:end]
        if not (new == line or _is_left_of(line, new)) or now[end : end + 1].strip():
            return False
        begin = end + 1
    return True


def _is_left_of(line: bytes, new: bytes) -> bool:
    """Return whether a repair makes this of a line: of an object nothing but spaces.

    Of a line that is no object, and so was never given, any part may be left. A part is in its
    order, with white space anywhere: that is what a split moves and turns to newlines.
    """
    if MARK in (line[:1], new[:1]):
        return True
    part, rest = b"".join(new.split()), iter(line)
    return all(byte in rest for byte in part) and not (part and _is_object(line))


def _is_object(line: bytes) -> bool:
    try:
        decode_line(line)
    except ValueError:
        return False
    return True


def _length_in_common(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts begin with that are the same."""
    known, most = 0, min(len(one), len(other))
    while known < most:
        middle = (known + most + 1) // 2
        if one[known:middle] == other[known:middle]:
            known = middle
        else:
            most = middle - 1
    return known
