"""A thread that waits for a file's lock in the kernel's queue, for callers that have deadlines.

The kernel's queue is fair, but flock(2) knows no deadline; polling knows deadlines, but starves. So a thread
blocks for the callers, and they wait for the thread. It is made when it is first needed and gone a
second after it has nothing to do.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from . import disk, fork
from .file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER_SECONDS: Final = 1.0


class _Post:
    """What one thread holds: the lock it waits for, and the bell that calls it."""

    __slots__ = ("bell", "lock")

    def __init__(self, path: str) -> None:
        self.lock = FileLock(path)
        self.bell = threading.Lock()  # held while nobody calls

    def ring(self) -> None:
        if self.bell.locked():
            self.bell.release()


class Waiter:
    """Waits for the lock of the file at `path` when called, then calls `serve` with the lock held.

    It goes on for as long as `has_work` says so. `is_called` is true from `call` on until it has found nothing more to do,
    or cannot go on; `step_aside` is called then.
    """

    def __init__(
        self,
        path: str,
        *,
        serve: Callable[[FileLock], None],
        has_work: Callable[[], bool],
        step_aside: Callable[[], None],
    ) -> None:
        """Take what to do with the lock; no thread is made yet."""
        self._path = path
        self._serve = serve
        self._has_work = has_work
        self._step_aside = step_aside
        self.forget()
        fork.register(self)

    def forget(self) -> None:
        """In a forked child: the thread is not there."""
        # Re-entrant, for a signal handler that appends while its thread is inside. Never held over a system call.
        self._mutex = threading.RLock()
        self._post: _Post | None = None
        self.is_called = False

    def is_called_for_sure(self) -> bool:
        """Whether work that was handed in before this call will be seen."""
        with self._mutex:
            return self.is_called

    def call(self) -> bool:
        """Have the work done; `False` when no thread can be made."""
        with self._mutex:
            self.is_called = True
            if self._post is not None:
                self._post.ring()
                return True
            post = self._post = _Post(self._path)
        thread = threading.Thread(target=self._run, args=(post,), name="metrics-appender-waiter", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # out of threads, or the interpreter is ending
            self._dismiss(post)
            return False
        return True

    def dismiss_if_rotated(self) -> None:
        """Let go of a thread that waits for a file which lost its name: its holder concerns nobody any more.

        It ends when it gets that lock. Who has work calls again, and another thread waits for the right file.
        """
        post = self._post
        if post is not None and disk.identity_at(self._path) != post.lock.waits_for:
            self._dismiss(post)

    def close(self) -> None:
        """Let an idle thread end now rather than in a second."""
        post = self._post
        if post is not None:
            self._dismiss(post)
            post.ring()

    def _dismiss(self, post: _Post) -> None:
        with self._mutex:
            if self._post is post:
                self._post = None
                self.is_called = False
        self._step_aside()

    def _run(self, post: _Post) -> None:
        try:
            while self._is_on_duty(post):
                self._wait_and_serve(post)
        finally:
            self._dismiss(post)

    def _wait_and_serve(self, post: _Post) -> None:
        try:
            post.lock.acquire()
            self._serve(post.lock)
        except OSError:
            # The lock could not even be asked for. Whoever is next tries without this thread, and gets the error.
            with self._mutex:
                self.is_called = self.is_called and self._post is not post
            self._step_aside()
        finally:
            post.lock.release()

    def _is_on_duty(self, post: _Post) -> bool:
        """Wait a little for a call when there is no work; `False` when this thread is to end."""
        with self._mutex:
            if self._post is not post:
                return False
            if self.is_called and self._has_work():
                return True
            self.is_called = False
            post.bell.acquire(blocking=False)
        self._step_aside()
        post.bell.acquire(timeout=_LINGER_SECONDS)
        with self._mutex:
            return self._post is post and self.is_called
