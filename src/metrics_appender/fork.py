"""What a child of fork must forget: the descriptors and the locks of its parent's appends.

A child shares its parent's open files, and with them the parent's flock: while the child keeps its copy
of a descriptor open, the lock outlives even the parent's death (flock(2)). And a Python lock that another
thread of the parent held would stay held in the child for ever. So every object that owns such things is
registered here, and is told in the child, before any code of the user runs there.

This is process-wide state by nature, as `os.register_at_fork` is. No wait in it is for ever: other libraries have hooks and locks too.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from threading import get_ident
from typing import Final, Protocol


class Forgetful(Protocol):
    """An object that owns descriptors or locks which a child must not keep."""

    def forget(self) -> None:
        """Drop them, in the child: close what is open, make every lock anew, wait for nothing."""


class OpensFiles(Forgetful, Protocol):
    """One that opens files.

    `descriptors` is held while a descriptor comes or goes, so that no fork falls between the system call and its being noted. Only for
    that long: a fork never waits for a lock on a file, for a write or for a sync. Re-entrant, because a signal handler may fork while
    its own thread is inside. While forks are `under_way` it waits before it opens (`wait`).
    """

    descriptors: threading.RLock


# An open may hang in the kernel: its file has a lease, or a server that is gone. It has no descriptor yet that a child could share.
_LONGEST_WAIT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.0002

_owners: weakref.WeakSet[Forgetful] = weakref.WeakSet()
# What each thread that forks has taken; it forks within its own fork where a signal handler does.
under_way: Final[dict[int, list[list[threading.RLock]]]] = {}


def register(owner: Forgetful) -> None:
    """Have `owner.forget()` called in every child that is forked while the owner lives."""
    _owners.add(owner)


def owners() -> list[Forgetful]:
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
    taken: list[threading.RLock] = []
    under_way.setdefault(get_ident(), []).append(taken)
    locks = [owner.descriptors for owner in owners() if hasattr(owner, "descriptors")]
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    for lock in sorted(locks, key=id):  # of two threads that fork, neither waits for the other
        taken.append(lock)
        if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
            taken.remove(lock)


def _after_in_parent() -> None:
    try:
        _give_back()
    except BaseException:  # a signal handler's
        _give_back()
        raise


def _give_back() -> None:
    """Let go of what the thread has taken for its innermost fork; done again, it does the rest."""
    mine = under_way[get_ident()]
    while mine[-1]:
        with contextlib.suppress(RuntimeError):  # it was noted, and not taken any more
            mine[-1][-1].release()
        mine[-1].pop()
    if len(mine) > 1:
        mine.pop()
    else:
        del under_way[get_ident()]


def _after_in_child() -> None:
    try:
        _forget()
    except BaseException:  # a signal handler's
        _forget()
        raise


def _forget() -> None:
    under_way.clear()
    for owner in owners():
        try:
            owner.forget()
        except OSError:
            pass  # a network's close that fails has closed all the same (close(2)); the others have locks to forget still


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
