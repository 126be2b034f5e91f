"""A reader's way through one file of a log.

Whole lines from a place on, with an eye on what it has read already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .. import logger
from ..errors import CursorGoneError
from . import seek
from .position import Trail, has_line

if TYPE_CHECKING:
    from .cursor import Cursor
    from .log_file import LogFile

_BLOCK_BYTES: Final = 1 << 18


class Passage:
    """Reads `file`, a file of the log at `path`, from `offset` on."""

    def __init__(self, path: str, file: LogFile, offset: int) -> None:
        """Begin; `offset` is the begin of a line."""
        self.file = file
        self._path = path
        self._trail = self._trail_from(offset)
        self._has_copy = True  # as far as is known

    @property
    def offset(self) -> int:
        """Where it is in the file."""
        return self._trail.offset

    @property
    def place(self) -> int:
        """Where it is in the log's stream."""
        return self._trail.start + self._trail.offset

    def has_cursor(self) -> bool:
        """Whether a cursor of this place would find it again.

        Something tells the file from others.
        """
        return bool(self.place or self.file.generation or self.file.is_final)

    def cursor(self) -> Cursor:
        """Return the cursor of where it is."""
        return self._trail.cursor()

    def advance(self, line: bytes) -> None:
        """Pass one line of those that were taken."""
        self._trail.advance(line)

    def take_lines(self) -> list[bytes]:
        """Return the whole lines that come next, each with its newline.

        None where there are none yet.
        """
        step = _BLOCK_BYTES
        while True:
            # What was passed last is read again, for it may be another's by now, and the head
            # first: where the guard still stands behind that, the head is of the same file. What is
            # final stays as it is.
            read_at, is_final = self.file.source.read_at, self.file.is_final
            guard = b"" if is_final else self._trail.guard
            head = b"" if is_final else self._trail.read_head(read_at)
            block = read_at(len(guard) + step, self.offset - len(guard))
            if not block.startswith(guard):
                if not self._settle():
                    return []
                continue
            if not is_final and len(block) > len(guard):
                self._trail.renew_head(head)
            *lines, _unfinished = block[len(guard) :].split(b"\n")
            if lines or len(block) < len(guard) + step:
                return [line + b"\n" for line in lines]
            step *= 2  # a line longer than the block is read again, whole

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _trail_from(self, offset: int) -> Trail:
        file = self.file
        return Trail(
            file.source.read_at,
            offset,
            start=file.start,
            inode=file.inode,
            generation=file.generation,
        )

    def _settle(self) -> bool:
        """Go where the reading goes on after what was read has changed.

        Whether that is known yet.
        """
        passed = self.cursor()
        standing = self._trail.settle(self.file.source.read_at)
        if standing == "same" and self.offset == passed.offset:
            return True
        # Some lines were taken back, or the file was cut and begins with the same lines again: then
        # its copy has all of them.
        if self._go_to_copy(passed, since_ns=0 if standing == "replaced" else self.file.mtime_ns):
            return True
        self._has_copy = standing == "same"
        return self._begin_again() if standing == "replaced" else standing == "same"

    def _go_to_copy(self, passed: Cursor, since_ns: int) -> bool:
        """The file was cut to nothing in place.

        What stood behind this place is in the copy that was made before, if one was.
        """
        copy = self._open_copy(passed, since_ns) if self._has_copy else None
        if copy is None:
            return False
        self.close()
        self.file = copy
        self._trail = self._trail_from(passed.offset)
        return True

    def _open_copy(self, passed: Cursor, since_ns: int) -> LogFile | None:
        try:
            return seek.open_copy(self._path, passed, since_ns)
        except CursorGoneError:
            return None

    def _begin_again(self) -> bool:
        if not has_line(self.file.source.read_at, 0):
            return False
        logger.warn(
            "%s was cut to nothing in place, and no copy is beside it: what was written behind byte %d before that is not followed",
            self._path,
            self.offset,
        )
        self._trail = self._trail_from(0)
        self._has_copy = True
        return True
