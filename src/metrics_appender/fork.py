"""What a child of fork must forget: the descriptors and the locks of its parent's appends.

A child shares its parent's open files, and with them the parent's flock: while the child keeps its copy
of a descriptor open, the lock outlives even the parent's death (flock(2)). And a Python lock that another
thread of the parent held would stay held in the child for ever. So every object that owns such things is
registered here, and is told in the child, before any code of the user runs there.

This is process-wide state by nature, as `os.register_at_fork` is.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Final, Protocol


class Forgetful(Protocol):
    """An object that owns descriptors or locks which a child must not keep."""

    def forget(self) -> None:
        """Drop them, in the child: close what is open, make every lock anew, wait for nothing."""


# An open may hang in the kernel: its file has a lease, or a server that is gone. It has no descriptor yet that a child could share.
_LONGEST_WAIT_SECONDS: Final = 1.0

# Held over an import that comes late: the child would find the module half imported, and its lock held by a thread that is not there.
undivided: Final = threading.RLock()

_owners: weakref.WeakSet[Forgetful] = weakref.WeakSet()
_descriptors: weakref.WeakValueDictionary[str, threading.RLock] = weakref.WeakValueDictionary()
_taken: list[list[threading.RLock]] = []  # by the forks under way, one within the other where a signal handler forks


def register(owner: Forgetful) -> None:
    """Have `owner.forget()` called in every child that is forked while the owner lives."""
    _owners.add(owner)


def owners() -> list[Forgetful]:
    """Return all who are registered, and live."""
    return list(_owners)


def descriptors_of(path: str) -> threading.RLock:
    """Return what to hold while a descriptor of this file comes or goes, so that no fork falls between the system call and its being noted.

    Only for that long: a fork never waits for a lock on a file, for a write or for a sync. A file has one of its own, or an open that
    hangs would hold up all. Re-entrant, because a signal handler may fork while its own thread is inside. To be asked for anew in a child.
    """
    with undivided:
        lock = _descriptors.get(path)
        if lock is None:
            lock = _descriptors[path] = threading.RLock()
        return lock


def _before() -> None:
    taken: list[threading.RLock] = []
    _taken.append(taken)
    undivided.acquire()
    end = time.monotonic() + _LONGEST_WAIT_SECONDS
    taken.extend(lock for lock in list(_descriptors.values()) if lock.acquire(timeout=max(0.0, end - time.monotonic())))


def _after_in_parent() -> None:
    try:
        for lock in _taken.pop():
            lock.release()
    finally:
        undivided.release()


def _after_in_child() -> None:
    try:
        _taken.clear()
        _descriptors.clear()
        for owner in owners():
            try:
                owner.forget()
            except OSError:
                pass  # a network's close that fails has closed all the same (close(2)); the others have locks to forget still
    finally:
        undivided.release()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
