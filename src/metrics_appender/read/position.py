"""The trail of a reader in one file: how far it has come, and what it passed last.

By it the reader's cursor is made, and the reader notices that the bytes behind it are not those it
has read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ..records.ndjson import decode_line
from . import cursor
from .cursor import HEAD_BYTES, TAIL_BYTES, Cursor
from .repair_mark import MARK

if TYPE_CHECKING:
    from .cursor import Reads

# As much as one pass of joined lines writes, and may take back.
KEPT_BYTES: Final = 1 << 20
_LOADED_BYTES: Final = 1 << 16
GUARD_BYTES: Final = TAIL_BYTES  # so that no cursor is made with bytes that a repair has changed

# What became of the bytes that were read: they are where they were; some were taken back, and other
# lines may stand there or not yet; none of them is there any more.
Standing = Literal["same", "shorter", "replaced"]


class Trail:
    """Where a reader is in a file that starts at `start` in the log's stream.

    `offset` is always a line's begin.
    """

    __slots__ = ("_first", "_generation", "_head", "_inode", "_recent", "offset", "start")

    def __init__(
        self, read_at: Reads, offset: int, *, start: int, inode: int, generation: int
    ) -> None:
        """Begin at `offset`; what stands in front of it is looked at once."""
        self.start = start
        self.offset = offset
        self._inode = inode
        self._generation = generation
        self._first = self.read_head(read_at)
        self._head = cursor.hash_head(self._first)
        loaded = min(offset, _LOADED_BYTES)
        self._recent = bytearray(read_at(loaded, offset - loaded))

    def advance(self, line: bytes) -> None:
        """Pass one line, its newline included."""
        if self.offset < HEAD_BYTES:
            self._head.update(line[: HEAD_BYTES - self.offset])
        self.offset += len(line)
        self._recent += line
        if len(self._recent) > 2 * KEPT_BYTES:
            del self._recent[:-KEPT_BYTES]

    def cursor(self) -> Cursor:
        """Return the cursor of this place."""
        tail = bytes(self._recent[-TAIL_BYTES:])
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
        """The last bytes that were passed.

        While they stand there, nothing happened to what was read.
        """
        return bytes(self._recent[-GUARD_BYTES:])

    def settle(self, read_at: Reads) -> Standing:
        """Find out what happened to the bytes that were read.

        Go back to where they still are the same.

        A writer whose sync failed takes its last lines back, and the next one writes others in
        their place, or the same again: those that are the same are not passed twice. A repair
        blanks or splits bad lines, the first and the last one too, and moves no other.
        """
        head = self.read_head(read_at)
        passed = bytes(self._recent)
        begin = self.offset - len(passed)
        now = read_at(len(passed), begin)
        same = passed.rfind(b"\n", 0, _length_in_common(passed, now)) + 1
        if is_repaired(passed, now):
            self._recent[:] = now
            self.renew_head(head)
            return "same"
        if not same:
            return "replaced"
        if not has_line(read_at, begin + same):
            return "shorter"
        self.offset = begin + same
        del self._recent[same:]
        self.renew_head(self.read_head(read_at))
        return "same"


def has_line(read_at: Reads, place: int) -> bool:
    """Whether a whole line begins there."""
    step = _LOADED_BYTES
    while b"\n" not in (block := read_at(step, place)):
        if len(block) < step:
            return False
        step *= 2
    return True


def is_repaired(passed: bytes, now: bytes) -> bool:
    """Whether a repair leaves of each line what stands in its place, or is about to.

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
    """Whether a repair makes this of a line: of an object nothing but spaces.

    Of what is none, and never was given, any part.

    A part is in its order, with white space anywhere: that is what a split moves and turns to
    newlines.
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
