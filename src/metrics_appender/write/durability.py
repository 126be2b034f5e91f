"""What an append does when somebody else is at the file.

How soon it tries again, and when it gets in line.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of a short timeout, what is slept before looking around.
LOOKS_IN_A_TIMEOUT: Final = 4


class Patience(NamedTuple):
    """How to wait for others.

    `pauses` are the seconds to sleep between tries for a lock that another process holds, before
    the waiter is called, where waking a thread takes longer than an append does. `keeps_queue_for`:
    while there is contention the waiter is called at once, so that nobody jumps the kernel's queue,
    where it had so many lines, or more, to write the last time. With `lines_up_early` it gets in
    line again as soon as it has written, where the others hold the lock for so long that those whom
    it served are back with more before its turn comes. `nap` is how many seconds to leave another
    thread of this process to its appends before the queue is joined, where they take less time than
    waking one another does. `gather` is how many to wait for threads to come back that were served
    together, where one sync for all is worth it.
    """

    pauses: Sequence[float] = ()
    keeps_queue_for: int = 1
    lines_up_early: bool = False
    nap: float = 0.0
    gather: float = 0.0

    def within(self, timeout_seconds: float | None) -> Patience:
        """Return what of it ends before the deadline."""
        if timeout_seconds is None:
            return self
        ends = itertools.accumulate(self.pauses)
        pauses = [
            pause for pause, end in zip(self.pauses, ends, strict=True) if end < timeout_seconds
        ]
        longest = timeout_seconds / LOOKS_IN_A_TIMEOUT
        return self._replace(
            pauses=pauses, nap=min(self.nap, longest), gather=min(self.gather, longest)
        )
