"""The three levels of durability as data: when a batch is synced, and how a busy lock is met."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ..errors import Fault, InvalidRecordError, show

if TYPE_CHECKING:
    from collections.abc import Sequence

Durability = Literal["fsync", "group", "os"]


class Level(NamedTuple):
    """What one durability does; times are in seconds."""

    syncs_locked: bool = False  # the batch is synced before the lock is released
    syncs_unlocked: bool = False  # the batch is synced after the lock is released
    keeps_queue: bool = False  # while the lock is contended, appends go to the kernel's queue
    retry_pauses: Sequence[float] = ()  # between tries for a busy lock, before a thread waits
    commit_delay: float = 0.0  # how long a batch waits at most for the threads of the last one

    @property
    def is_durable(self) -> bool:
        """Whether an append that returned survives a power cut."""
        return self.syncs_locked or self.syncs_unlocked

    def within(self, timeout_seconds: float) -> Level:
        """Return the level with what of its waiting ends before the deadline."""
        ends = zip(self.retry_pauses, accumulate(self.retry_pauses), strict=True)
        return self._replace(
            retry_pauses=[pause for pause, end in ends if end < timeout_seconds],
            commit_delay=min(self.commit_delay, timeout_seconds / 4),
        )


# The commit delay is less than nearly every disk takes for a sync: with 8 threads a sync covers 7.5
# lines in place of 4.5. The kept queue: with 64 processes 0.79 of the bare loop's rate in place of
# 0.64. The pauses, 20 ms in all: without syncs a lock is free again within microseconds, and to
# wake a thread at once has 0.54 to 0.78 of the rate of blocking.
LEVELS: Final[dict[str, Level]] = {
    "fsync": Level(syncs_locked=True, keeps_queue=True, commit_delay=0.0002),
    "group": Level(syncs_unlocked=True, commit_delay=0.0002),
    "os": Level(retry_pauses=(*(0.0,) * 100, 0.00005, 0.0001, 0.0002, 0.0004, *(0.001,) * 19)),
}


def check_durability(durability: Any) -> None:
    """Raise `InvalidRecordError` unless it is one of the three."""
    if not isinstance(durability, str) or durability not in LEVELS:
        fault = Fault("durability", show(durability), "pass 'fsync', 'group' or 'os'")
        raise InvalidRecordError((fault,))
