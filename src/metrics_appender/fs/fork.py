"""What a child of fork must forget: the descriptors and the locks of its parent's appends.

A child shares its parent's open files, and with them the parent's flock: while the child keeps its
copy of a descriptor open, the lock outlives even the parent's death (flock(2)). And a Python lock
that another thread of the parent held would stay held in the child for ever. So every object that
owns such things is registered here, and is told in the child, before any code of the user runs
there.

This is process-wide state by nature, as `os.register_at_fork` is. No wait in it is for ever: other
libraries have hooks and locks too.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from threading import get_ident
from typing import Final, Protocol


class OwnsForkState(Protocol):
    """An object that owns descriptors or locks which a child must not keep."""

    def reset_after_fork(self) -> None:
        """Drop them, in the child: close what is open, make every lock anew, wait for nothing."""


class OpensFiles(OwnsForkState, Protocol):
    """One that opens files.

    `descriptors` is held while a descriptor comes or goes, so that no fork falls between the system
    call and its being noted. Only for that long: a fork never waits for a lock on a file, for a
    write or for a sync. Re-entrant, because a signal handler may fork while its own thread is
    inside. While forks are `under_way` it waits before it opens (`wait`).
    """

    descriptors: threading.RLock


# An open may hang in the kernel: its file has a lease, or a server that is gone. It has no
# descriptor yet that a child could share.
_LONGEST_WAIT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.0002

_owners: weakref.WeakSet[OwnsForkState] = weakref.WeakSet()
# What each thread that forks has taken.
under_way: Final[dict[int, list[threading.RLock]]] = {}
_forgot_in: Final[list[int]] = []  # the process that last forgot what its parent had


def register(owner: OwnsForkState) -> None:
    """Have `owner.reset_after_fork()` called in every child that is forked while the owner lives."""
    _owners.add(owner)


def owners() -> list[OwnsForkState]:
    """Return all who are registered, and live."""
    while True:
        try:
            return list(_owners)
        except RuntimeError:
            pass  # another thread has registered one meanwhile


def wait() -> None:
    """Let forks of other threads be over: they do not know of who is registered now."""
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    while any(thread != get_ident() for thread in list(under_way)) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)


def _before() -> None:
    taken = under_way.setdefault(get_ident(), [])
    locks = [owner.descriptors for owner in owners() if hasattr(owner, "descriptors")]
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    for lock in sorted(locks, key=id):  # of two threads that fork, neither waits for the other
        taken.append(lock)
        if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
            taken.pop()


def _after_in_parent() -> None:
    taken = under_way.get(get_ident(), [])
    while taken:
        with contextlib.suppress(RuntimeError):  # it was noted, and not taken any more
            taken[-1].release()
        taken.pop()
    under_way.pop(get_ident(), None)


def _after_in_child() -> None:
    if os.getpid() in _forgot_in:
        return
    for owner in owners():
        try:
            owner.reset_after_fork()
        except OSError:
            # A network's close that fails has closed all the same (close(2)); the others have locks
            # to forget still.
            pass
    under_way.clear()
    _forgot_in[:] = [os.getpid()]


os.register_at_fork(before=_before)
for _ in range(2):
    # A signal that came meanwhile is looked for at the door of the first, where what its handler
    # raises is swallowed.
    os.register_at_fork(after_in_parent=_after_in_parent, after_in_child=_after_in_child)
