"""The threads that do the blocking work of one event loop.

Not the loop's own executor: its few threads are shared by all of the program, and appends that wait
for a lock would occupy them; and an interpreter that ends waits for its threads. These are daemons,
made when none is idle; each ends when it has had no work for a second, or at `close()`.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from ..fs import fork
from ..fs.worker import IdleThread

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MOST_THREADS: Final = 64


class LoopThreads:
    """A bounded pool of daemon threads for the blocking work of one event loop.

    The loop is the one that runs at the first use. Another one may follow when that is closed.
    """

    def __init__(self, most: int = _MOST_THREADS) -> None:
        """Make no thread yet."""
        self._most = most
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """Forget the loop and the threads, which the child does not have."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mutex = threading.Lock()  # never held over a system call
        self._workers: dict[IdleThread, threading.Thread | None] = {}  # with the thread of each
        self._idle: list[IdleThread] = []
        self._backlog: deque[Callable[[], None]] = deque()
        self._is_closing = False
        self._ends: list[asyncio.Future[None]] = []

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to the loop that runs.

        Raises `RuntimeError` when this belongs to another loop that is not closed.
        """
        if self._loop is not None and self._loop is not loop and not self._loop.is_closed():
            raise RuntimeError(
                "used in another event loop before, which is not closed; make one for each loop"
            )
        if self._loop is not loop:
            self._ends = []  # of a loop that was closed while `close` waited
            self._is_closing = False
        self._loop = loop

    def start(self, job: Callable[[], None]) -> None:
        """Have a job done that raises nothing.

        Raises `RuntimeError` when there is no thread and none can be made.
        """
        worker: IdleThread | None = None
        try:
            with self._mutex:
                worker = self._take_worker()
                if worker is None:
                    self._backlog.append(job)
                    return
            worker.run(partial(self._work, worker, job))
        except BaseException:  # out of threads, the interpreter is ending, or a signal handler's
            if worker is not None:
                self._workers.pop(worker, None)
            raise

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in a thread; return what it returns, raise what it raises."""
        return await self.submit(functools.partial(function, *args, **kwargs))

    def submit(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        """Call a function in a thread; return a future of the running loop for its outcome."""
        loop = asyncio.get_running_loop()
        self.adopt(loop)
        future: asyncio.Future[_T] = loop.create_future()

        def job() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it goes on in the task that waits
                call_back(loop, _complete, future, future.set_exception, error)
            else:
                call_back(loop, _complete, future, future.set_result, result)

        self.start(job)
        return future

    def dismiss(self) -> None:
        """Let each thread end as soon as it is idle, rather than a second later."""
        with self._mutex:
            self._is_closing = True
            idle = list(self._idle)
        for worker in idle:
            worker.close()

    async def close(self) -> None:
        """Dismiss the threads, and return when they have ended.

        Jobs that are started later are done by new threads.
        """
        self.dismiss()
        while (end := self._next_end()) is not None:
            await end
        self._is_closing = False
        workers, self._workers, self._idle = self._workers, {}, []
        for worker, thread in workers.items():
            worker.close()
            if thread is not None:
                thread.join()  # it has nothing left to do but to return

    def _take_worker(self) -> IdleThread | None:
        """Return an idle worker or a new one, `None` when all are at work."""
        if self._idle:
            return self._idle.pop()  # of them, its thread is the least likely to have ended
        if len(self._workers) >= self._most:
            return None
        worker = IdleThread("metrics-appender-aio")
        self._workers[worker] = None
        return worker

    def _next_end(self) -> asyncio.Future[None] | None:
        """Return what is done when a worker has become idle, `None` when all are."""
        with self._mutex:
            if len(self._idle) >= len(self._workers):
                return None
            end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ends.append(end)
            return end

    def _work(self, worker: IdleThread, job: Callable[[], None]) -> None:
        """In a thread: do a job, and then the next one, or note that the worker is idle."""
        job()
        with self._mutex:
            following = self._backlog.popleft() if self._backlog else None
            is_ours = worker in self._workers  # not after an error of `start`
            if following is None and is_ours:
                self._workers[worker] = threading.current_thread()
                self._idle.append(worker)
            is_awaited = bool(self._ends)
        if following is not None:
            worker.run(partial(self._work, worker, following))
            return
        if self._is_closing or not is_ours:
            worker.close()
        if is_awaited and self._loop is not None:
            call_back(self._loop, self._note_idle)

    def _note_idle(self) -> None:
        with self._mutex:
            ends, self._ends = self._ends, []
        for end in ends:
            _complete(end, end.set_result, None)


def call_back(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    """Have the loop call a function; from a thread.

    Nothing happens when the loop is closed: no task waits there any more.
    """
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        pass


def _complete(future: asyncio.Future[Any], complete: Callable[[Any], None], result: Any) -> None:
    if not future.done():
        complete(result)
