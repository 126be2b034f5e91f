"""Threads that were served by one pass are likely to be back at once: the next pass waits for them a moment."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import HANG_SECONDS

from metrics_appender.group_commit import GroupCommit
from metrics_appender.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Waiting

    from metrics_appender.file_lock import FileLock

TOGETHER = 3


class Passes:
    """A queue whose passes write nothing, and how many lines each of them had."""

    def __init__(self, path: str, wait: Waiting, gather: float) -> None:
        """Have three threads served together."""
        self._wait = wait
        self._is_meeting = False
        self.lines: list[int] = []
        self.appends = GroupCommit(path, self._write, HANG_SECONDS, Patience(gather=gather))
        self.meet()
        assert self.lines == [1, TOGETHER]

    def meet(self) -> None:
        """Have a pass last until three others wait, so that the next one serves them together."""
        self._is_meeting = True
        self.append_with_threads(1 + TOGETHER)

    def _write(self, lock: FileLock, block: bytes, lines: Sequence[bytes] = (), /) -> Sequence[OSError | None]:
        if self._is_meeting:
            self._wait.until(lambda: self.count_queued() == TOGETHER)
            self._is_meeting = False
        self.lines.append(block.count(b"\n"))
        return ()

    def count_queued(self) -> int:
        """Return how many wait in the queue."""
        return len(self.appends._queue)

    def append_with_threads(self, count: int) -> None:
        """Let so many threads append a line each, and wait for them."""
        threads = [threading.Thread(target=self.appends.append, args=(b"{}\n",)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG_SECONDS / 2)
            assert not thread.is_alive(), "an append waits for threads that do not come"


def test_those_served_together_are_served_together_again(path: str, wait: Waiting) -> None:
    """Whoever comes last leads for all, and does not wait until the moment is over."""
    passes = Passes(path, wait, gather=HANG_SECONDS)
    for _ in range(3):
        passes.append_with_threads(TOGETHER)
    assert passes.lines == [1, *[TOGETHER] * 4]


def test_one_who_comes_back_alone_waits_once(path: str, wait: Waiting) -> None:
    """The others are not waited for longer than a moment, and not again."""
    passes = Passes(path, wait, gather=0.01)
    passes.append_with_threads(1)
    passes.appends._company._seconds = HANG_SECONDS
    passes.append_with_threads(1)
    assert passes.lines == [1, TOGETHER, 1, 1]


def test_after_waits_in_vain_nobody_waits_for_a_while(path: str, wait: Waiting) -> None:
    """Threads with a rhythm of their own meet now and then, and are held up the less, the oftener it was in vain."""
    passes = Passes(path, wait, gather=0.01)
    for not_awaited in (1, 3, 7):
        passes.append_with_threads(1)
        passes.appends._company._seconds = HANG_SECONDS
        for _ in range(not_awaited):
            passes.meet()
            passes.append_with_threads(1)
        passes.appends._company._seconds = 0.01
        passes.meet()
    assert passes.lines == [*[1, TOGETHER, 1] * 14, 1, TOGETHER]


@pytest.mark.parametrize("timeout", [0.0, 0.04])
def test_a_moment_is_a_part_of_the_timeout(timeout: float) -> None:
    """Who has no time does not wait for others."""
    assert Patience(gather=HANG_SECONDS).within(timeout).gather == timeout / 4


def test_a_signal_handler_does_not_wait_for_the_append_that_it_interrupts(path: str, wait: Waiting) -> None:
    """Which cannot go on before the handler's own append has returned."""
    passes = Passes(path, wait, gather=0.5)
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
    assert sum(passes.lines) == 1 + TOGETHER + 2
