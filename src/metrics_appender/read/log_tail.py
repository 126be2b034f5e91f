"""The lines of a log that come next, through every rotation; nothing here waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import logger
from ..errors import CursorGoneError
from ..fs import calls
from ..segment.source import closed_on_error
from . import next_file, seek
from .cursor import Cursor
from .lines import line_number
from .position import Position, has_line
from .repair_mark import Repairs
from .tail_reader import TailReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from .log_file import LogFile
    from .seek import Found
    from .tail_reader import Change


class LogTail:
    """Where a follower is in the log at `path`: the file, and the lines of it that come next.

    `watch` is called with the descriptor of the file from which more may come, before it is read,
    so that no write falls between the last look and the sleep; with `None` where nothing comes.
    `has_writer` says that the file has lost its name, but a writer may be at it still.
    """

    def __init__(self, path: str, watch: Callable[[int | None], None]) -> None:
        """Note which files there are; none is open yet."""
        self._path = path
        self._watch = watch
        self._absence = next_file.note_absence(path)
        self._file: LogFile | None = None
        self._reader: TailReader | None = None
        self._has_copy = True  # as far as is known
        self._number = 0  # that of the line that comes next, where it is known
        self._repairs = Repairs()
        self.has_writer = False

    def begin(self, start: str, last: int) -> None:
        """Open the file that holds the start, if it is there.

        The start is `"beginning"`, a cursor, or `"end"`, with `last` lines in front of it.
        """
        found: Found | None
        if start == "beginning":
            found = seek.seek_head(self._path)
        elif start == "end":
            found = seek.seek_tail(self._path, last)
        else:
            found = seek.seek_cursor(self._path, Cursor.parse(start, "start"))
        if found:
            self._enter(*found)

    @property
    def reader(self) -> TailReader:
        """The reader of the current file."""
        assert self._reader is not None
        return self._reader

    @property
    def has_lines(self) -> bool:
        """Whether a line is pending."""
        return self._reader is not None and self._reader.has_lines

    @property
    def position(self) -> int:
        """Where it is in the log's stream."""
        position = self.reader.position
        return position.start + position.offset

    def cursor(self) -> Cursor:
        """Return the cursor of where it is."""
        return self.reader.position.cursor()

    def has_cursor(self) -> bool:
        """Return whether a cursor would find the position again.

        Something has to tell the file from others: bytes in front of it, a generation, or a name.
        """
        file = self._file
        return file is not None and bool(self.position or file.generation or file.is_final)

    def read(self, most_bytes: int = 0) -> bool:
        """Read the lines that come next, if none are pending; return whether there are any.

        Goes on with the next file when this one is at its end for good. Raises `CursorGoneError`
        when segments were deleted before they were read.
        """
        while not self._read_on(most_bytes):
            if not self._move_on(most_bytes):
                return False
        return True

    def advance(self, length: int, count: int = 1) -> None:
        """Pass `count` pending lines of so many bytes together, their newlines included."""
        self.reader.advance(length)
        if self._number:
            self._number += count

    def number(self) -> int:
        """Return the number of the next line in its file.

        Counted once for a file, and from then on as lines are passed.
        """
        reader = self.reader
        self._number = self._number or line_number(reader.source, reader.position.offset)
        return self._number

    def is_corrupt(self, line: bytes, wait: Callable[[], bool]) -> bool:
        """Return whether the next line, which is no object, is corrupt; see `Repairs`.

        Where it is not, all pending lines are read again.
        """
        reader = self.reader
        offset = reader.position.offset
        is_corrupt = self._repairs.is_corrupt(line, reader.source, offset, self.position, wait)
        if not is_corrupt:
            reader.forget()
        return is_corrupt

    def sync(self) -> bool:
        """Sync the current file, and return whether the pending lines are durable by that.

        Where a writer has taken them back before, they are read again.
        """
        assert self._file is not None
        calls.sync_data(self._file.descriptor)
        return self.reader.is_unchanged()

    def close(self) -> None:
        """Close the file."""
        file, self._file, self._reader = self._file, None, None
        if file:
            file.close()

    def _enter(self, file: LogFile, offset: int) -> None:
        """Go on in another file."""
        with closed_on_error(file):
            self._read_from(file, offset)
        self._watch(None if file.is_final else file.descriptor)

    def _read_from(self, file: LogFile, offset: int) -> None:
        position = Position(
            offset, start=file.start, inode=file.inode, generation=file.generation
        ).look_back(file.source.read_at)
        before, self._file = self._file, file
        self._reader = TailReader(file.source, position, is_guarded=not file.is_final)
        self._has_copy = True
        self._number = 0
        if before:
            before.close()

    def _read_on(self, most_bytes: int) -> bool:
        """Read the lines that come next in the current file; return whether there are any."""
        if self._file is None:
            begun = next_file.open_begun_since(self._path, self._absence)
            if begun is None:
                return False
            self._enter(begun, 0)
        while change := self.reader.read(most_bytes):
            self._number = 0
            if not self._go_on_after(change):
                return False
        return self.has_lines

    def _move_on(self, most_bytes: int) -> bool:
        """Enter the next file when this one is at its end for good; return whether it is."""
        file = self._file
        self.has_writer = False
        if file is None or file.has_name(self._path):
            return False
        # A writer may have locked the file before it lost its name, and write to it now. When the
        # lock was free once, there is no more writer: the next one to lock it sees that the name is
        # another file's.
        self.has_writer = file.has_writer()
        if self.has_writer:
            return False
        if self._read_on(most_bytes):
            return True
        assert self._file is not None
        following = next_file.open_next(self._path, self._file, self.cursor())
        if following is None:
            return False
        self._enter(following, 0)
        return True

    def _go_on_after(self, change: Change) -> bool:
        """Go where the reading goes on after what was read has changed, if that is known yet."""
        # Some lines were taken back, or the file was cut and begins with the same lines again: then
        # its copy has all of them.
        is_replaced = change.standing == "replaced"
        assert self._file is not None
        if self._go_to_copy(change.passed, since_ns=0 if is_replaced else self._file.mtime_ns):
            return True
        self._has_copy = change.standing == "same"
        return self._begin_again() if is_replaced else self._has_copy

    def _go_to_copy(self, passed: Cursor, since_ns: int) -> bool:
        """Go on in the copy of the file of before it was cut in place, if there is one."""
        copy = self._open_copy(passed, since_ns) if self._has_copy else None
        if copy is None:
            return False
        with closed_on_error(copy):
            self._read_from(copy, passed.offset)
        return True

    def _open_copy(self, passed: Cursor, since_ns: int) -> LogFile | None:
        try:
            return seek.open_copy(self._path, passed, since_ns)
        except CursorGoneError:
            return None

    def _begin_again(self) -> bool:
        """Go on at the beginning of a file that was cut in place, once a line is there."""
        reader = self.reader
        if not has_line(reader.source.read_at, 0):
            return False
        logger.warn(
            "%s was cut to nothing in place, and no copy is beside it: "
            "what was written behind byte %d before that is not followed",
            self._path,
            reader.position.offset,
        )
        reader.restart()
        self._has_copy = True
        return True
