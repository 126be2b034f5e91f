"""Following a log: each record once, in order, when its line is whole, through every rotation."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from .. import logger
from ..errors import CorruptLineError
from ..fs.watch import FileWatcher, check_poll_seconds
from ..records.ndjson import decode_line
from .lines import is_blank
from .log_tail import LogTail
from .skipped import collector

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .skipped import OnError

_STOP_SECONDS: Final = 0.1  # how late a `stop` is noticed that cannot wake the follower
# How often a rotated file is tried whose lock is held, and a line that is being repaired.
_WRITER_SECONDS: Final = 0.01


class Stop(Protocol):
    """What says that it is enough: a `threading.Event`, or anything with its `is_set`."""

    def is_set(self) -> bool:
        """Return whether it is."""


class Followed(NamedTuple):
    """A record, and the cursor of the position behind it, where a later follower goes on."""

    record: dict[str, Any]
    cursor: str


class Follower:
    """Yields the records of the log at `path` as they come, for ever.

    An iterator, and a context manager that closes it. Where it begins is decided when it is made.
    `next` waits for a record. One thread at a time is in it; `close` may be called from any, and
    ends the wait. What a follower has given was whole in the file; it is durable when its append
    has returned.
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

        Args:
            path: The log's file.
            start: `"end"`, `"beginning"`, or a cursor.
            poll_seconds: How long it sleeps at the most between two looks; see `FileWatcher`.
            stop: Ends it within 0.1 seconds once it is set.
            on_error: What becomes of a corrupt line; see `AppendLog.read`.
            notify: Whether the kernel wakes it; see `FileWatcher`.
            last: How many lines in front of the end are given too, with `start="end"`.

        Raises:
            CursorGoneError: The cursor's file is gone, or could be one of several.
            InvalidRecordError: An argument is none of these. Nothing stays open.
        """
        check_poll_seconds(poll_seconds)
        self._skipped = collector(on_error)
        self._on_error = on_error
        self._stop = stop
        self._is_closed = False
        self._mutex = threading.Lock()
        self._cursor: str | None = None
        self._watcher = FileWatcher(path, poll_seconds=poll_seconds, notify=notify)
        try:
            self._tail = LogTail(path, self._watcher.watch)
            self._tail.begin(start, last)
            if self._tail.has_cursor():
                self._cursor = str(self._tail.cursor())
        except BaseException:
            self.close()
            raise

    @property
    def cursor(self) -> str | None:
        """The position behind the last record that was given, or the start.

        `None` where there is no file yet, and at the beginning of a file by which nothing could
        tell it from another later.
        """
        return self._cursor

    def __iter__(self) -> Self:
        """Return the follower itself."""
        return self

    def __next__(self) -> Followed:
        """Return the next record once its line is whole; end when closed, or when `stop` is set.

        Raises:
            CorruptLineError: A whole line is no JSON object. The next call goes on behind it.
            CursorGoneError: Segments were deleted before they were read.
            OSError: The log cannot be read. The next call tries it again.
        """
        for followed in self.take(1):
            return followed
        raise StopIteration

    def take(self, most: int) -> list[Followed]:
        """Return the next record as `next` does, and those behind it that were read with it.

        `most` together; none at the end. A corrupt line behind some records is raised by the next
        call.
        """
        try:
            with self._mutex:
                return self._take(most)
        finally:
            self._release_if_closed()

    def close(self) -> None:
        """End it, from any thread, and close what is open; closing again does nothing."""
        self._is_closed = True
        self._watcher.wake()
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

    def _release_if_closed(self) -> None:
        # Looked at when the mutex is free again: a `close` that comes later takes that.
        if self._is_closed:
            self._release()

    def _release(self) -> None:
        """Close what is open, unless a thread is inside, which sees to it when it leaves."""
        if not self._mutex.acquire(blocking=False):
            return
        try:
            if hasattr(self, "_tail"):
                self._tail.close()
            self._watcher.close()
        finally:
            self._mutex.release()

    def _take(self, most: int) -> list[Followed]:
        taken: list[Followed] = []
        tail = self._tail
        while len(taken) < most and not self._has_ended():
            if tail.has_lines:
                try:
                    followed = self._next_record()
                except CorruptLineError:
                    if taken:  # they are given first: the next call meets the line again
                        break
                    tail.advance(len(tail.reader.line()) + 1)
                    raise
                if followed is not None:
                    taken.append(followed)
            elif taken:  # all that was read is given, or a line behind it is to be read again
                break
            elif not tail.read():
                self._watcher.sleep(self._most_seconds())
        if taken:
            self._cursor = taken[-1].cursor
        return taken

    def _has_ended(self) -> bool:
        if self._stop and self._stop.is_set():
            self._is_closed = True
        return self._is_closed

    def _most_seconds(self) -> float | None:
        if self._tail.has_writer:
            return _WRITER_SECONDS
        return _STOP_SECONDS if self._stop else None

    def _next_record(self) -> Followed | None:
        """Return what the next line holds, and pass it.

        `None` for a blank line, and a line that is skipped or to be read again. A corrupt line that
        is raised is not passed.
        """
        tail = self._tail
        line = tail.reader.line()
        try:
            record = decode_line(line)
        except json.JSONDecodeError as error:
            if is_blank(line):
                tail.advance(len(line) + 1)
            elif tail.is_corrupt(line, self._wait_for_repair):
                self._raise_or_skip(line, error)
            return None
        tail.advance(len(line) + 1)
        return Followed(record, str(tail.cursor()))

    def _wait_for_repair(self) -> bool:
        self._watcher.sleep(_WRITER_SECONDS)
        return False  # all is read again, and whether to go on is asked in between

    def _raise_or_skip(self, line: bytes, error: json.JSONDecodeError) -> None:
        source, position = self._tail.reader.source, self._tail.reader.position
        corrupt = CorruptLineError(
            error.msg, error.doc, error.pos, source.path, self._tail.number(), position.offset
        )
        if self._skipped is None:
            raise corrupt from error
        self._tail.advance(len(line) + 1)
        self._skipped.count += 1
        self._skipped.first = self._skipped.first or corrupt
        if self._on_error == "skip":
            logger.warn("1 corrupt line skipped: %s", corrupt)
