"""Threads that one pass served are likely to be back at once: the next waits for them a moment.

One sync is for all of them then, where the first to come back would have one of its own and the
others the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

# Threads that did not come back at once append at a rhythm of their own: nobody waits for them at
# the next passes that join lines, at 1 after the first time, at 3, 7, and so on up to 63 when it is
# in vain again and again.
_MOST_DOUBLINGS: Final = 6


class Comer(Protocol):
    """A caller in the queue."""

    wake: threading.Lock
    is_settled: bool
    caller: int


class Company:
    """The threads that the last pass served, waited for `seconds` at the most.

    0 waits for nobody.
    """

    __slots__ = ("_in_vain", "_not_awaited", "_seconds", "_served", "expected")

    def __init__(self, seconds: float) -> None:
        """Expect nobody yet."""
        self._seconds = seconds
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child: the other threads are not there."""
        self.expected = 0  # how many are to be back, where they were several
        self._served: set[int] = set()  # and which threads
        self._in_vain = 0  # so many times in a row, at the last
        self._not_awaited = 0  # by how many passes more nobody is waited for

    def expect(self, served: Sequence[Comer]) -> None:
        """Take note of whom a pass served.

        Nobody is waited for, for a while, after that was in vain.
        """
        self.expected = 0
        if len(served) > 1 and self._seconds:
            if self._not_awaited:
                self._not_awaited -= 1
            else:
                self._served = {comer.caller for comer in served}
                self.expected = len(served)

    def has_come(self, queue: Sequence[Comer], comer: Comer) -> bool:
        """Wait for the others; whether `comer` is to begin the pass then.

        Who comes last begins it at once.
        """
        comer.wake.acquire(blocking=False)  # a call that came too late for an earlier line
        try:
            if len(queue) < self.expected:
                if queue[0] is not comer:
                    return False  # the first of them waits for all
                comer.wake.acquire(timeout=self._seconds)
        except IndexError:
            pass  # a pass has begun meanwhile
        if comer.is_settled:
            return False
        if self.expected:  # nobody has been before this one here
            is_in_vain = (
                self._count_back(queue, comer) * 2 < self.expected - 1
            )  # fewer than half of the others
            self._in_vain = min(self._in_vain + 1, _MOST_DOUBLINGS) if is_in_vain else 0
            self._not_awaited = (1 << self._in_vain) - 1
            self.expected = 0
        return True

    def _count_back(self, queue: Sequence[Comer], comer: Comer) -> int:
        """Return how many of the others are back: threads that come by chance are none of them."""
        try:
            return sum(other.caller in self._served for other in queue if other is not comer)
        except RuntimeError:  # it changed meanwhile: somebody has come, or leads
            return len(queue)
