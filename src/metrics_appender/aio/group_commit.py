"""Group commit for the tasks of one event loop: lines queue while a batch is being written.

One batch of a file is being written at a time, in a thread; lines that come meanwhile queue in the
loop. When the batch is done, one call into the loop completes its callers, and everything queued by
then, those callers' next lines included, becomes the next batch: one lock, one write, one sync.
`write.group_commit` does the same for threads.
"""

from __future__ import annotations

import bisect
import copy
import errno
import functools
import itertools
import math
from asyncio import InvalidStateError, get_running_loop
from operator import methodcaller
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import ClosedError, LockTimeoutError
from ..outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN, copy_for_another_caller, explain, outcomes_of
from .threads import LoopThreads, call_back

if TYPE_CHECKING:
    import asyncio

# One batch takes about so many bytes of the queue at most; the rest is for the next.
_BATCH_BYTES: Final = 1 << 20
# Errors that may be one long line's alone: a shorter one may still have room.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_is_done: Final = methodcaller("done")  # of the event loop's own futures, whatever loop it is


class Writer(Protocol):
    """What lines are written to, in a thread: a `LogWriter`, or what stands for one."""

    @property
    def path(self) -> str:
        """The file's path."""

    @property
    def is_cleaning(self) -> bool:
        """Whether there is something that `close` waits for."""

    def append(self, block: bytes, deadline: float | None, /) -> None:
        """Append joined lines, all or nothing, as `LogWriter.append` does."""

    def close(self) -> None:
        """Return when nothing goes on in the background; no append is under way."""


class _Batch:
    """Lines in the order of their calls, each with its caller's future and its deadline.

    Three lists rather than one of triples: fewer objects to make, and for the garbage collector to
    traverse.
    """

    __slots__ = ("deadlines", "futures", "lines")

    def __init__(
        self, futures: list[asyncio.Future[None]], lines: list[bytes], deadlines: list[float]
    ) -> None:
        self.futures = futures
        self.lines = lines
        self.deadlines = deadlines

    def __getitem__(self, part: slice) -> _Batch:
        return _Batch(self.futures[part], self.lines[part], self.deadlines[part])

    def __add__(self, other: _Batch) -> _Batch:
        return _Batch(
            self.futures + other.futures, self.lines + other.lines, self.deadlines + other.deadlines
        )

    def drop_incomplete(self) -> None:
        """Drop the end of the lists that are longer than the shortest."""
        count = min(len(self.futures), len(self.lines), len(self.deadlines))
        del self.futures[count:], self.lines[count:], self.deadlines[count:]

    def without_cancelled(self) -> _Batch:
        """Return the lines whose callers still wait."""
        kept = [index for index, future in enumerate(self.futures) if not future.done()]
        return _Batch(
            [self.futures[index] for index in kept],
            [self.lines[index] for index in kept],
            [self.deadlines[index] for index in kept],
        )

    def count_expired(self, now: float) -> int:
        """Return how many of the first lines have a deadline before `now` (`time.monotonic`)."""
        return bisect.bisect_right(self.deadlines, now)

    def count_within(self, size: int) -> int:
        """Return how many of the first lines hold `size` bytes, or a little more."""
        return bisect.bisect_left(list(itertools.accumulate(map(len, self.lines))), size) + 1


