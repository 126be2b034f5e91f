"""A daemon thread that runs jobs one after the other, and ends a second after the last."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from . import fork

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER_SECONDS: Final = 1.0


class IdleThread:
    """Runs jobs in the order in which they were handed in, each to its end, one at a time.

    The thread is made by the first job, waits a second for the next, and ends; another job makes
    another one. It is a daemon: the end of the program does not wait for it. A job raises
    nothing.
    """

    def __init__(self, name: str, *, linger_seconds: float = _LINGER_SECONDS) -> None:
        """Name the thread; none is made yet."""
        self._name = name
        self._linger_seconds = linger_seconds
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """Forget the thread, which the child does not have, and its jobs."""
        # Re-entrant: a signal handler may hand in a job while its own thread is inside.
        self._mutex = threading.RLock()
        self._jobs: deque[Callable[[], object]] = deque()
        self._thread: threading.Thread | None = None
        self._wake = threading.Lock()  # held while there is nothing to do
        self._wake.acquire()
        self._is_closing = False
        self._starter: int | None = None  # the thread that is just starting it

    def run(self, job: Callable[[], object]) -> None:
        """Have the job run; raises `RuntimeError`, and drops it, where no thread can be made."""
        self._jobs.append(job)
        with self._mutex:
            self._is_closing = False
            if self._thread is None:
                self._start(job)
        self._ring()

    def close(self) -> None:
        """Let the thread end as soon as it has nothing to do."""
        self._is_closing = True
        self._ring()

    def join(self, timeout_seconds: float | None = None) -> None:
        """Close, and return when the thread has ended, or too late.

        At once when called by a job, or by a signal handler whose own thread is just starting it.
        """
        self.close()
        if self._starter == threading.get_ident():
            return
        with self._mutex:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)

    @property
    def is_alive(self) -> bool:
        """Whether there is a thread, idle or at work."""
        return self._thread is not None

    def _start(self, job: Callable[[], object]) -> None:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            self._starter = threading.get_ident()
            self._thread = thread
            thread.start()
        except BaseException:
            # No thread is to be had; or a signal's exception, after which one may run all the same:
            # it ends by itself.
            self._thread = None
            if job in self._jobs:
                self._jobs.remove(job)
            raise
        finally:
            self._starter = None

    def _ring(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:
            pass  # it is awake already

    def _work(self) -> None:
        while True:
            try:
                while True:
                    self._jobs.popleft()()
            except IndexError:
                pass  # nothing is left to do
            is_called = not self._is_closing and self._wake.acquire(timeout=self._linger_seconds)
            with self._mutex:
                if not self._jobs and (not is_called or self._is_closing):
                    if self._thread is threading.current_thread():
                        self._thread = None
                    return
