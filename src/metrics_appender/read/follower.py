"""Following a log.

Each record once, in order, as soon as its line is whole, through every rotation.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from .. import logger
from ..errors import CorruptLineError
from ..fs.watch import FileWatcher, check_poll_seconds
from ..records.ndjson import decode_line
from ..segment.source import closed_on_error
from . import seek
from .cursor import Cursor
from .lines import is_blank, line_number
from .repair_mark import Repairs
from .skipped import collector
from .tail_reader import Passage

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .log_file import LogFile
    from .skipped import OnError

_STOP_SECONDS: Final = 0.1  # how late a `stop` is noticed that cannot ring
# How often a rotated file is tried whose lock somebody holds, and a line that is being repaired.
_WRITER_SECONDS: Final = 0.01


class Stop(Protocol):
    """What says that it is enough: a `threading.Event`, or anything with its `is_set`."""

    def is_set(self) -> bool:
        """Whether it is."""


class Followed(NamedTuple):
    """A record, and the cursor of the place behind it, from which a later follower goes on."""

    record: dict[str, Any]
    cursor: str


class Follower:
    """Yields the records of the log at `path` as they come, for ever.

    An iterator, and a context manager that closes it.

    Where it begins is settled when it is made. `next` waits for a record. One thread at a time is
    in it; `close` may be called from any, and ends the one that waits. What a follower has given
    was whole in the file; it is durable when its append has returned.
    """

    def __init__(
        self,
        path: str,
        start: str = "end",
        *,
        poll_seconds: float | None = None,
        stop: Stop | None = None,
        on_error: OnError = "raise",
        notify: bool | None = None,
        last: int = 0,
    ) -> None:
        """Open the file that holds the start, if it is there.

        Raises `CursorGoneError` for a cursor whose file is gone.

        `last` is how many lines in front of the end are given too, with `start="end"`.
        """
        check_poll_seconds(poll_seconds)
        self._skipped = collector(on_error)
        self._on_error = on_error
        self._path = path
        self._stop = stop
        self._lines: deque[bytes] = deque()
        self._number = 0  # that of the line that comes next, where it is known
        self._repairs = Repairs()
        self._absence = seek.note_absence(path)
        self._has_writer = False
        self._is_closed = False
        self._mutex = threading.Lock()
        self._passage: Passage | None = None
        self._cursor: Cursor | None = None
        self._watcher = FileWatcher(path, poll_seconds=poll_seconds, notify=notify)
        try:
            self._begin(start, last)
        except BaseException:
            self.close()
            raise

    @property
    def cursor(self) -> str | None:
        """The place behind the last record that was given, or the start.

        `None` where there is no file yet, and at the beginning of a file by which nothing could
        tell it from another later.
        """
        return str(self._cursor) if self._cursor else None

    def __iter__(self) -> Self:
        """Return the follower itself."""
        return self

    def __next__(self) -> Followed:
        """Return the next record once its line is whole; end when closed, or when `stop` is set.

        Raises `CorruptLineError` for a whole line that is no JSON object (the next call goes on
        behind it), `CursorGoneError` when segments were deleted before they were read.
        """
        for followed in self.take(1):
            return followed
        raise StopIteration

    def take(self, most: int) -> list[Followed]:
        """Return the next record as `next` does.

        Those behind it that were read with it, `most` together; none at the end.

        A corrupt line behind some records is raised by the next call.
        """
        try:
            with self._mutex:
                return self._take(most)
        finally:
            if (
                self._is_closed
            ):  # looked at when the mutex is free again: whoever closes it later takes that
                self._release()

    def close(self) -> None:
        """End it, from any thread, and close what is open; closing again does nothing."""
        self._is_closed = True
        self._watcher.ring()
        self._release()

    def __enter__(self) -> Self:
        """Return the follower itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Close what was forgotten."""
        if hasattr(self, "_watcher"):
            self.close()

    def _release(self) -> None:
        """Close what is open, unless a thread is inside, which sees to it when it leaves."""
        if not self._mutex.acquire(blocking=False):
            return
        try:
            passage, self._passage = self._passage, None
            self._lines.clear()
            if passage:
                passage.close()
            self._watcher.close()
        finally:
            self._mutex.release()

    def _begin(self, start: str, last: int) -> None:
        if start == "beginning":
            self._enter(seek.open_first(self._path), 0)
        elif start == "end":
            self._enter(*(seek.open_near_end(self._path, last) or (None, 0)))
        else:
            self._enter(*seek.open_holder(self._path, Cursor.parse(start, "start")))
        if self._passage and self._passage.has_cursor():
            self._cursor = self._passage.cursor()

    def _enter(self, file: LogFile | None, offset: int) -> None:
        """Go on in another file."""
        if file is None:
            return
        with closed_on_error(file):
            before, self._passage = self._passage, Passage(self._path, file, offset)
        self._number = 0
        if before:
            before.close()
        self._watcher.watch(
            None if file.is_final else file.descriptor
        )  # before the first look, so that no write falls between the look and the sleep

    def _take(self, most: int) -> list[Followed]:
        taken: list[Followed] = []
        while len(taken) < most and not self._has_ended():
            if self._lines:
                try:
                    record = self._decode(self._lines[0])
                except CorruptLineError:
                    if taken:  # they are given first: the next call meets the line again
                        break
                    self._pass()
                    raise
                if record is not None:
                    taken.append(record)
            elif taken:  # all that was read is given, or a line behind it is to be read again
                break
            elif not (self._take_lines() or self._move_on()):
                self._watcher.sleep(self._most_seconds())
        return taken

    def _has_ended(self) -> bool:
        if self._stop and self._stop.is_set():
            self._is_closed = True
        return self._is_closed

    def _most_seconds(self) -> float | None:
        if self._has_writer:
            return _WRITER_SECONDS
        return _STOP_SECONDS if self._stop else None

    def _take_lines(self) -> bool:
        if self._passage is None:
            self._enter(seek.open_begun_since(self._path, self._absence), 0)
        if self._passage:
            before = self._passage.offset
            self._lines.extend(self._passage.take_lines())
            if self._passage.offset != before:  # lines were taken back, or the file was cut
                self._number = 0
        return bool(self._lines)

    def _move_on(self) -> bool:
        """Enter the next file when this one is at its end for good; whether that is so."""
        passage = self._passage
        self._has_writer = False
        if passage is None or passage.file.has_name(self._path):
            return False
        # A writer may have locked the file before it lost its name, and write to it now. When the
        # lock was free once, nobody will any more: who locks it from then on sees that the name is
        # another's.
        self._has_writer = passage.file.has_writer()
        if self._has_writer:
            return False
        if self._take_lines():
            return True
        following = seek.open_next(self._path, passage.file, passage.cursor())
        self._enter(following, 0)
        return following is not None

    def _decode(self, line: bytes) -> Followed | None:
        """Return what the next line holds, and pass it.

        `None` for a blank one, and one that is skipped or to be read again.

        One that is raised is not passed.
        """
        try:
            record = decode_line(line)
        except json.JSONDecodeError as error:
            if is_blank(line[:-1]):
                self._pass()
            else:
                self._judge(line, error)
            return None
        passage = self._pass()
        self._cursor = passage.cursor()
        return Followed(record, str(self._cursor))

    def _pass(self) -> Passage:
        assert self._passage is not None
        self._passage.advance(self._lines.popleft())
        if self._number:
            self._number += 1
        return self._passage

    def _judge(self, line: bytes, error: json.JSONDecodeError) -> None:
        """Look once more at a line that is no object.

        Raise it, or pass it and tell of it, if it stands there still.

        Else all that was read is read again: a writer has taken lines back under the reader, or a
        repair may be at work.
        """
        assert self._passage is not None
        source, offset = self._passage.file.source, self._passage.offset
        is_repaired = self._repairs.may_be_at(line, self._passage.place)
        if is_repaired or source.read_at(len(line), offset) != line:
            self._lines.clear()
            if is_repaired:
                self._watcher.sleep(_WRITER_SECONDS)
            return
        self._number = self._number or line_number(
            source, offset
        )  # once for a file: it is counted on as lines are passed
        corrupt = CorruptLineError(
            error.msg, error.doc, error.pos, source.path, self._number, offset
        )
        if self._skipped is None:
            raise corrupt from error
        self._pass()
        self._skipped.count += 1
        self._skipped.first = self._skipped.first or corrupt
        if self._on_error == "skip":
            logger.warn("1 corrupt line skipped: %s", corrupt)
