"""Lines of one event loop that gather while a write is under way, and are the next one.

One write is under way for each file, in a thread; whoever comes meanwhile waits in the loop. When the write is over,
its callers are told by one call into the loop, and all who have come by then, those just told among them,
go together: one lock, one write, one sync. (Group commit, see `group_commit`, which does the same for threads.)
"""

from __future__ import annotations

import copy
import errno
import functools
import math
from asyncio import get_running_loop
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ..errors import NOTHING_WRITTEN, ClosedError, LockTimeoutError, explain, restate
from .loop_threads import LoopThreads, call_back

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

# One write takes what waits up to about so many bytes; the rest is for the next.
_WRITE_BYTES: Final = 1 << 20
# Errors that may be one long line's alone: a shorter one may still have room.
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class File(Protocol):
    """What lines are written to, in a thread: an `AppendLog`, or what stands for one."""

    @property
    def path(self) -> str:
        """The file's path."""

    def append_block(self, block: bytes, deadline: float | None, /) -> None:
        """Append joined lines, all or nothing, as `AppendLog.append_block` does."""

    def close(self) -> None:
        """Leave nothing behind; no append is under way."""


# One caller's line, and when its caller stops waiting for it to be written. A bare tuple: a named one takes ten times as long to make.
_Waiting: TypeAlias = "tuple[asyncio.Future[None], bytes, float]"


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
        """Begin in a loop, the first or one that follows it (in a forked child too): nobody waits, and no write is under way."""
        self._loop = loop
        self._waiting: deque[_Waiting] = deque()
        self._is_under_way = False
        self._timer: asyncio.TimerHandle | None = None
        self._ends: list[asyncio.Future[None]] = []

    @property
    def is_under_way(self) -> bool:
        """Whether any line waits or is being written."""
        return self._is_under_way

    def add(self, line: bytes) -> asyncio.Future[None]:
        """Return what is done when the line is durable, or has the error with which it is not.

        Cancelled while the line waits, the line is never written; while it is being written, it may be.
        """
        loop = get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if self._is_closed:
            raise ClosedError(self._path)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((future, line, monotonic() + self._patience))
        if not self._is_under_way:
            self._is_under_way = True
            loop.call_soon(self._go)  # not at once: whoever is about to run in this turn of the loop comes along
        elif self._timer is None:
            self._watch_deadlines()
        return future

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._threads.adopt(loop)
        self._begin(loop)

    async def close(self) -> None:
        """Refuse lines from now on, and return when those that wait are durable or their callers have their errors."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        self._is_closed = True
        while self._is_under_way:
            end: asyncio.Future[None] = loop.create_future()
            self._ends.append(end)
            await end
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._threads.run(self._file.close)  # which waits for the upkeep of segments

    def _go(self) -> None:
        """Have written what waits; when nothing does, tell those who wait for that."""
        batch = self._take()
        if batch:
            try:
                self._threads.start(functools.partial(self._write, batch, get_running_loop()))
                self._watch_deadlines()
            except RuntimeError as error:  # no thread, and none can be made
                self._settle(batch, [explain(OSError(errno.EAGAIN, str(error)), self._path, NOTHING_WRITTEN)])
            return
        self._is_under_way = False
        ends, self._ends = self._ends, []
        for end in ends:
            if not end.done():
                end.set_result(None)

    def _take(self) -> list[_Waiting]:
        """Return those whose lines go next, without those who were cancelled."""
        batch = []
        waiting = self._waiting
        room = _WRITE_BYTES
        while waiting and room > 0:
            entry = waiting.popleft()
            if not entry[0].done():
                batch.append(entry)
                room -= len(entry[1])
        return batch

    def _write(self, batch: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: write, and tell the loop of each line's error, of one that concerns all, or of none."""
        errors: list[BaseException | None] = []
        try:
            self._write_together(batch)
        except BaseException as error:  # noqa: BLE001 - it goes on in the tasks that wait
            errors = [error]
            if len(batch) > 1 and isinstance(error, OSError) and error.errno in _NO_ROOM and _is_nothing_written(error):
                errors = [self._error_of(waiting) for waiting in batch]
        call_back(loop, self._settle, batch, errors)

    def _write_together(self, batch: Sequence[_Waiting]) -> None:
        # The first to come is the first whose time is over. With a timeout of 0 or none, every write has it to itself.
        deadline = batch[0][2] if self._lock_timeout else None
        self._file.append_block(b"".join([line for _, line, _ in batch]), deadline)

    def _error_of(self, waiting: _Waiting) -> BaseException | None:
        try:
            self._write_together([waiting])
        except BaseException as error:  # noqa: BLE001 - as above
            return error
        return None

    def _settle(self, batch: list[_Waiting], errors: list[BaseException | None]) -> None:
        """In the loop: tell the callers, then go on with who has come meanwhile, and with who comes by being told."""
        if not errors:
            for future, _, _ in batch:
                if not future.done():
                    future.set_result(None)
        elif len(errors) == 1 and isinstance(errors[0], LockTimeoutError):
            self._settle_in_time(batch)
        else:
            if len(errors) == 1:
                errors *= len(batch)
            for (future, _, _), error in zip(batch, errors, strict=True):
                self._tell(future, error)
        if self._loop is not None:
            self._loop.call_soon(self._go)

    def _settle_in_time(self, batch: list[_Waiting]) -> None:
        """After a lock that did not come and a write that was not: whoever has time left waits on."""
        now = monotonic()
        self._waiting.extendleft(waiting for waiting in reversed(batch) if waiting[2] > now)
        for waiting in batch:
            if waiting[2] <= now:
                self._time_out(waiting[0])

    def _watch_deadlines(self) -> None:
        """See to it that nobody waits beyond the deadline behind a write that is itself kept waiting.

        A timeout of 0 has no use for that: each write tries once.
        """
        if self._timer is None and self._waiting and self._loop is not None and 0 < self._patience < math.inf:
            self._timer = self._loop.call_later(self._waiting[0][2] - monotonic(), self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        now = monotonic()
        while self._waiting and self._waiting[0][2] <= now:
            self._time_out(self._waiting.popleft()[0])
        self._timer = None
        self._watch_deadlines()

    def _tell(self, future: asyncio.Future[None], error: BaseException | None) -> None:
        """Give one caller its outcome: an error object of its own, for a traceback belongs to one task."""
        if isinstance(error, LockTimeoutError):
            self._time_out(future)
        elif future.done():
            pass  # its caller was cancelled
        elif error is None:
            future.set_result(None)
        else:
            future.set_exception(restate(error) if isinstance(error, OSError) else copy.copy(error))

    def _time_out(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_exception(explain(LockTimeoutError(self._path, self._patience), self._path, NOTHING_WRITTEN))


def _is_nothing_written(error: OSError) -> bool:
    return any(NOTHING_WRITTEN in note for note in getattr(error, "__notes__", ()))