class AsyncGroupCommit:
    """The queue of one file's lines, and the batch of them that is being written.

    `lock_timeout` (seconds, `None` for ever) counts for each line from its own call on.
    """

    def __init__(self, writer: Writer, lock_timeout: float | None, threads: LoopThreads) -> None:
        """Begin with no lines."""
        self._writer = writer
        self._path = writer.path
        self._lock_timeout = lock_timeout
        self._timeout_seconds = math.inf if lock_timeout is None else lock_timeout
        self._threads = threads
        self._is_closed = False
        self._begin_in(None)

    def _begin_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Begin in a loop: nothing queued in an earlier loop, or before a fork, is gone on with."""
        self._loop = loop
        self._queue = _Batch([], [], [])
        self._is_writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._ends: list[asyncio.Future[None]] = []

    @property
    def is_busy(self) -> bool:
        """Whether a line is queued or being written, or segments are being cleaned."""
        return self._is_writing or self._writer.is_cleaning

    @property
    def is_closed(self) -> bool:
        """Whether lines are refused."""
        return self._is_closed

    def add(self, line: bytes) -> asyncio.Future[None]:
        """Queue a line; return what is done when the line is durable or has failed.

        Cancelled while the line is queued, the line is never written; cancelled while it is being
        written, it may be.
        """
        loop = get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if self._is_closed:
            raise ClosedError(self._path)
        future: asyncio.Future[None] = loop.create_future()
        queue = self._queue
        try:
            queue.futures.append(future)
            queue.lines.append(line)
            queue.deadlines.append(monotonic() + self._timeout_seconds)
        except BaseException:  # a signal handler's: each line keeps its own future
            queue.drop_incomplete()
            raise
        if not self._is_writing:
            # Not at once: the tasks that run before it add their lines to the batch.
            loop.call_soon(self._write_next)
            self._is_writing = True
        elif self._timer is None:
            self._set_timer()
        return future

    def refuse(self) -> None:
        """Refuse lines from now on."""
        self._is_closed = True

    async def close(self) -> None:
        """Refuse lines from now on; return when every queued line is durable or has failed."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        self.refuse()
        while self._is_writing:
            end: asyncio.Future[None] = loop.create_future()
            self._ends.append(end)
            await end
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close_writer(self) -> None:
        """In a thread, when this is closed: return when the cleaning of segments is done."""
        self._writer.close()

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._threads.adopt(loop)
        self._begin_in(loop)

    def _write_next(self) -> None:
        """Have the next batch written; when nothing is queued, complete the calls of `close`."""
        batch: _Batch | None = None
        try:
            batch = self._next_batch()
            self._start_write(batch)
        except BaseException:
            self._abort(batch)
            raise

    def _next_batch(self) -> _Batch:
        """Take the next batch from the queue, without the lines of cancelled callers."""
        batch, self._queue = self._queue, _Batch([], [], [])
        if any(map(_is_done, batch.futures)):
            batch = batch.without_cancelled()
        if sum(map(len, batch.lines)) > _BATCH_BYTES:
            count = batch.count_within(_BATCH_BYTES)
            batch, self._queue = batch[:count], batch[count:]
        return batch

    def _start_write(self, batch: _Batch) -> None:
        if not batch.lines:
            self._end()
            return
        try:
            self._threads.start(functools.partial(self._write, batch, get_running_loop()))
            self._set_timer()
        except RuntimeError as error:  # no thread, and none can be made
            failure = OSError(errno.EAGAIN, str(error))
            self._complete(batch, [explain(failure, self._path, NOTHING_WRITTEN)])

    def _abort(self, batch: _Batch | None) -> None:
        """Fail every caller after a signal handler's exception in the loop, which ends the work."""
        queue, self._queue = self._queue, _Batch([], [], [])
        for future in (*(batch.futures if batch else ()), *queue.futures):
            if not future.done():
                error = OSError(
                    errno.EINTR, "the appends of the event loop were interrupted by a signal"
                )
                future.set_exception(explain(error, self._path, MAY_BE_WRITTEN))
        self._end()

    def _end(self) -> None:
        self._is_writing = False
        ends, self._ends = self._ends, []
        for end in ends:
            if not end.done():
                end.set_result(None)

    def _write(self, batch: _Batch, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: write a batch, and give the loop an error per line, for all, or none."""
        errors: list[BaseException | None] = []
        try:
            self._append(batch)
        except BaseException as error:  # noqa: BLE001 - it goes on in the tasks that wait
            errors = [error]
            if len(batch.lines) > 1 and self._has_no_room(error):
                indexes = range(len(batch.lines))
                errors = [self._error_of(batch[index : index + 1]) for index in indexes]
        call_back(loop, self._complete, batch, errors)

    def _append(self, batch: _Batch) -> None:
        # The deadline of the first line is the earliest. With a timeout of 0 or none, the writer's
        # own applies: each batch tries once, or waits for ever.
        deadline = batch.deadlines[0] if self._lock_timeout else None
        self._writer.append(b"".join(batch.lines), deadline)

    def _has_no_room(self, error: BaseException) -> bool:
        """Return whether nothing was written for want of room, so that a shorter line may fit."""
        is_full = isinstance(error, OSError) and error.errno in _NO_ROOM
        return is_full and outcomes_of(error).get(self._path) == NOTHING_WRITTEN

    def _error_of(self, batch: _Batch) -> BaseException | None:
        try:
            self._append(batch)
        except BaseException as error:  # noqa: BLE001 - as above
            return error
        return None

    def _complete(self, batch: _Batch, errors: list[BaseException | None]) -> None:
        """In the loop: complete the callers of a batch, then have the next one written."""
        try:
            self._set_results(batch, errors)
            if self._loop is not None:
                # Not at once: the callers that have just been completed may append again first.
                self._loop.call_soon(self._write_next)
        except BaseException:
            self._abort(batch)
            raise

    def _set_results(self, batch: _Batch, errors: list[BaseException | None]) -> None:
        if not errors:
            for future in batch.futures:
                try:
                    future.set_result(None)
                except InvalidStateError:
                    pass  # its caller was cancelled
        elif len(errors) == 1 and isinstance(errors[0], LockTimeoutError):
            self._requeue_unexpired(batch)
        else:
            if len(errors) == 1:
                errors *= len(batch.futures)
            for future, error in zip(batch.futures, errors, strict=True):
                self._set_result(future, error)

    def _requeue_unexpired(self, batch: _Batch) -> None:
        """After a lock timeout: queue the lines again whose own deadline has not passed."""
        count = batch.count_expired(monotonic())
        self._queue = batch[count:] + self._queue
        for future in batch.futures[:count]:
            self._expire(future)

    def _set_timer(self) -> None:
        """Have lines expire that are queued behind a write that takes longer than their timeout.

        A timeout of 0 has no use for that: each write tries once.
        """
        deadlines = self._queue.deadlines
        has_deadlines = 0 < self._timeout_seconds < math.inf
        if self._timer is None and deadlines and self._loop is not None and has_deadlines:
            self._timer = self._loop.call_later(deadlines[0] - monotonic(), self._expire_queued)

    def _expire_queued(self) -> None:
        count = self._queue.count_expired(monotonic())
        expired, self._queue = self._queue[:count], self._queue[count:]
        for future in expired.futures:
            self._expire(future)
        self._timer = None
        self._set_timer()

    def _set_result(self, future: asyncio.Future[None], error: BaseException | None) -> None:
        """Complete one caller, with an error object of its own: a traceback belongs to one task."""
        if isinstance(error, LockTimeoutError):
            self._expire(future)
        elif future.done():
            pass  # its caller was cancelled
        elif error is None:
            future.set_result(None)
        else:
            future.set_exception(
                copy_for_another_caller(error) if isinstance(error, OSError) else copy.copy(error)
            )

    def _expire(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            error = LockTimeoutError(self._path, self._timeout_seconds)
            future.set_exception(explain(error, self._path, NOTHING_WRITTEN))
