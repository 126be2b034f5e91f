"""Threads that were served by one pass are likely to be back at once.

The next pass waits for them a moment.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from conftest import HANG_SECONDS

from metrics_appender.write.commit_delay import CommitDelay
from metrics_appender.write.commit_queue import PendingAppend
from metrics_appender.write.durability import Level
from metrics_appender.write.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from conftest import Waiting

    from metrics_appender.fs.lock import FileLock

STRANGER, *TOGETHER = range(4)


class Passes:
    """A queue whose passes write nothing, how many lines each of them had.

    Four threads that append to it.
    """

    def __init__(self, path: str, wait: Waiting, gather: float) -> None:
        """Have three threads served together, and not the fourth."""
        self._wait = wait
        self._is_meeting = False
        self.lines: list[int] = []
        self.appends = GroupCommit(
            path, self._write, HANG_SECONDS, Level(syncs_locked=True, commit_delay=gather)
        )
        self._threads = [ThreadPoolExecutor(1) for _ in range(4)]
        self.meet()
        assert self.lines == [1, 3]

    def meet(self) -> None:
        """Have a pass of the stranger last until three others wait.

        So that the next one serves them together.
        """
        self._is_meeting = True
        first = self._begin(STRANGER)
        self._wait.until(self.appends._lead.locked)
        self.append(*TOGETHER)
        first.result(HANG_SECONDS / 2)

    def _write(self, lock: FileLock, lines: Sequence[bytes]) -> Sequence[OSError | None]:
        if self._is_meeting:
            self._wait.until(lambda: self.count_queued() == 3)
            self._is_meeting = False
        self.lines.append(len(lines))
        return ()

    def count_queued(self) -> int:
        """Return how many wait in the queue."""
        return len(self.appends._queue)

    def append(self, *numbers: int) -> None:
        """Let each of these threads append a line, and wait for them.

        For none that waits for threads that do not come.
        """
        for begun in [self._begin(number) for number in numbers]:
            begun.result(HANG_SECONDS / 2)

    def _begin(self, number: int) -> Future[None]:
        return self._threads[number].submit(self.appends.append, b"{}\n")

    def wait_for_ever(self) -> None:
        """Have whoever waits for others wait so long that the test fails."""
        self.appends._delay._seconds = HANG_SECONDS

    def wait_a_moment(self) -> None:
        """Have whoever waits for others wait a little."""
        self.appends._delay._seconds = 0.01

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.shutdown()


@pytest.fixture
def passes(path: str, wait: Waiting) -> Iterator[Passes]:
    """Three threads that were served together, and a stranger."""
    made = Passes(path, wait, gather=HANG_SECONDS)
    yield made
    made.close()


def test_those_served_together_are_served_together_again(passes: Passes) -> None:
    """Whoever comes last leads for all, and does not wait until the moment is over."""
    for _ in range(3):
        passes.append(*TOGETHER)
    assert passes.lines == [1, *[3] * 4]


def test_one_who_comes_back_alone_waits_once(passes: Passes) -> None:
    """The others are not waited for longer than a moment, and not again."""
    passes.wait_a_moment()
    passes.append(1)
    passes.wait_for_ever()
    passes.append(1)
    assert passes.lines == [1, 3, 1, 1]


def test_threads_that_come_by_chance_are_no_delay() -> None:
    """A wait in which only another thread came was in vain, and is not repeated at once."""
    entries = [PendingAppend(b"") for _ in range(4)]
    for entry, number in zip(entries, (STRANGER, *TOGETHER), strict=True):
        entry.thread = number
    stranger, first, *others = entries
    company = CommitDelay(0.001)
    company.expect([first, *others])
    assert company.is_over([first, stranger], first)
    expected = []
    for served in ([first, stranger], [first, *others]):
        company.expect(served)
        expected.append(company.expected)
    assert expected == [0, 3]
    assert company.is_over([first, *others], others[-1])


def test_after_waits_in_vain_nobody_waits_for_a_while(passes: Passes) -> None:
    """Threads with a rhythm of their own meet now and then.

    Are held up the less, the oftener it was in vain.
    """
    for not_awaited in (1, 3, 7):
        passes.wait_a_moment()
        passes.append(1)
        passes.wait_for_ever()
        for _ in range(not_awaited):
            passes.meet()
            passes.append(1)
        passes.meet()
    assert passes.lines == [*[1, 3, 1] * 14, 1, 3]


@pytest.mark.parametrize("timeout", [0.0, 0.04])
def test_a_moment_is_a_part_of_the_timeout(timeout: float) -> None:
    """Who has no time does not wait for others."""
    assert Level(commit_delay=HANG_SECONDS).within(timeout).commit_delay == timeout / 4


def test_a_signal_handler_does_not_wait_for_the_append_that_it_interrupts(
    path: str, wait: Waiting
) -> None:
    """Which cannot go on before the handler's own append has returned."""
    passes = Passes(path, wait, gather=0.5)
    passes.appends._delay._threads.add(
        threading.get_ident()
    )  # as if this thread had been one of the three
    before = signal.signal(signal.SIGUSR1, lambda *_: passes.appends.append(b"{}\n"))
    try:

        def interrupt() -> None:
            wait.until(lambda: passes.count_queued() == 1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        other = threading.Thread(target=interrupt)
        other.start()
        passes.appends.append(b"{}\n")
        other.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sum(passes.lines) == 1 + 3 + 2
    passes.close()
