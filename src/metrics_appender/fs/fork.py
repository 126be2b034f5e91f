"""What a child of fork must not keep: the descriptors and the locks of its parent's appends.

A child shares its parent's open files, and with them the parent's flock: while it keeps its copy of
a descriptor open, the lock outlives even the parent's death (flock(2)). And a Python lock that
another thread of the parent held would stay held in the child for ever. So every object that owns
such things is registered here, and resets itself in the child before any code of the user runs.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import suppress
from typing import Final, Protocol


class OwnsForkState(Protocol):
    """An object that owns descriptors or locks which a child must not keep.

    One that opens files has an RLock `descriptors` too (re-entrant, since a signal handler may
    fork), held while a descriptor comes or goes, so that no fork falls between the system call and
    its being noted; never over a write or a sync. It calls `wait` first if forks are `under_way`.
    """

    def reset_after_fork(self) -> None:
        """In the child: close what is open, make every lock anew, wait for nothing."""


# An open may hang in the kernel (a lease, a server that is gone). It has no descriptor yet that a
# child could share, so no wait is longer than this.
_LONGEST_WAIT_SECONDS: Final = 1.0

_owners: weakref.WeakSet[OwnsForkState] = weakref.WeakSet()
under_way: Final[dict[int, list[threading.RLock]]] = {}  # what each forking thread has taken
_reset_in: Final[list[int]] = []  # the process that last reset what its parent had


def register(owner: OwnsForkState) -> None:
    """Have `owner.reset_after_fork()` called in every child that is forked while it lives."""
    _owners.add(owner)


def owners() -> list[OwnsForkState]:
    """Return all that are registered, and live."""
    while True:
        with suppress(RuntimeError):  # another thread has registered one meanwhile
            return list(_owners)


def wait() -> None:
    """Wait for the forks of other threads: they do not know of an object registered only now."""
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    while set(under_way) - {threading.get_ident()} and time.monotonic() < end:
        time.sleep(0.0002)


def _before() -> None:
    taken = under_way.setdefault(threading.get_ident(), [])
    locks = [owner.descriptors for owner in owners() if hasattr(owner, "descriptors")]
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    for lock in sorted(locks, key=id):  # of two threads that fork, neither waits for the other
        taken.append(lock)
        if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
            taken.pop()


def _after_in_parent() -> None:
    taken = under_way.get(threading.get_ident(), [])
    while taken:
        with suppress(RuntimeError):  # it was noted, and not taken any more
            taken[-1].release()
        taken.pop()
    under_way.pop(threading.get_ident(), None)


def _after_in_child() -> None:
    if os.getpid() in _reset_in:
        return
    for owner in owners():
        with suppress(OSError):  # a close that fails has closed all the same (close(2))
            owner.reset_after_fork()
    under_way.clear()
    _reset_in[:] = [os.getpid()]


os.register_at_fork(before=_before)
# Twice: a signal that came meanwhile is handled at the first step of the first hook, where Python
# swallows what its handler raises.
for _ in range(2):
    os.register_at_fork(after_in_parent=_after_in_parent, after_in_child=_after_in_child)
