"""Threads of one batch are likely to be back at once: the next batch waits for them a moment.

One sync then covers all of them, where the first to come back would have one of its own and the
others the next. (PostgreSQL's commit_delay and commit_siblings.)
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .commit_queue import PendingAppend


class CommitDelay:
    """The threads of the last batch, waited for `seconds` at most; 0 waits for none."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Expect no thread: the child has none of the others."""
        self.expected = 0  # how many appends the next batch waits for, where it waits
        self._threads: set[int] = set()
        self._penalty = 0  # after a wait in vain: how many batches do not wait
        self._batches_to_skip = 0

    def expect(self, batch: Sequence[PendingAppend]) -> None:
        """Expect the threads of a batch to be back soon, unless that was in vain lately."""
        self.expected = 0
        if len(batch) == 1 or not self._seconds:
            return
        if self._batches_to_skip:
            self._batches_to_skip -= 1
        else:
            self._threads = {pending.thread for pending in batch}
            self.expected = len(batch)

    def is_over(self, queue: Sequence[PendingAppend], pending: PendingAppend) -> bool:
        """Wait for the others; return whether `pending` is to begin the batch now.

        The first in the queue waits for all; the last to come back begins the batch at once.
        """
        pending.wakeup.acquire(blocking=False)  # a call that came too late for an earlier line
        with suppress(IndexError):  # a batch has begun meanwhile
            if len(queue) < self.expected:
                if queue[0] is not pending:
                    return False
                pending.wakeup.acquire(timeout=self._seconds)
        if self.expected and not pending.is_done:  # no other thread has come to this line first
            # Threads that come by chance do not count. Those that did not come back append at a
            # rhythm of their own: 1, 3, 7, ... up to 63 batches that join lines do not wait.
            others = (other for other in tuple(queue) if other is not pending)
            back = sum(other.thread in self._threads for other in others)
            is_in_vain = back * 2 < self.expected - 1
            self._penalty = min(self._penalty * 2 + 1, 63) if is_in_vain else 0
            self._batches_to_skip = self._penalty
            self.expected = 0
        return not pending.is_done
