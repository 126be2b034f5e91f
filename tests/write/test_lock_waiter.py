"""The waiter: a thread in the kernel's queue that is there only while it is needed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from metrics_appender.fs.lock import TRY, FileLock
from metrics_appender.write import lock_waiter
from metrics_appender.write.lock_waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from conftest import Waiting


class Work:
    """Work for a waiter: served one piece at a time, always with the lock held."""

    def __init__(
        self, path: str, *, keeps_queue_for: int = 2, lines_up_early: bool = False
    ) -> None:
        """Begin with nothing to do."""
        self.path = path
        self.pieces = 0
        self.served = 0
        self.roused = 0
        self.stepped_aside = 0
        self.waiter = Waiter(
            path,
            serve=self.serve,
            has_work=lambda: self.pieces,
            step_aside=self.step_aside,
            keeps_queue_for=keeps_queue_for,
            lines_up_early=lines_up_early,
        )

    def serve(self, lock: FileLock) -> Sequence[Work]:
        """Do one piece."""
        other = FileLock(self.path)
        assert not other.acquire(TRY)
        other.release()
        self.served += bool(self.pieces)
        self.pieces = max(0, self.pieces - 1)
        return [self]

    def rouse(self) -> None:
        """Count."""
        self.roused += 1

    def step_aside(self) -> None:
        """Count."""
        self.stepped_aside += 1

    def call(self) -> None:
        """Call the waiter as a caller does who found the lock taken."""
        lock = FileLock(self.path)
        assert not lock.acquire(TRY)
        self.pieces += 1
        self.waiter.call(lock)
        lock.release()


@pytest.fixture(autouse=True)
def _after_earlier_tests(wait: Waiting) -> None:
    """Wait for the waiters of earlier tests in this process to end, a second at the most."""
    wait.until(lambda: not threads())


def threads() -> int:
    """Return how many waiters run."""
    return sum(thread.name == "metrics-appender-waiter" for thread in threading.enumerate())


def take_turns(
    work: Work,
    turns: int,
    hold: Callable[[str], AbstractContextManager[int]],
    wait: Waiting,
    *,
    while_others_write: bool,
) -> None:
    """Have pieces done by the waiter, each while somebody else holds the lock, and may write."""
    for turn in range(work.served + 1, work.served + turns + 1):
        with hold(work.path) as other:
            work.call()
            if while_others_write:
                os.pwrite(other, b"{}\n", os.fstat(other).st_size)
        wait.until(lambda: work.served == turn)  # noqa: B023 - called within the round


def serve_one(
    work: Work, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """Have one piece done by the waiter, and return when its thread rests."""
    with hold(work.path):
        work.call()
    wait.until(lambda: not work.waiter.goes_first)


def test_it_serves_all_work_with_the_lock_held_and_ends(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """One thread for any number of calls; it goes on while there is work, rouses, and ends."""
    work = Work(path)
    with hold(path):
        for _ in range(3):
            work.call()
        assert threads() == 1
        assert work.served == 0
    wait.until(lambda: work.served == 3 and work.roused >= 3)
    wait.until(lambda: not threads())
    assert not work.waiter.goes_first


def test_it_is_called_again_while_it_lingers(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """The same thread serves the next call."""
    work = Work(path)
    for round_number in range(1, 4):
        serve_one(work, hold, wait)
        assert work.served == round_number
    assert threads() <= 1


def test_close_ends_an_idle_thread_at_once(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """And a closed waiter can be called again: somebody else may still have work."""
    work = Work(path)
    serve_one(work, hold, wait)
    work.waiter.close()
    wait.until(lambda: not threads())
    with hold(path):
        work.call()
    wait.until(lambda: work.served == 2)


def test_it_steps_aside_when_the_lock_cannot_be_asked_for(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """The directory is gone: whoever waits is told to see for itself."""
    work = Work(path)
    with hold(path):
        work.call()
        work.waiter._path = path
        post = work.waiter._post
        assert post is not None
        post.lock.path = path + "/gone/file"
    wait.until(lambda: work.stepped_aside and not work.waiter.goes_first)
    assert work.served == 0


def test_it_goes_first_until_nobody_else_wrote_for_some_turns(
    path: str,
    hold: Callable[[str], AbstractContextManager[int]],
    wait: Waiting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the queue is kept to.

    While others go on writing, work is left to the thread that waits in it.
    """
    monkeypatch.setattr(lock_waiter, "_PEACE", 30)
    work = Work(path, keeps_queue_for=1)

    assert not work.waiter.goes_first
    assert not work.waiter.ring()
    take_turns(work, 40, hold, wait, while_others_write=True)
    assert work.waiter.goes_first
    work.pieces += 1
    assert work.waiter.ring()
    wait.until(lambda: not work.pieces)
    take_turns(work, 40, hold, wait, while_others_write=False)
    wait.until(lambda: not work.waiter.goes_first)


def test_it_gets_in_line_again_before_there_is_work(
    path: str,
    hold: Callable[[str], AbstractContextManager[int]],
    wait: Waiting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While others hold the lock for long.

    Nobody has to wake it when the next piece comes, which it finds when it gets the lock.
    """
    others = FileLock(path)
    monkeypatch.setattr("os.sched_yield", lambda: others.acquire(TRY))
    work = Work(path, lines_up_early=True)
    take_turns(work, 2, hold, wait, while_others_write=True)
    wait.until(lambda: work.roused == 2)
    work.pieces += 1
    others.release()
    wait.until(lambda: work.served == 3)


def test_it_makes_way_no_more_where_that_gives_the_processor_to_somebody_who_computes(
    path: str,
    hold: Callable[[str], AbstractContextManager[int]],
    wait: Waiting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for a good while: each time costs a turn of the scheduler's."""
    yields: list[None] = []
    monkeypatch.setattr("os.sched_yield", lambda: yields.append(None))
    monkeypatch.setattr(lock_waiter, "_LONGEST_YIELD_SECONDS", -1.0)
    monkeypatch.setattr(lock_waiter, "_PAUSE_AFTER_LONG_YIELD", 1e9)
    work = Work(path, lines_up_early=True)
    take_turns(work, 5, hold, wait, while_others_write=True)
    assert len(yields) == 1


def test_a_thread_that_rests_is_not_taken_for_one_that_waits_for_a_rotated_file(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """It has no file open.

    Two callers who look around would else let go of one thread after the other.
    """
    work = Work(path)
    serve_one(work, hold, wait)
    post = work.waiter._post
    assert post is not None
    work.waiter.dismiss_if_rotated()
    assert work.waiter._post is post
    assert not work.stepped_aside


def test_a_thread_that_was_let_go_says_nothing_of_who_goes_first(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Waiting
) -> None:
    """It may come to its end when another one is called already.

    For the file that has the name now.
    """
    work = Work(path)
    with hold(path):
        work.call()
        old = work.waiter._post
        assert old is not None
        os.rename(path, path + ".1")
        work.waiter.dismiss_if_rotated()
        with hold(path):
            work.call()
            assert work.waiter._post is not old
            work.pieces = 0
            assert not work.waiter._rest(old, 0)
            assert work.waiter.goes_first
    wait.until(lambda: not threads())
