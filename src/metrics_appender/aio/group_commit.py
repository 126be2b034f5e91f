"""Lines of one event loop that gather while a write is under way, and are the next one.

One write is under way for each file, in a thread; whoever comes meanwhile waits in the loop. When
the write is over, its callers are told by one call into the loop, and all who have come by then,
those just told among them, go together: one lock, one write, one sync. (Group commit, see
`group_commit`, which does the same for threads.)
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

# One write takes what waits up to about so many bytes; the rest is for the next.
_WRITE_BYTES: Final = 1 << 20
# Errors that may be one long line's alone: a shorter one may still have room.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_is_done: Final = methodcaller("done")  # of the event loop's own futures, whatever loop it is


class File(Protocol):
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
        """Leave nothing behind, when what goes on in the background is done.

        No append is under way.
        """


class _Batch:
    """Lines in the order of their calls, who waits for each.

    When that one stops waiting for it to be written.

    Three lists rather than one of threes: so many objects less to make, and for the garbage
    collector to look at.
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

    def even_out(self) -> None:
        """Drop what is not in all three of the lists."""
        count = min(len(self.futures), len(self.lines), len(self.deadlines))
        del self.futures[count:], self.lines[count:], self.deadlines[count:]

    def without_cancelled(self) -> _Batch:
        """Return those for which somebody still waits."""
        places = [place for place, future in enumerate(self.futures) if not future.done()]
        return _Batch(
            [self.futures[place] for place in places],
            [self.lines[place] for place in places],
            [self.deadlines[place] for place in places],
        )

    def count_late(self, now: float) -> int:
        """Return how many, the first ones, wait no longer at an instant (`time.monotonic`)."""
        return bisect.bisect_right(self.deadlines, now)

    def count_within(self, size: int) -> int:
        """Return how many, the first ones, hold so many bytes, or a little more."""
        return bisect.bisect_left(list(itertools.accumulate(map(len, self.lines))), size) + 1


