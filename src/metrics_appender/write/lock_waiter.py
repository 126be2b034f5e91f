"""A thread that waits for a file's lock in the kernel's queue, for callers that have deadlines.

The kernel's queue is fair, but flock(2) has no deadline; polling has deadlines, but starves. So one
thread of the process blocks in flock(2) for all callers, and they wait for the thread. It asks for
the lock only while a line is queued: a thread that is granted the lock while another thread of its
process keeps the interpreter's lock would keep every other process waiting as long.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from contextlib import suppress
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Final

from ..fs import fork
from ..fs.lock import WAIT, FileLock
from ..fs.worker import IdleThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .commit_queue import CommitQueue, PendingAppend

    Serve = Callable[[FileLock], PendingAppend | None]


def are_threads_patched() -> bool:
    """Return whether threads are greenlets (gevent, eventlet): one that blocks stops all others."""
    return not isinstance(_thread.start_new_thread, BuiltinFunctionType)


class _Waiting:
    """One thread with its own open file; abandoned where that file loses its name."""

    def __init__(self, path: str) -> None:
        self.lock = FileLock(path)
        self.thread = IdleThread("metrics-appender-waiter")
        self.is_blocked = False  # in flock(2), or at work with the lock


# Those that are blocked in flock(2) in vain: they cannot be cancelled, and end when they get the
# lock of their file. More for one file are not made, in case its holder stands still.
_abandoned: Final[list[_Waiting]] = []
_MOST_ABANDONED: Final = 4
os.register_at_fork(after_in_child=_abandoned.clear)


class LockWaiter:
    """Calls `serve` with the lock while anything is queued, and wakes the caller that it returns.

    With `keeps_queue`, callers leave a contended lock to it.
    """

    def __init__(
        self, path: str, queue: CommitQueue, serve: Serve, *, keeps_queue: bool = False
    ) -> None:
        self._path = path
        self._queue = queue
        self._serve = serve
        self._keeps_queue = keeps_queue
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """Forget the thread, which the child does not have."""
        self._mutex = threading.RLock()  # re-entrant, for a signal handler that appends
        self._waiting: _Waiting | None = None
        self._is_called = self._is_contended = False
        self._turns_alone = 0  # in a row, in which no other process wrote
        self._size = -1  # of the file after the last turn

    @property
    def goes_first(self) -> bool:
        """Whether callers leave the lock to the thread, so that none jumps the kernel's queue."""
        return self._is_contended and not sys.is_finalizing()

    @property
    def is_active(self) -> bool:
        """Whether the thread is about to serve what is queued."""
        return self._is_called and not sys.is_finalizing()

    def call(self, file: tuple[int, int]) -> bool:
        """Have the thread serve; `False` where no thread may wait for `file`, so callers poll."""
        if are_threads_patched() or sys.is_finalizing():
            return False
        with self._mutex:
            if self._is_called:
                return True
            if self._waiting is None:
                if [it.lock.file_id() for it in tuple(_abandoned)].count(file) >= _MOST_ABANDONED:
                    return False
                self._waiting = _Waiting(self._path)
            waiting = self._waiting
            self._is_called = True
            self._is_contended = self._keeps_queue
            try:
                waiting.thread.run(lambda: self._wait_and_serve(waiting))
            except BaseException as error:
                self._is_called = self._is_contended = False
                if type(error) is not RuntimeError:  # a signal's exception, not a lack of threads
                    raise
                return False
        return True

    def abandon_if_rotated(self) -> None:
        """Abandon a thread that waits for a file which lost its name; callers call another one."""
        waiting = self._waiting
        fd = -1 if waiting is None else waiting.lock.fd
        if waiting and fd >= 0 and not waiting.lock.is_for_named_file() and fd == waiting.lock.fd:
            self._abandon(waiting)

    def close(self) -> None:
        """Let an idle thread end now, not in a second, and one that is blocked when it can."""
        waiting = self._waiting
        if waiting is not None:
            self._abandon(waiting)
            if not waiting.is_blocked:
                waiting.thread.join(0.1)  # it may block after all

    def _abandon(self, waiting: _Waiting) -> None:
        with self._mutex:
            if self._waiting is waiting:
                self._waiting = None
                self._is_called = self._is_contended = False
                if waiting.is_blocked:
                    _abandoned.append(waiting)
        waiting.thread.close()
        self._queue.wake_first()

    def _wait_and_serve(self, waiting: _Waiting) -> None:
        """In the thread: serve until nothing is queued."""
        lock = waiting.lock
        while self._is_wanted(waiting):
            first: PendingAppend | None = None
            try:
                waiting.is_blocked = True
                if lock.attempt(WAIT) and self._waiting is waiting:
                    # The same size as after the last turn: no other process wrote in between.
                    self._turns_alone = self._turns_alone + 1 if lock.size == self._size else 0
                    first = self._serve(lock)
                    self._size = lock.size
                    if self._turns_alone >= 16:  # noqa: PLR2004 - so many in a row: no contention
                        self._is_contended = False
            except Exception:  # noqa: BLE001 - the callers try for themselves, and get the error
                self._abandon(waiting)
            finally:
                waiting.is_blocked = False
                with suppress(OSError):  # the callers have been told, and the file is closed
                    lock.release()
            if first is not None:
                first.wake()
                if self._turns_alone and self.goes_first:
                    # The kernel has woken the next process in its queue; this thread, which is
                    # awake, would take the lock before that one has had time to ask for it. With 16
                    # processes 0.86 of the bare loop's rate in place of 0.76.
                    time.sleep(0.00002)
        with suppress(ValueError):
            _abandoned.remove(waiting)

    def _is_wanted(self, waiting: _Waiting) -> bool:
        with self._mutex:
            if self._waiting is not waiting:
                return False
            # Not called any more before the queue is looked at: a caller that queues its line in
            # between, and saw the thread active, relies on it.
            self._is_called = False
            self._is_called = bool(self._queue)
            return self._is_called
