"""Reading one file forwards: blocks of whole lines, with a guard over what was read before.

Every line comes out of one read: what a dead writer left behind the last newline may be cut away
and written anew between two reads, and halves of the two must not meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ..segment.source import Source
    from .cursor import Cursor
    from .position import Position, Standing

_BLOCK_BYTES: Final = 1 << 18
_LARGEST_BLOCK_BYTES: Final = 1 << 24  # pread(2) needs a buffer of what is asked for
_COPIED_BYTES: Final = 1 << 14  # of a block that is smaller, a copy is kept, without the guard
_LAST_BYTES: Final = 1 << 10


class Change(NamedTuple):
    """What became of bytes that were read: see `Standing`. `passed` is the cursor of before."""

    passed: Cursor
    standing: Standing


class TailReader:
    """Reads `source` from `position` on, the lines that are there and those that come.

    What was read and not passed yet is pending. Without `is_guarded`, for a file that stays as it
    is, nothing is read twice, and no change is noticed.
    """

    def __init__(self, source: Source, position: Position, *, is_guarded: bool = True) -> None:
        """Begin; nothing is pending."""
        self.source = source
        self.position = position
        self._is_guarded = is_guarded
        # The pending lines are `_data[_begin:_end]`.
        self._data = b""
        self._begin = self._end = 0

    @property
    def has_lines(self) -> bool:
        """Whether a line is pending."""
        return self._begin < self._end

    def read(self, most_bytes: int = 0) -> Change | None:
        """Read the whole lines that come next, if none are pending and there are any.

        Reads `most_bytes` or, where that is more, a block of the usual size; more than that only
        for a line that is longer, and fewer where so many would be a burden. Returns what happened
        to the bytes that were read before, where they are not the same any more: then nothing is
        pending.
        """
        step = min(max(most_bytes, _BLOCK_BYTES), _LARGEST_BLOCK_BYTES)
        while not self.has_lines:
            # The bytes that were passed last are read again, for they may be another's by now, and
            # the head first: where the guard still stands behind that, the head is of the same
            # file.
            read_at, position = self.source.read_at, self.position
            guard = position.guard if self._is_guarded else b""
            head = position.read_head(read_at) if self._is_guarded else b""
            block = read_at(len(guard) + step, position.offset - len(guard))
            if not block.startswith(guard):
                before = position.cursor()
                standing = position.reconcile(read_at)
                if standing == "same" and position.offset == before.offset:
                    continue  # a repair
                return Change(before, standing)
            if self._is_guarded and len(block) > len(guard):
                position.renew_head(head)
            end = block.rfind(b"\n") + 1
            if end > len(guard):
                self._keep(block, len(guard), end)
            elif len(block) < len(guard) + step:
                break  # the end of the file, or of what is whole in it
            step *= 2  # a line longer than the block is read again, whole
        return None

    def line(self) -> bytes:
        """Return the pending line that comes next, without its newline."""
        return self._data[self._begin : self._data.index(b"\n", self._begin)]

    def lines(self) -> list[bytes]:
        """Return all pending lines, without their newlines."""
        return self._data[self._begin : self._end - 1].split(b"\n") if self.has_lines else []

    def block(self, most_bytes: int) -> bytes:
        """Return pending lines as they stand in the file: one, or as many as fit `most_bytes`."""
        begin, limit = self._begin, self._begin + most_bytes
        if limit >= self._end:
            return self._data[begin : self._end]
        end = self._data.rfind(b"\n", begin, limit) + 1
        return self._data[begin : end or self._data.index(b"\n", limit) + 1]

    def is_unchanged(self) -> bool:
        """Return whether the last pending bytes stand in the file still; else forget them all."""
        count = min(_LAST_BYTES, self._end - self._begin)
        offset = self.position.offset + (self._end - self._begin) - count
        if self.source.read_at(count, offset) == self._data[self._end - count : self._end]:
            return True
        self.forget()
        return False

    def advance(self, length: int) -> None:
        """Pass pending lines of so many bytes together, their newlines included."""
        end = self._begin + length
        self.position.advance(self._data, self._begin, end)
        self._begin = end
        if end == self._end:
            self.forget()

    def advance_to_end(self) -> None:
        """Pass all pending lines."""
        self.advance(self._end - self._begin)

    def forget(self) -> None:
        """Drop what is pending: it is read again."""
        self._data, self._begin, self._end = b"", 0, 0

    def restart(self) -> None:
        """Go on at the beginning of the file, which was cut to nothing in place."""
        self.forget()
        self.position = self.position.at_beginning()

    def _keep(self, block: bytes, begin: int, end: int) -> None:
        if end - begin < _COPIED_BYTES:
            block, begin, end = block[begin:end], 0, end - begin
        self._data, self._begin, self._end = block, begin, end
