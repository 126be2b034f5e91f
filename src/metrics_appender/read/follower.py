"""Following a log: each record once, in order, when its line is whole, through every rotation."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import CorruptLineError, Fault, InvalidRecordError, show
from ..fs.watch import FileWatcher, check_poll_seconds
from .good_lines import Followed, GoodLines
from .log_tail import LogTail

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class Follower:
    """Yields the records of the log at `path` as they come, for ever.

    An iterator, and a context manager that closes it. Where it begins is decided when it is made.
    `next` waits for a record, `batches` gives many at once, `take_lines` their bytes, without
    waiting. One thread at a time is in it; `close` may be called from any, and ends the wait. What
    a follower has given was whole in the file; it is durable when its append has returned.
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
        self._stop = stop
        self._gathered: list[Followed] = []  # not given yet
        self._is_closed = False
        self._mutex = threading.Lock()
        self._cursor: str | None = None
        self._watcher = FileWatcher(path, poll_seconds=poll_seconds, notify=notify)
        try:
            self._tail = LogTail(path, self._watcher.watch)
            self._lines = GoodLines(self._tail, on_error)
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

    def batches(self, max_records: int = 512, within: float = 0.02) -> Iterator[list[Followed]]:
        """Yield the records in lists, as they come, for consumers that pay by the call.

        A batch is ended by its `max_records`-th record, or `within` seconds after its first one,
        when all that is there is in it. Order, errors and end are those of `next`, and the two may
        take turns.

        Args:
            max_records: How many records are in a batch at the most, 1 or more.
            within: For how many seconds a record waits for others, 0 or more.

        Returns:
            An iterator of lists, none of them empty. It can be asked on after an error.

        Raises:
            InvalidRecordError: An argument is none of these (a `ValueError`).
            CorruptLineError: As with `next`; where good records stand in front of the line, they
                are a batch, and the next one raises.

        Example:
            >>> from metrics_appender import AppendLog
            >>> log = AppendLog("events.ndjson")
            >>> log.append_many({"n": n} for n in range(3))
            3
            >>> with log.follow("beginning") as records:
            ...     batch = next(records.batches())
            >>> [record["n"] for record, cursor in batch]
            [0, 1, 2]
        """
        check_batch(max_records, within)
        # Unlike a generator, it can be asked again after an error.
        return iter(functools.partial(self.take, max_records, within), [])

    def take(self, most: int, within: float = 0.0) -> list[Followed]:
        """Return the next batch of `most` records at the most; none at the end.

        Waits for the first record as `next` does, and `within` seconds for those behind it.
        """
        try:
            with self._mutex:
                self._gather(most, within)
                taken, self._gathered = self._gathered, []
                if len(taken) > most:  # an interrupted call has gathered more
                    taken, self._gathered = taken[:most], taken[most:]
                if taken:
                    self._cursor = taken[-1].cursor
                return taken
        finally:
            if self._is_closed:  # looked at when the mutex is free: a later `close` takes that
                self._release()

    def take_lines(self, most_bytes: int, *, sync: bool = False) -> tuple[bytes, int, str | None]:
        """Return the lines that come next as they stand in the file, without waiting for any.

        They are checked as `next` checks them, but not decoded. Blank lines are left out. `next`
        and this may take turns.

        Args:
            most_bytes: How many bytes of lines are returned at the most, 1 or more; one line is
                returned even if it is longer.
            sync: Sync the file (`fdatasync`) first, so that the lines survive a power cut, though
                their append may not have returned yet.

        Returns:
            Whole lines, each with its newline; how many they are; and the cursor behind the last
            of them, with which a later follower goes on. `b""`, 0 and `cursor` where nothing is
            new, or the follower is closed.

        Raises:
            InvalidRecordError: `most_bytes` is no such number (a `ValueError`).
            CorruptLineError: As with `next`, behind the lines in front of it.
            CursorGoneError: Segments were deleted before they were read.
            OSError: The log cannot be read or synced. No line is passed: the next call returns it.

        Example:
            >>> from metrics_appender import AppendLog
            >>> log = AppendLog("events.ndjson")
            >>> log.append({"n": 0})
            >>> with log.follow("beginning") as follower:
            ...     lines, count, cursor = follower.take_lines(65536)
            >>> lines, count
            (b'{"n":0}\\n', 1)
        """
        check_count("most_bytes", most_bytes)
        try:
            with self._mutex:
                return self._take_lines(most_bytes, sync=sync)
        finally:
            if self._is_closed:
                self._release()

    def sync(self) -> None:
        """Sync the file of the lines that were given last, as `take_lines` does with `sync`."""
        try:
            with self._mutex:
                if not self._is_closed:
                    self._tail.sync()
        finally:
            if self._is_closed:
                self._release()

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

    def _release(self) -> None:
        """Close what is open, unless a thread is inside, which sees to it when it leaves."""
        if not self._mutex.acquire(blocking=False):
            return
        try:
            if hasattr(self, "_tail"):
                self._tail.close()
            self._gathered.clear()
            self._watcher.close()
        finally:
            self._mutex.release()

    def _gather(self, most: int, within: float) -> None:
        """Gather a batch of records, behind those that an interrupted call has gathered."""
        gathered, tail = self._gathered, self._tail
        until: float | None = None
        while len(gathered) < most and not self._has_ended():
            if until is None and gathered:
                until = time.monotonic() + within
            try:
                if tail.has_lines:
                    self._lines.take_records(gathered, most, self._wait_for_repair)
                else:
                    rest = None if until is None else until - time.monotonic()
                    if rest is not None and rest <= 0:
                        return
                    if not tail.read():
                        self._sleep(rest)
            except Exception as error:
                if gathered:  # they are given first, and the next call meets the error again
                    return
                if isinstance(error, CorruptLineError):
                    self._lines.pass_line()
                raise

    def _take_lines(self, most_bytes: int, *, sync: bool) -> tuple[bytes, int, str | None]:
        if self._gathered:
            raise RuntimeError("take the rest of the batch first that was interrupted")
        tail = self._tail
        is_repaired = False

        def give_up() -> bool:
            nonlocal is_repaired
            is_repaired = True
            return False

        while not (is_repaired or self._has_ended()) and (tail.has_lines or tail.read(most_bytes)):
            if sync and not tail.sync():
                continue
            lines, count = self._lines.take_block(most_bytes, give_up)
            if count:
                self._cursor = str(tail.cursor())
                return lines, count, self._cursor
        return b"", 0, self._cursor

    def _has_ended(self) -> bool:
        if self._stop and self._stop.is_set():
            self._is_closed = True
        return self._is_closed

    def _sleep(self, most_seconds: float | None) -> None:
        limits = (
            most_seconds,
            _WRITER_SECONDS if self._tail.has_writer else None,
            _STOP_SECONDS if self._stop else None,
        )
        self._watcher.sleep(min((limit for limit in limits if limit is not None), default=None))

    def _wait_for_repair(self) -> bool:
        self._watcher.sleep(_WRITER_SECONDS)
        return False  # all is read again, and whether to go on is asked in between


def check_batch(max_records: Any, within: Any) -> None:
    """Raise `InvalidRecordError` unless they are what `Follower.batches` takes."""
    check_count("max_records", max_records)
    is_number = isinstance(within, int | float) and not isinstance(within, bool)
    if not (is_number and 0 <= within <= threading.TIMEOUT_MAX):
        reason = "pass seconds, 0 or more"
        raise InvalidRecordError((Fault("within", show(within), reason),), outcome="")


def check_count(field: str, value: Any) -> None:
    """Raise `InvalidRecordError` unless it is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        reason = "pass a whole number (int) of 1 or more"
        raise InvalidRecordError((Fault(field, show(value), reason),), outcome="")