class Gathering:
    """The lines that wait to be appended to a file, in a thread.

    `lock_timeout` (seconds, `None` for ever) counts for each line from its own call on.
    """

    def __init__(self, file: File, lock_timeout: float | None, threads: LoopThreads) -> None:
        """Begin with no lines."""
        self._file = file
        self._path = file.path
        self._lock_timeout = lock_timeout
        self._patience = math.inf if lock_timeout is None else lock_timeout
        self._threads = threads
        self._is_closed = False
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Begin in a loop, the first or one that follows it (in a forked child too).

        Nobody waits, and no write is under way.
        """
        self._loop = loop
        self._waiting = _Batch([], [], [])
        self._is_under_way = False
        self._timer: asyncio.TimerHandle | None = None
        self._ends: list[asyncio.Future[None]] = []

    @property
    def is_under_way(self) -> bool:
        """Whether any line waits or is being written, or the upkeep of segments goes on."""
        return self._is_under_way or self._file.is_cleaning

    @property
    def is_closed(self) -> bool:
        """Whether lines are refused."""
        return self._is_closed

    def add(self, line: bytes) -> asyncio.Future[None]:
        """Return what is done when the line is durable, or has the error with which it is not.

        Cancelled while the line waits, the line is never written; while it is being written, it may
        be.
        """
        loop = get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if self._is_closed:
            raise ClosedError(self._path)
        future: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting
        try:
            waiting.futures.append(future)
            waiting.lines.append(line)
            waiting.deadlines.append(monotonic() + self._patience)
        except BaseException:  # a signal handler's: each line keeps its own future
            waiting.even_out()
            raise
        if not self._is_under_way:
            loop.call_soon(
                self._go
            )  # not at once: whoever is about to run in this turn of the loop comes along
            self._is_under_way = True
        elif self._timer is None:
            self._watch_deadlines()
        return future

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._threads.adopt(loop)
        self._begin(loop)

    def refuse(self) -> None:
        """Refuse lines from now on."""
        self._is_closed = True

    async def close(self) -> None:
        """Refuse lines from now on.

        Return when those that wait are durable or their callers have their errors.
        """
        loop = get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        self.refuse()
        while self._is_under_way:
            end: asyncio.Future[None] = loop.create_future()
            self._ends.append(end)
            await end
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close_file(self) -> None:
        """In a thread, when this is closed: wait for the upkeep of segments."""
        self._file.close()

    def _go(self) -> None:
        """Have written what waits; when nothing does, tell those who wait for that."""
        batch: _Batch | None = None
        try:
            batch = self._take()
            self._start(batch)
        except BaseException:
            self._break_off(batch)
            raise

    def _start(self, batch: _Batch) -> None:
        if batch.lines:
            try:
                self._threads.start(functools.partial(self._write, batch, get_running_loop()))
                self._watch_deadlines()
            except RuntimeError as error:  # no thread, and none can be made
                self._settle(
                    batch, [explain(OSError(errno.EAGAIN, str(error)), self._path, NOTHING_WRITTEN)]
                )
            return
        self._end()

    def _break_off(self, batch: _Batch | None) -> None:
        """After a signal handler's exception in the loop.

        Whoever waits gets an error, for nobody goes on with what was under way.
        """
        waiting, self._waiting = self._waiting, _Batch([], [], [])
        for future in (*(batch.futures if batch else ()), *waiting.futures):
            if not future.done():
                error = OSError(
                    errno.EINTR, "the appends of the event loop were interrupted by a signal"
                )
                future.set_exception(explain(error, self._path, MAY_BE_WRITTEN))
        self._end()

    def _end(self) -> None:
        self._is_under_way = False
        ends, self._ends = self._ends, []
        for end in ends:
            if not end.done():
                end.set_result(None)

    def _take(self) -> _Batch:
        """Return those whose lines go next, without those who were cancelled."""
        batch, self._waiting = self._waiting, _Batch([], [], [])
        if any(map(_is_done, batch.futures)):
            batch = batch.without_cancelled()
        if sum(map(len, batch.lines)) > _WRITE_BYTES:
            count = batch.count_within(_WRITE_BYTES)
            batch, self._waiting = batch[:count], batch[count:]
        return batch

    def _write(self, batch: _Batch, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread.

        Write, and tell the loop of each line's error, of one that concerns all, or of none.
        """
        errors: list[BaseException | None] = []
        try:
            self._write_together(batch)
        except BaseException as error:  # noqa: BLE001 - it goes on in the tasks that wait
            errors = [error]
            if (
                len(batch.lines) > 1
                and isinstance(error, OSError)
                and error.errno in _NO_ROOM
                and _is_nothing_written(error)
            ):
                errors = [
                    self._error_of(batch[place : place + 1]) for place in range(len(batch.lines))
                ]
        call_back(loop, self._settle, batch, errors)

    def _write_together(self, batch: _Batch) -> None:
        # The first to come is the first whose time is over. With a timeout of 0 or none, every
        # write has it to itself.
        deadline = batch.deadlines[0] if self._lock_timeout else None
        self._file.append(b"".join(batch.lines), deadline)

    def _error_of(self, batch: _Batch) -> BaseException | None:
        try:
            self._write_together(batch)
        except BaseException as error:  # noqa: BLE001 - as above
            return error
        return None

    def _settle(self, batch: _Batch, errors: list[BaseException | None]) -> None:
        """In the loop.

        Tell the callers, then go on with who has come meanwhile, and with who comes by being told.
        """
        try:
            self._tell_all(batch, errors)
            if self._loop is not None:
                self._loop.call_soon(self._go)
        except BaseException:
            self._break_off(batch)
            raise

    def _tell_all(self, batch: _Batch, errors: list[BaseException | None]) -> None:
        if not errors:
            for future in batch.futures:
                try:
                    future.set_result(None)
                except InvalidStateError:
                    pass  # its caller was cancelled
        elif len(errors) == 1 and isinstance(errors[0], LockTimeoutError):
            self._settle_in_time(batch)
        else:
            if len(errors) == 1:
                errors *= len(batch.futures)
            for future, error in zip(batch.futures, errors, strict=True):
                self._tell(future, error)

    def _settle_in_time(self, batch: _Batch) -> None:
        """After a lock that did not come and a write that was not.

        Whoever has time left waits on.
        """
        count = batch.count_late(monotonic())
        self._waiting = batch[count:] + self._waiting
        for future in batch.futures[:count]:
            self._time_out(future)

    def _watch_deadlines(self) -> None:
        """See to it that nobody waits beyond the deadline behind a write that is itself kept waiting.

        A timeout of 0 has no use for that: each write tries once.
        """
        deadlines = self._waiting.deadlines
        if (
            self._timer is None
            and deadlines
            and self._loop is not None
            and 0 < self._patience < math.inf
        ):
            self._timer = self._loop.call_later(deadlines[0] - monotonic(), self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        count = self._waiting.count_late(monotonic())
        late, self._waiting = self._waiting[:count], self._waiting[count:]
        for future in late.futures:
            self._time_out(future)
        self._timer = None
        self._watch_deadlines()

    def _tell(self, future: asyncio.Future[None], error: BaseException | None) -> None:
        """Give one caller its outcome.

        An error object of its own, for a traceback belongs to one task.
        """
        if isinstance(error, LockTimeoutError):
            self._time_out(future)
        elif future.done():
            pass  # its caller was cancelled
        elif error is None:
            future.set_result(None)
        else:
            future.set_exception(
                copy_for_another_caller(error) if isinstance(error, OSError) else copy.copy(error)
            )

    def _time_out(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_exception(
                explain(LockTimeoutError(self._path, self._patience), self._path, NOTHING_WRITTEN)
            )


def _is_nothing_written(error: OSError) -> bool:
    return NOTHING_WRITTEN in outcomes_of(error).values()
