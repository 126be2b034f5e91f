"""A cursor: a position behind a record of a log, as a small text that can be stored.

It says where (the start of its file in the log's stream of bytes, and the offset within the file),
in which file (inode number and generation), and behind what (checksums of bytes in front of it). No
one of them is trusted alone: inode numbers are given out again, and different files can begin with
equal lines.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ..errors import Fault, InvalidRecordError, show

if TYPE_CHECKING:
    from typing import Self

HEAD_BYTES: Final = 4096
TAIL_BYTES: Final = 1024
# What is left of the shortest record, "{}", and of its newline.
_BLANKED: Final = (b"   ", b"  \n")
# How a line ends, its newline blanked with a bad line behind it or not, and where spaces stand that
# are left of bad lines.
_ENDS: Final = (b" ", b"\n")
_TRACES: Final = (b"\n ", b" \n")
_FORM: Final = re.compile(
    r"1\.(\d{1,20})\.(\d{1,20})\.([0-9a-f]{1,16})\.([0-9a-f]{1,8})\.([0-9a-f]{8})\.([0-9a-f]{16})",
    re.ASCII,
)


class Reads(Protocol):
    """Reads bytes of one file at an offset."""

    def __call__(self, length: int, offset: int, /) -> bytes:
        """Return `length` bytes from `offset` on; fewer only where the file ends."""


class Cursor(NamedTuple):
    """The parts of a cursor's text.

    `line` is the checksum of the record in front of it; `content` that of the file's first 4096
    bytes and of the last 1024 in front of the cursor, as far as there are so many.
    """

    start: int
    offset: int
    inode: int
    generation: int
    line: str
    content: str

    @classmethod
    def parse(cls, text: Any, field: str) -> Self:
        """Return the parts of a text.

        Raises `InvalidRecordError`, which names `field`, for what is no cursor of this library.
        """
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if not found:
            reason = "pass a cursor as it came with a record" + (
                ", 'beginning' or 'end'" if field == "start" else ""
            )
            raise InvalidRecordError((Fault(field, show(text), reason),), outcome="")
        return cls(
            int(found[1]), int(found[2]), int(found[3], 16), int(found[4], 16), found[5], found[6]
        )

    def __str__(self) -> str:
        """Return the text, with the version of its form in front."""
        start, offset, inode, generation, line, content = self
        return f"1.{start}.{offset}.{inode:x}.{generation:x}.{line}.{content}"

    def matches(self, read_at: Reads, *, is_certain: bool, is_likely: bool = False) -> bool:
        """Return whether a file holds in front of the cursor what stood there when it was made.

        `is_certain`: more than the content says that it is this file, so the record in front is
        enough, or the spaces that a repair has left of it. For then a repair, which blanks a bad
        line and moves no other, is no reason to refuse. `is_likely`: something says so that could
        be wrong, so the record is enough only beside the spaces that a repair has left of others.
        """
        tail = read_at(min(self.offset, TAIL_BYTES), max(0, self.offset - TAIL_BYTES))
        if len(tail) < min(self.offset, TAIL_BYTES):
            return False
        if is_certain and (line_checksum(tail) == self.line or tail.endswith(_BLANKED)):
            return True
        head = read_at(min(self.offset, HEAD_BYTES), 0)
        if self.offset == 0:
            return False
        if content_checksum(hash_head(head), tail) == self.content:
            return True
        return (
            is_likely
            and line_checksum(tail) == self.line
            and tail.endswith(_ENDS)
            and _has_traces(head, tail)
        )


def _has_traces(head: bytes, tail: bytes) -> bool:
    """Return whether spaces stand where a repair leaves them: around a line or a newline."""
    return any(trace in part for part in (b"\n" + head, tail + b"\n") for trace in _TRACES)


def line_checksum(tail: bytes) -> str:
    """Return the checksum of the last record in some bytes, white space around it left out."""
    text = tail.rstrip(b" \n")
    begin = text.rfind(b"\n") + 1
    return f"{zlib.crc32(text[begin:].lstrip(b' ')):08x}"


def hash_head(head: bytes) -> hashlib.blake2b:
    """Return the state of a checksum that begins with a file's first bytes."""
    return hashlib.blake2b(head, digest_size=8)


def content_checksum(head: hashlib.blake2b, tail: bytes) -> str:
    """Return the checksum of a file's first bytes and of those in front of a cursor."""
    whole = head.copy()
    whole.update(tail)
    return whole.hexdigest()
