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
import weakref
from typing import Protocol


class Forgetful(Protocol):
    """An object that owns descriptors or locks which a child must not keep."""

    def forget(self) -> None:
        """Drop them, in the child: close what is open, make every lock anew, wait for nothing."""


# Held while a descriptor comes or goes, so that no fork falls between the system call and its being
# noted. Only for that long: a fork never waits for a lock on a file, for a write or for a sync.
# Re-entrant, because a signal handler may fork while its own thread is inside.
descriptors = threading.RLock()

_owners: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def register(owner: Forgetful) -> None:
    """Have `owner.forget()` called in every child that is forked while the owner lives."""
    _owners.add(owner)


def _forget_in_child() -> None:
    for owner in list(_owners):
        owner.forget()
    descriptors.release()


os.register_at_fork(
    before=descriptors.acquire,
    after_in_parent=descriptors.release,
    after_in_child=_forget_in_child,
)
