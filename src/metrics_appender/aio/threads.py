"""The event loop that an appender belongs to, and the threads that block in its place.

Not the loop's own executor: its few threads are everybody's, and a file whose lock another process
keeps would take them away; and an interpreter that ends waits for them, where these are daemons. A
thread is made when none is idle, and is gone a second after it has nothing to do, or at `close()`.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from ..fs import fork

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LINGER_SECONDS: Final = 1.0
_MOST_THREADS: Final = 64


class _Post:
    """What one thread holds: the job it is to do next, and the bell that calls it."""

    __slots__ = ("bell", "job", "thread")

    def __init__(self, job: Callable[[], None], run: Callable[[_Post], None]) -> None:
        self.job: Callable[[], None] | None = job
        self.thread = threading.Thread(
            target=run, args=(self,), name="metrics-appender-aio", daemon=True
        )
        self.bell = threading.Lock()  # held while nobody calls
        self.bell.acquire()


class LoopThreads:
    """Daemon threads, so many at most, for the blocking work of one event loop.

    The loop is the one that runs at the first use. Another one may follow when that is closed.
    """

    def __init__(self, most: int = _MOST_THREADS) -> None:
        """Make no thread yet."""
        self._most = most
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """In a forked child: neither the loop nor the threads are there."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mutex = threading.Lock()  # never held over a system call
        self._posts: set[_Post] = set()
        self._idle: list[_Post] = []
        self._backlog: deque[Callable[[], None]] = deque()
        self._is_closing = False
        self._ends: list[asyncio.Future[None]] = []

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to the loop that runs.

        Raise `RuntimeError` when this belongs to another that may still run.
        """
        if self._loop is not None and self._loop is not loop and not self._loop.is_closed():
            raise RuntimeError(
                "used in another event loop before, which is not closed; make one for each loop"
            )
        if self._loop is not loop:
            self._ends = []  # those of a loop that was closed while they were waited for
            self._is_closing = False
        self._loop = loop

    def start(self, job: Callable[[], None]) -> None:
        """Have a job done, which raises nothing.

        Raises `RuntimeError` when there is no thread and none can be made.
        """
        with self._mutex:
            if self._idle:
                post = self._idle.pop()
                post.job = job
                post.bell.release()
                return
            if len(self._posts) >= self._most:
                self._backlog.append(job)
                return
        post = _Post(job, self._run)
        try:
            self._posts.add(post)
            post.thread.start()
        except BaseException:  # out of threads, the interpreter is ending, or a signal handler's
            if post.thread.ident is None:
                self._posts.discard(post)
            raise

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in a thread; return what it returns, raise what it raises."""
        return await self.submit(functools.partial(function, *args, **kwargs))

    def submit(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        """Call a function in a thread, and return the future of the running loop for its outcome."""
        loop = asyncio.get_running_loop()
        self.adopt(loop)
        future: asyncio.Future[_T] = loop.create_future()

        def job() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it goes on in the task that waits
                call_back(loop, _settle, future, future.set_exception, error)
            else:
                call_back(loop, _settle, future, future.set_result, result)

        self.start(job)
        return future

    def dismiss(self) -> None:
        """Let the threads end as soon as they have nothing to do, rather than in a second."""
        with self._mutex:
            self._is_closing = True
            idle, self._idle = self._idle, []
            for post in idle:
                post.bell.release()

    async def close(self) -> None:
        """Dismiss the threads, and return when they have ended.

        Whatever is started later finds new ones.
        """
        with self._mutex:
            posts = list(self._posts)
        self.dismiss()
        while self._posts:
            end = asyncio.get_running_loop().create_future()
            self._ends.append(end)
            await end
        self._is_closing = False
        for post in posts:
            post.thread.join()  # it has nothing left to do but to return

    def _run(self, post: _Post) -> None:
        while post.job is not None:
            post.job()
            post.job = None  # and with it the lines, which nobody needs any more
            self._rest(post)
        if self._loop is not None:
            call_back(self._loop, self._note_end)

    def _rest(self, post: _Post) -> None:
        """Give the thread its next job, or none when it is to end."""
        with self._mutex:
            if self._backlog or self._is_closing:
                self._go_on_or_end(post)
                return
            self._idle.append(post)
        is_called = post.bell.acquire(timeout=_LINGER_SECONDS)
        with self._mutex:
            if post in self._idle:
                self._idle.remove(post)
            elif not is_called:
                post.bell.acquire()  # it was called in the last moment
            if post.job is None:
                self._go_on_or_end(post)

    def _go_on_or_end(self, post: _Post) -> None:
        if self._backlog:
            post.job = self._backlog.popleft()
        else:
            self._posts.discard(post)

    def _note_end(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            _settle(end, end.set_result, None)


def call_back(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    """Have the loop call; from a thread.

    Nothing happens when the loop is closed: nobody waits there any more.
    """
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        pass


def _settle(future: asyncio.Future[Any], settle: Callable[[Any], None], outcome: Any) -> None:
    if not future.done():
        settle(outcome)
