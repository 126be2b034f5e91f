"""Sealing: a log's file is put away whole, and the next append begins a new one.

The file is renamed while it is locked, so that a writer that waits for the lock, whether it knows
of rotation or not, finds that the name means another file, or none, and opens the name anew. A
sealed file is never written to again.
"""

from __future__ import annotations

import errno
import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from ..fs import calls, filename
from . import recovery
from .rotation import Rotation, seconds
from .segments import Segment, base_of_active

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fs.lock import FileLock


class Sealed(NamedTuple):
    """What sealing did: the segment, if there was a whole line, and how much was quarantined."""

    segment: Segment | None
    torn_bytes: int


class Rotator:
    """Seals one log's file when that is due, and then calls `on_sealed`, with the lock held."""

    def __init__(self, rotation: Rotation, on_sealed: Callable[[Sealed], object]) -> None:
        self._max_bytes = rotation.max_bytes or math.inf
        self._max_age = None if rotation.max_age is None else seconds(rotation.max_age)
        self._on_sealed = on_sealed
        self._begun = (-1, 0.0)  # a file's inode number, and when it was begun as far as is known

    def seal_if_due(self, lock: FileLock) -> bool:
        """Seal the locked file if that is due; return whether it lost its name."""
        if lock.size == 0:
            self._begun = (lock.inode, time.time())  # its first line comes now
        elif lock.size >= self._max_bytes or self._is_too_old(lock):
            sealed = seal(lock)
            self._on_sealed(sealed)
            return sealed.segment is not None
        return False

    def _is_too_old(self, lock: FileLock) -> bool:
        if self._max_age is None:
            return False
        now = time.time()
        born = calls.born_at(lock.fd)
        if self._begun[0] != lock.inode:
            self._begun = (lock.inode, now if born is None else born)
        # The birth counts where the inode number was another file's before.
        return now - max(self._begun[1], born or 0.0) >= self._max_age


def seal(lock: FileLock) -> Sealed:
    """Seal the locked file: recover its tail, sync it, and rename it by its range, durably.

    The holder of the lock calls this, and then releases it: the name means no file any more. A file
    without a whole line keeps its name. Killed, or failing with an `OSError` (`FileExistsError`
    where a file has the segment's name), it leaves the file with its own name or sealed, whole.
    """
    path = lock.path
    if lock.size == 0:
        calls.require_regular(lock.fd, path)  # a pipe has no lines either
        return Sealed(None, 0)
    end = recovery.recover_tail(lock.fd, path, 0, lock.size)
    torn_bytes = lock.size - end
    lock.size = end
    if end == 0:
        return Sealed(None, torn_bytes)
    calls.sync_file(lock.fd)  # for what was appended without a sync: no other one comes
    start = base_of_active(path)
    sealed_path = filename.sealed_path(path, start, start + end)
    if not lock.is_for_named_file():
        raise OSError(errno.ESTALE, "renamed by another program while it was being sealed", path)
    if calls.is_there(sealed_path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), sealed_path)
    calls.rename(path, sealed_path)
    # Before the lock is released. A writer that comes to the name meanwhile makes a new file, and
    # syncs the directory before its first line as well.
    calls.sync_directory(os.path.dirname(path))
    return Sealed(Segment(sealed_path, start, start + end, None), torn_bytes)
