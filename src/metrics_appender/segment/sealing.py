"""Sealing: a log's file is put away whole, and the next append begins a new one.

The holder of the file's lock does it. The file is renamed while it is locked, so that a writer that
waits for this lock finds that the name means another file, or none, and opens the name anew, whether
it knows of rotation or not. A sealed file is never written to again.
"""

from __future__ import annotations

import errno
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
    """What sealing did: the segment, if there was a whole line, and the torn bytes it quarantined."""

    segment: Segment | None
    torn_bytes: int


class Rotator:
    """Seals one log's file when that is due; asked with the lock held, before a write."""

    __slots__ = ("_begun", "_max_age", "_max_bytes", "_on_sealed")

    def __init__(self, rotation: Rotation, on_sealed: Callable[[Sealed], object]) -> None:
        """Take when it is due, and what to call, with the lock still held, once it is done."""
        self._max_bytes = rotation.max_bytes
        self._max_age = None if rotation.max_age is None else seconds(rotation.max_age)
        self._on_sealed = on_sealed
        self._begun = (-1, 0.0)  # a file's inode number, and when it was begun as far as is known

    def seal_if_due(self, lock: FileLock) -> bool:
        """Seal the locked file if that is due; whether the name means no file, or another, now."""
        if lock.size == 0:
            # Its first line comes now, however long it has lain empty.
            self._begun = (lock.inode, time.time())
            return False
        if not self._is_due(lock):
            return False
        sealed = seal(lock)
        self._on_sealed(sealed)
        return sealed.segment is not None

    def _is_due(self, lock: FileLock) -> bool:
        if self._max_bytes is not None and lock.size >= self._max_bytes:
            return True
        return self._max_age is not None and time.time() - self._begun_at(lock) >= self._max_age

    def _begun_at(self, lock: FileLock) -> float:
        born = calls.born_at(lock.fd)
        if self._begun[0] != lock.inode:
            self._begun = (lock.inode, time.time() if born is None else born)
        # Its birth, where the number was another file's before.
        return max(self._begun[1], born or 0.0)


def seal(lock: FileLock) -> Sealed:
    """Seal the locked file: recover its tail, sync it, and rename it by its range, durably.

    The holder of the lock calls this, and releases it then: the name means no file any more. A file
    without a whole line keeps its name. Killed or failing at any point, it leaves the file either
    with its own name or sealed, whole.

    Raises `OSError` when the disk fails, and `FileExistsError` where a file has the segment's name.
    """
    if lock.size == 0:
        calls.require_regular(lock.fd, lock.path)  # a pipe has no lines either
        return Sealed(None, 0)
    end = recovery.recover_tail(lock.fd, lock.path, 0, lock.size)
    torn_bytes = lock.size - end
    lock.size = end
    if end == 0:
        return Sealed(None, torn_bytes)
    # What was appended without a sync too: nobody will sync it later.
    calls.sync_file(lock.fd)
    start = base_of_active(lock.path)
    path = filename.sealed_path(lock.path, start, start + end)
    segment = Segment(path, start, start + end, None)
    if not lock.is_for_named_file():
        reason = "renamed by another program while it was being sealed"
        raise OSError(errno.ESTALE, reason, lock.path)
    if calls.is_there(segment.path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), segment.path)
    calls.rename(lock.path, segment.path)
    # Before the lock is released. A writer that comes to the name meanwhile makes a new file, and
    # syncs the directory before its first line as well.
    calls.sync_directory(os.path.dirname(lock.path))
    return Sealed(segment, torn_bytes)
