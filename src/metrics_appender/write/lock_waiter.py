"""A thread that waits for a file's lock in the kernel's queue, for callers that have deadlines.

The kernel's queue is fair, but flock(2) knows no deadline; polling knows deadlines, but starves. So
a thread blocks for the callers, and they wait for the thread. It is made when it is first needed
and gone a second after it has nothing to do.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from ..fs import fork
from ..fs.lock import WAIT, FileLock
from . import abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..fs.lock import Seal

_LINGER_SECONDS: Final = 1.0
# The kernel wakes who is next in its queue, and whoever is awake already may take the lock before
# that one. So this thread, when it had two turns in a row while others want the lock, gets in line
# again only when the next has had the time to wake.
_STEP_BACK_SECONDS: Final = 0.00002
# After so many turns in a row in which nobody else wrote, the lock is no longer contended.
_PEACE: Final = 16
# Giving up the processor for who is next takes as long as that one needs to begin its sync. Where
# it takes longer, somebody who computes has got it, and it is not given up again for so many times
# as long.
_LONGEST_YIELD_SECONDS: Final = 0.0005
_PAUSE_AFTER_LONG_YIELD: Final = 100


class Sleeper(Protocol):
    """A caller who sleeps until its work is done."""

    def rouse(self) -> None:
        """Wake it."""


class _Post:
    """What one thread holds.

    The lock it waits for, and the bell that calls it, which is for who took `rest` from it.
    """

    __slots__ = ("adrift_for", "bell", "is_begun", "is_waiting", "lock", "rest")

    def __init__(self, path: str, seal: Seal | None) -> None:
        self.lock = FileLock(path, seal)
        self.is_begun = False  # from then on the lock is the thread's
        self.is_waiting = False  # for the lock, or at work with it
        self.adrift_for: abandoned.FileId | None = (
            None  # once nobody wants that lock from it any more
        )
        self.bell = threading.Lock()  # held while nobody calls
        self.bell.acquire()
        self.rest = threading.Lock()  # free while the thread rests, and touches the lock no more
        self.rest.acquire()

    def ring(self) -> None:
        try:
            self.bell.release()
        except RuntimeError:
            pass  # it has rung already


class Waiter:
    """Waits for the lock of the file at `path` when called, then calls `serve` with the lock held.

    It goes on for as long as `has_work` says so, and rouses the first of those whom `serve`
    returns, who is to rouse the next. `step_aside` is called when it cannot go on.

    While `goes_first`, whoever has work hands it in and rings, and does not try for the lock: the
    waiter is about to serve, or it was not long ago that others wanted the lock too, and it served
    `keeps_queue_for` at once, or more. With `lines_up_early` it gets in line again before there is
    more work, while others write between its turns.
    """

    def __init__(
        self,
        path: str,
        *,
        serve: Callable[[FileLock], Sequence[Sleeper]],
        has_work: Callable[[], int],
        step_aside: Callable[[], None],
        keeps_queue_for: int,
        lines_up_early: bool = False,
        seal: Seal | None = None,
    ) -> None:
        """Take what to do with the lock; no thread is made yet."""
        self._path = path
        self._serve = serve
        self._has_work = has_work
        self._step_aside = step_aside
        self._keeps_queue_for = keeps_queue_for
        self._lines_up_early = lines_up_early
        self._seal = seal
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """In a forked child: the thread is not there."""
        # Re-entrant, for a signal handler that appends while its thread is inside. Never held over
        # a system call.
        self._mutex = threading.RLock()
        self._post: _Post | None = None
        self.goes_first = False
        self._is_contended = False
        self._alone_in_a_row = 0
        self._size = -1
        self._early_from = 0.0  # from then on (`time.perf_counter`) it gets in line early

    def call(self, lock: FileLock) -> None:
        """Have the work done that was handed in; `lock` has the file open that is waited for.

        `goes_first` stays false when no thread can be made, or too many wait in vain for this file.
        """
        if sys.is_finalizing():  # a new thread would never run
            return
        made: _Post | None = None
        try:
            with self._mutex:
                self.goes_first = self._is_contended = True
                if self._post is not None:
                    self._ring(self._post, lock)
                    return
                if abandoned.threads.are_many(lock.opened()):
                    self.goes_first = self._is_contended = False
                    return
                made = self._post = _Post(self._path, self._seal)
                made.lock.is_wanted = functools.partial(self._is_wanted, made)
                lock.hand_over(made.lock)
            threading.Thread(
                target=self._run, args=(made,), name="metrics-appender-waiter", daemon=True
            ).start()
            made.is_begun = True
            made.ring()
        except BaseException as error:
            self._give_up(made)
            if (
                type(error) is not RuntimeError
            ):  # that is out of threads; a signal's exception goes on
                raise

    def _is_wanted(self, post: _Post) -> bool:
        """Whether a thread that got the lock of a file which had lost its name is to make the next one."""
        return self._post is post and self._has_work() > 0

    def _give_up(self, made: _Post | None) -> None:
        """Be as before a call that failed.

        A thread that was made all the same ends when it is rung for, and when it has got the lock.
        """
        if made is None:
            with self._mutex:
                if self._post is None:
                    self.goes_first = self._is_contended = False
            return
        self._dismiss(made)
        if not made.is_begun:  # else the lock is the thread's, which may be waiting for it
            made.lock.release()
        made.ring()

    def ring(self) -> bool:
        """Have the work done that was handed in just before; `False` where no thread goes first.

        Without the mutex: a thread that is about to rest looks for work once more after it has said
        so, and one that leaves has who is next see for itself after that (`step_aside`).
        """
        post = self._post
        if post is None or not self.goes_first:
            return False
        self._ring(post, None)
        return True

    def _ring(self, post: _Post, lock: FileLock | None) -> None:
        if post.rest.acquire(False):
            if lock is not None:
                lock.hand_over(post.lock)
            post.ring()

    def dismiss_if_rotated(self) -> None:
        """Let go of a thread that waits for a file which lost its name.

        Its holder concerns nobody any more.

        It ends when it gets that lock. Who has work calls again, and another thread waits for the
        right file. Where the interpreter is ending, no thread runs any more, and it is let go of
        too.
        """
        post = self._post
        if post is not None and (sys.is_finalizing() or self._waits_in_vain(post)):
            self._dismiss(post)

    @staticmethod
    def _waits_in_vain(post: _Post) -> bool:
        return (
            post.lock.fd >= 0 and not post.lock.is_for_named_file()
        )  # a thread that rests has none open

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
                self.goes_first = self._is_contended = False
                if post.is_waiting:
                    post.adrift_for = post.lock.opened()
                    abandoned.threads.add(post.adrift_for, 1)
        self._step_aside()

    def _run(self, post: _Post) -> None:
        lock = post.lock
        try:
            post.bell.acquire()
            while self._post is post:
                served: Sequence[Sleeper] = ()
                do_others_write = False
                try:
                    post.is_waiting = True
                    if lock.acquire(WAIT):
                        size = lock.size
                        served = self._serve(lock)
                        do_others_write = self._note_contention(size, lock.size)
                except OSError:
                    # The lock could not even be asked for. Whoever is next tries without this
                    # thread, and gets the error.
                    self._dismiss(post)
                finally:
                    post.is_waiting = False
                    lock.release()
                is_early = (
                    bool(served)
                    and self._lines_up_early
                    and do_others_write
                    and self._line_up(lock)
                )
                is_idle = not is_early and not self._has_work() and self._rest(post, len(served))
                # Last, right before this thread sleeps: they need the interpreter's lock that it
                # holds.
                if served:
                    served[0].rouse()
                if self._alone_in_a_row and self.goes_first:
                    time.sleep(_STEP_BACK_SECONDS)
                if is_idle and not post.bell.acquire(timeout=_LINGER_SECONDS):
                    self._leave(post)
        finally:
            self._dismiss(post)
            lock.release()
            if post.adrift_for:
                abandoned.threads.add(post.adrift_for, -1)

    def _line_up(self, lock: FileLock) -> bool:
        """Let who is next have the lock, and be ready to get in line behind.

        `False` where that is not to be.
        """
        now = time.perf_counter()
        if now < self._early_from:
            return False
        # Who is next may need this very processor: this thread would take the lock again before
        # that one is awake.
        os.sched_yield()
        took = time.perf_counter() - now
        if took > _LONGEST_YIELD_SECONDS:
            self._early_from = now + _PAUSE_AFTER_LONG_YIELD * took
            return False
        try:
            lock.open()
        except OSError:
            return False
        return True

    def _rest(self, post: _Post, served: int) -> bool:
        """Rest from here on, unless work has come, or another thread in the place of this one.

        Whether it does.
        """
        if self._post is not post:
            return False
        self.goes_first = self._is_contended and served >= self._keeps_queue_for
        post.rest.release()
        if self._has_work() and post.rest.acquire(False):
            self.goes_first = True
            return False
        return True

    def _note_contention(self, size: int, new_size: int) -> bool:
        """See by the file's size, before and after this thread's turn, whether others wrote since the last time; not said of the first."""
        do_others_write = 0 <= self._size != size
        if size != self._size:
            self._alone_in_a_row = 0
        else:
            self._alone_in_a_row += 1
            if self._alone_in_a_row >= _PEACE:
                self._is_contended = False
        self._size = new_size
        return do_others_write

    def _leave(self, post: _Post) -> None:
        """End the thread, unless it is called in the last moment.

        Whoever is about to call it is waited for, but not for ever.
        """
        if post.rest.acquire(False) or not post.bell.acquire(timeout=_LINGER_SECONDS):
            self._dismiss(post)
