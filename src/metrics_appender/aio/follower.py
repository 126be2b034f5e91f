"""AsyncFollower: a log's records as they come, for a task of an event loop.

A thread waits in its place.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from .threads import LoopThreads

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from ..read.follower import Follower
    from ..read.good_lines import Followed

_T = TypeVar("_T")

# A backlog is taken so many records at a time; they come from one block that was read, whose size
# bounds them too.
_MOST_AT_ONCE: Final = 512


class AsyncFollower:
    """Yields `(record, cursor)` as they come, for ever.

    An asynchronous iterator, and a context manager that closes it.

    Where it begins is settled when `async with` enters it, or else when the first record is asked
    for. One task at a time asks for the next record; others may `aclose()` meanwhile, which ends
    the iteration. A task that is cancelled while it waits ends it too, as it would an asynchronous
    generator: to go on, follow from `cursor`.

    While somebody waits it takes a thread of its own, which is gone a second later when nobody
    does. A follower that is forgotten closes.
    """

    def __init__(self, make: Callable[[], Follower], owner: LoopThreads) -> None:
        """Make nothing yet; `make`, called in a thread, opens the files.

        It belongs to the event loop of `owner`.
        """
        self._make = make
        self._owner = owner
        # Threads of its own: who waits for ever would take a reader's place for ever. One waits,
        # and another one ends that.
        self._threads = LoopThreads(most=2)
        self._follower: Follower | None = None
        self._taken: deque[Followed] = deque()
        self._cursor: str | None = None
        self._is_waiting = False
        self._is_closed = False

    @property
    def cursor(self) -> str | None:
        """The place behind the last record that was given, or the start, as with the follower that blocks; `None` before it has begun."""
        return self._cursor

    def __aiter__(self) -> Self:
        """Return the follower itself."""
        return self

    async def __anext__(self) -> Followed:
        """Return the next record once its line is whole.

        Raise what the follower that blocks raises, and go on as it does.

        Raises `RuntimeError` where another task waits for the next record already.
        """
        while not (self._taken or self._is_closed):
            self._check_turn()
            await (self._begin() if self._follower is None else self._take(self._follower))
        if self._is_closed:
            raise StopAsyncIteration
        followed = self._taken.popleft()
        self._cursor = followed.cursor
        return followed

    async def aclose(self) -> None:
        """End it, and return when everything it had open is closed and no thread is left.

        Closing again does nothing.
        """
        self._threads.adopt(asyncio.get_running_loop())
        self._end()
        await self._threads.close()

    async def __aenter__(self) -> Self:
        """Settle where it begins, and return the follower itself."""
        if self._follower is None and not self._is_closed:
            self._check_turn()
            await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def _check_turn(self) -> None:
        self._owner.adopt(asyncio.get_running_loop())
        if self._is_waiting:
            raise RuntimeError(
                "another task waits for the next record of this follower: let each task have its own"
            )

    async def _begin(self) -> None:
        try:
            self._cursor = await self._run(self._open)
        except Exception:  # it has no beginning
            self._end()
            raise

    def _open(self) -> str | None:
        """In a thread: make the follower that blocks, and return where it begins."""
        follower = self._follower = self._make()
        if self._is_closed:  # in between; who closed it may not have found the follower yet
            follower.close()
        return follower.cursor

    async def _take(self, follower: Follower) -> None:
        taken = await self._run(functools.partial(follower.take, _MOST_AT_ONCE))
        if not taken:
            self._end()
        elif not self._is_closed:
            self._taken.extend(taken)

    async def _run(self, function: Callable[[], _T]) -> _T:
        """Call a function in a thread.

        Whoever is cancelled meanwhile ends the follower, for what the function returns is lost.
        """
        self._is_waiting = True
        try:
            return await self._threads.run(function)
        except Exception:
            raise
        except BaseException:
            self._end()
            raise
        finally:
            self._is_waiting = False

    def _end(self) -> None:
        """Have whoever waits in a thread rung awake, and everything closed; wait for neither."""
        if self._is_closed:
            return
        self._is_closed = True
        self._taken.clear()
        if self._follower is not None:
            try:
                self._threads.start(self._follower.close)  # closing a file may take its time
            except RuntimeError:  # no thread is to be had
                self._follower.close()
        self._threads.dismiss()


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
