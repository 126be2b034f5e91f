"""AsyncFollower: a log's records as they come, for a task of an event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from ..read.follower import check_batch, check_count
from .threads import LoopThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from ..read.follower import Follower
    from ..read.good_lines import Followed

_T = TypeVar("_T")

# A backlog is taken so many records at a time; they come from one block that was read, whose size
# bounds them too.
_MOST_AT_ONCE: Final = 512


class _Call(NamedTuple):
    """A call in a thread, and what keeps its result, by the follower, until it is asked for."""

    future: asyncio.Future[Any]
    keep: Callable[[AsyncFollower, Any], None]


class AsyncFollower:
    """Yields `(record, cursor)` as they come, for ever.

    An asynchronous iterator, and a context manager that closes it. Where it begins is decided when
    `async with` enters it, or else when the first record is asked for. One task at a time asks for
    the next record; others may `aclose()` meanwhile, which ends the iteration.

    A time limit (`asyncio.timeout`, `asyncio.wait_for`) or a cancellation ends the wait of a task,
    not the follower: what the thread finds later is given to the next caller, and no record is lost
    or doubled. `aclose()` ends the follower.

    It gives records (by itself or by `batches`) or lines (`take_lines`), not both in turns. While a
    record is waited for it takes a thread of its own, which is gone a second after the wait. A
    follower that is forgotten closes.
    """

    def __init__(self, make: Callable[[], Follower], owner: LoopThreads) -> None:
        """Make nothing yet; `make`, called in a thread, opens the files.

        It belongs to the event loop of `owner`.
        """
        self._make = make
        self._owner = owner
        # Threads of its own: a follower that waits for ever would take a reader's thread for ever.
        # One waits, and another one ends that.
        self._threads = LoopThreads(most=2)
        self._follower: Follower | None = None
        self._call: _Call | None = None  # under way, or done and not looked at
        self._records: deque[Followed] = deque()
        self._lines: tuple[bytes, int, str | None] | None = None
        self._are_synced = False
        self._gives: str | None = None  # "records" or "lines", once it has been asked
        self._cursor: str | None = None
        self._is_waiting = False
        self._is_closed = False

    @property
    def cursor(self) -> str | None:
        """The position behind the last record that was given, or the start.

        As with the follower that blocks; `None` before it has begun.
        """
        return self._cursor

    def __aiter__(self) -> Self:
        """Return the follower itself."""
        return self

    async def __anext__(self) -> Followed:
        """Return the next record once its line is whole.

        Cancelled, it has taken no record: the next call goes on.

        Raises:
            RuntimeError: Another task waits for the next record already, or lines were taken.
            CorruptLineError: And what else the follower that blocks raises; this one goes on as
                that does.
        """
        if not self._records:  # else it takes no turn of the loop
            await self._fill(lambda follower: follower.take(_MOST_AT_ONCE))
        if self._is_closed:
            raise StopAsyncIteration
        followed = self._records.popleft()
        self._cursor = followed.cursor
        return followed

    def batches(
        self, max_records: int = 512, within: float = 0.02
    ) -> AsyncIterator[list[Followed]]:
        """Yield the records in lists, as they come; see `Follower.batches`.

        Args:
            max_records: How many records are in a batch at the most, 1 or more.
            within: For how many seconds a record waits for others, 0 or more.

        Returns:
            An asynchronous iterator of lists, none of them empty. It can be asked on after an
            error, and after a wait that was cancelled.

        Raises:
            InvalidRecordError: An argument is none of these (a `ValueError`).

        Example:
            >>> import asyncio
            >>> from metrics_appender.aio import AsyncAppendLog
            >>> async def main():
            ...     async with AsyncAppendLog("events.ndjson") as log:
            ...         await log.append_many({"n": n} for n in range(3))
            ...         async with log.follow("beginning") as records:
            ...             async for batch in records.batches():
            ...                 return [record["n"] for record, cursor in batch]
            >>> asyncio.run(main())
            [0, 1, 2]
        """
        check_batch(max_records, within)
        return _Batches(self._take_batch, max_records, within)

    async def take_lines(
        self, most_bytes: int, *, sync: bool = False
    ) -> tuple[bytes, int, str | None]:
        """Return the lines that come next as bytes, without waiting for any.

        The arguments, what is returned and the errors are those of `Follower.take_lines`.
        Cancelled, it has taken no line: the next call returns what this one has read.

        Raises:
            RuntimeError: Another call is under way, or records were taken.
        """
        check_count("most_bytes", most_bytes)
        self._choose("lines")
        while not self._is_closed:
            if self._lines is None:
                await self._step(
                    lambda follower: (follower.take_lines(most_bytes, sync=sync), sync),
                    AsyncFollower._keep_lines,
                )
            elif sync and not self._are_synced:  # a cancelled call has read them
                await self._step(lambda follower: follower.sync(), AsyncFollower._keep_sync)
            else:
                lines, self._lines = self._lines, None
                self._cursor = lines[2]
                return lines
        return b"", 0, self._cursor

    async def aclose(self) -> None:
        """End it, and return when everything it had open is closed and no thread is left.

        Closing again does nothing.
        """
        self._threads.adopt(asyncio.get_running_loop())
        self._end()
        await self._threads.close()

    async def __aenter__(self) -> Self:
        """Find where it begins, and return the follower itself."""
        if self._follower is None and not self._is_closed:
            self._check_turn()
            try:
                await self._begin()
            except asyncio.CancelledError:  # `async with` does not close what it has not entered
                self._end()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def __del__(self) -> None:
        """Close what was forgotten, and end the wait of its thread."""
        follower = getattr(self, "_follower", None)
        if follower is not None:
            follower.close()

    async def _take_batch(self, most: int, within: float) -> list[Followed]:
        """Return the next batch of records; none at the end."""
        await self._fill(lambda follower: follower.take(most, within))
        if self._is_closed:
            return []
        taken = [self._records.popleft() for _ in range(min(most, len(self._records)))]
        self._cursor = taken[-1].cursor
        return taken

    async def _fill(self, take: Callable[[Follower], list[Followed]]) -> None:
        """Return when records are there, or at the end."""
        self._choose("records")
        while not (self._records or self._is_closed):
            await self._step(take, AsyncFollower._keep_records)

    def _choose(self, kind: str) -> None:
        """Give what was given before: records that were read ahead are lines no more."""
        if self._gives not in (None, kind):
            raise RuntimeError(
                f"this follower gives {self._gives}, which it reads ahead: let {kind} have another"
            )
        self._gives = kind

    async def _step(
        self, function: Callable[[Follower], _T], keep: Callable[[AsyncFollower, _T], None]
    ) -> None:
        """Begin, or go one call on."""
        self._check_turn()
        follower = self._follower
        if follower is None:
            await self._begin()
        else:
            await self._run(lambda: function(follower), keep)

    def _check_turn(self) -> None:
        self._owner.adopt(asyncio.get_running_loop())
        if self._is_waiting:
            raise RuntimeError(
                "another task waits for the next record of this follower: "
                "let each task have its own"
            )

    async def _begin(self) -> None:
        try:
            await self._run(self._open, AsyncFollower._keep_start)
        except Exception:  # it has no beginning
            self._end()
            raise

    def _open(self) -> str | None:
        """In a thread: make the follower that blocks, and return where it begins."""
        follower = self._follower = self._make()
        if self._is_closed:  # meanwhile, and maybe without having found the follower
            follower.close()
        return follower.cursor

    async def _run(
        self, function: Callable[[], _T], keep: Callable[[AsyncFollower, _T], None]
    ) -> None:
        """Call a function in a thread, and have what it returns kept.

        Where a cancelled task has left a call, that is waited for instead.
        """
        if self._call is None:
            future = self._threads.submit(function)
            future.add_done_callback(_note_error)
            self._call = _Call(future, keep)
        elif self._call.future.get_loop() is not asyncio.get_running_loop():
            self._end()  # what the call has returned was lost with its loop
            return
        call = self._call
        self._is_waiting = True
        try:
            await asyncio.wait((call.future,))  # which leaves the future alone when cancelled
        finally:
            self._is_waiting = False
        self._call = None
        call.keep(self, call.future.result())

    def _keep_start(self, cursor: str | None) -> None:
        self._cursor = cursor

    def _keep_records(self, taken: list[Followed]) -> None:
        if not taken:
            self._end()
        elif not self._is_closed:
            self._records.extend(taken)

    def _keep_lines(self, taken: tuple[tuple[bytes, int, str | None], bool]) -> None:
        self._lines, self._are_synced = taken

    def _keep_sync(self, _: None) -> None:
        self._are_synced = True

    def _end(self) -> None:
        """Have the wait in a thread ended, and everything closed; wait for neither."""
        if self._is_closed:
            return
        self._is_closed = True
        self._records.clear()
        self._lines = None
        if self._follower is not None:
            try:
                self._threads.start(self._follower.close)  # closing a file may take its time
            except RuntimeError:  # no thread is to be had
                self._follower.close()
        self._threads.dismiss()


class _Batches:
    """The records of a follower in lists."""

    def __init__(
        self,
        take: Callable[[int, float], Awaitable[list[Followed]]],
        max_records: int,
        within: float,
    ) -> None:
        self._take = take
        self._max_records = max_records
        self._within = within

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Followed]:
        batch = await self._take(self._max_records, self._within)
        if not batch:
            raise StopAsyncIteration
        return batch


def _note_error(future: asyncio.Future[Any]) -> None:
    """Have a future's error count as seen: a cancelled task may have left it to nobody."""
    if not future.cancelled():
        future.exception()


class Followers:
    """The followers of one log or appender, which end with it.

    They belong to the event loop of its `threads`.
    """

    def __init__(self, threads: LoopThreads) -> None:
        """Begin with none."""
        self._threads = threads
        self._open: weakref.WeakSet[AsyncFollower] = weakref.WeakSet()

    def add(self, make: Callable[[], Follower]) -> AsyncFollower:
        """Return another one, for the follower that `make` makes in a thread."""
        follower = AsyncFollower(make, self._threads)
        self._open.add(follower)
        return follower

    async def close(self) -> None:
        """End them all, and return when that is done."""
        await asyncio.gather(*(follower.aclose() for follower in self._open))
