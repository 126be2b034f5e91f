"""The waiter: a thread in the kernel's queue that is there only while it is needed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from metrics_appender.fs.lock import TRY, FileLock
from metrics_appender.write.commit_queue import CommitQueue, PendingAppend
from metrics_appender.write.lock_waiter import LockWaiter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from conftest import Waiting

    Hold = Callable[[str], AbstractContextManager[int]]


class Work:
    """Work for a waiter: served one piece at a time, always with the lock held."""

    def __init__(self, path: str) -> None:
        """Begin with nothing to do."""
        self.path = path
        self.served = 0
        self.caller = PendingAppend(b"")
        self.queue = CommitQueue()
        self.waiter = LockWaiter(path, self.queue, self.serve)

    def serve(self, lock: FileLock) -> PendingAppend:
        """Do one piece."""
        other = FileLock(self.path)
        assert not other.acquire(TRY)
        other.release()
        assert lock.is_held
        if self.queue:
            self.queue.popleft()
            self.served += 1
        return self.caller

    def call(self) -> bool:
        """Call the waiter as a caller does that found the lock taken."""
        lock = FileLock(self.path)
        assert not lock.acquire(TRY)
        self.queue.append(PendingAppend(b""))
        is_called = self.waiter.call(lock.file_id())
        lock.release()
        return is_called


@pytest.fixture(autouse=True)
def _after_earlier_tests(wait: Waiting) -> None:
    """Wait for the waiters of earlier tests in this process to end, a second at the most."""
    wait.until(lambda: not threads())


def threads() -> int:
    """Return how many waiters run."""
    return sum(thread.name == "metrics-appender-waiter" for thread in threading.enumerate())


def serve_one(work: Work, hold: Hold, wait: Waiting) -> None:
    """Have one piece done by the waiter, and return when its thread is idle."""
    with hold(work.path):
        assert work.call()
    wait.until(lambda: not work.waiter.is_active)


def test_it_serves_all_work_with_the_lock_held_and_ends(
    path: str, hold: Hold, wait: Waiting
) -> None:
    """One thread for any number of calls; it goes on while there is work, wakes, and ends."""
    work = Work(path)
    with hold(path):
        for _ in range(3):
            assert work.call()
        assert threads() == 1
        assert work.served == 0
        assert work.waiter.is_active
    wait.until(lambda: work.served == 3)
    wait.until(lambda: not threads())
    assert work.caller.wakeup.acquire(blocking=False)
    assert not work.waiter.is_active


def test_it_is_called_again_while_it_is_idle(path: str, hold: Hold, wait: Waiting) -> None:
    """The same thread serves the next call."""
    work = Work(path)
    for round_number in range(1, 4):
        serve_one(work, hold, wait)
        assert work.served == round_number
    assert threads() <= 1


def test_it_asks_for_the_lock_only_while_there_is_work(
    path: str, hold: Hold, wait: Waiting
) -> None:
    """Else the kernel might grant it to a thread that cannot run, and others would wait."""
    work = Work(path)
    serve_one(work, hold, wait)
    with hold(path):  # is to be had at once, though other processes write
        os.truncate(path, 0)
    waiting = work.waiter._waiting
    assert waiting is not None
    assert waiting.lock.fd == -1


def test_close_ends_an_idle_thread_at_once(path: str, hold: Hold, wait: Waiting) -> None:
    """And a closed waiter can be called again: another thread may still have work."""
    work = Work(path)
    serve_one(work, hold, wait)
    work.waiter.close()
    wait.until(lambda: not threads())
    with hold(path):
        work.call()
    wait.until(lambda: work.served == 2)


def test_it_steps_aside_when_the_lock_cannot_be_asked_for(
    path: str, hold: Hold, wait: Waiting
) -> None:
    """The directory is gone: the callers are told to see for themselves."""
    work = Work(path)
    with hold(path):
        work.call()
        waiting = work.waiter._waiting
        assert waiting is not None
        waiting.lock.path = path + "/gone/file"
    wait.until(lambda: not work.waiter.is_active)
    assert work.queue[0].wakeup.acquire(blocking=False)
    assert work.served == 0


def test_an_idle_thread_is_not_taken_for_one_that_waits_for_a_rotated_file(
    path: str, hold: Hold, wait: Waiting
) -> None:
    """It has no file open, and is kept."""
    work = Work(path)
    serve_one(work, hold, wait)
    waiting = work.waiter._waiting
    assert waiting is not None
    work.waiter.abandon_if_rotated()
    assert work.waiter._waiting is waiting


def test_an_abandoned_thread_serves_nobody(path: str, hold: Hold, wait: Waiting) -> None:
    """It may come to its end when another one is called already, for the file that has the name."""
    work = Work(path)
    with hold(path):
        work.call()
        old = work.waiter._waiting
        assert old is not None
        wait.until(lambda: old.is_blocked)
        os.rename(path, path + ".1")
        work.waiter.abandon_if_rotated()
        assert work.queue[0].wakeup.acquire(blocking=False)
        with hold(path):
            work.call()
            assert work.waiter._waiting is not old
            assert threads() == 2
    wait.until(lambda: work.served == 2)
    wait.until(lambda: not threads())
