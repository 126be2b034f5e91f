"""Sealing: how a log's file is put away whole; the next append begins a new one.

It is done by whoever holds the file's lock. The file is renamed while it is locked, so a writer
that waits for this lock finds that the name means another file, or none, and goes back to open the
name anew: whether it knows of rotation or not. What is sealed is never written to again.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from ..fs import calls, filename
from . import recovery
from .rotation import Rotation, seconds
from .segments import Segment, base_of_active

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fs.lock import FileLock


class Rotator:
    """Seals one log's file when it is due.

    Asked with the file's lock held, before anything is written.
    """

    __slots__ = ("_begun", "_max_age", "_max_bytes", "_on_sealed")

    def __init__(self, rotation: Rotation, on_sealed: Callable[[Sealed], None]) -> None:
        """Take when it is due, and whom to tell of what was done.

        That is called with the lock held still.
        """
        self._max_bytes = rotation.max_bytes
        self._max_age = None if rotation.max_age is None else seconds(rotation.max_age)
        self._on_sealed = on_sealed
        self._begun = (-1, 0.0)  # a file's inode number, and when it was begun as far as is known

    def seal_if_due(self, lock: FileLock) -> bool:
        """Seal the locked file if it is due.

        Whether that was done, and the name therefore means no file, or another.
        """
        if lock.size == 0:
            self._begun = (
                lock.inode,
                time.time(),
            )  # its first line comes now, however long it has lain empty
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
        return max(
            self._begun[1], born or 0.0
        )  # its birth, where the number was another file's before


class ByHand:
    """Seals the locked file, whatever its size and age, the first time that it is asked.

    `sealed` is what was done; `error` is the disk's, which may have met another thread than the one
    that wants it sealed.
    """

    def __init__(self) -> None:
        """Nothing was done yet."""
        self.sealed: Sealed | None = None
        self.error: OSError | None = None
        self._is_over = False
        self._mutex = threading.Lock()

    def seal(self, lock: FileLock) -> bool:
        """Seal the locked file, unless that was done already, or given up, or it is empty.

        Whether it was done now.
        """
        with self._mutex:
            if self._is_over or lock.size == 0:
                return False
            self._is_over = True
            try:
                self.sealed = seal(lock)
            except OSError as error:
                self.error = error
                raise
            return self.sealed.segment is not None

    def give_up(self) -> None:
        """Seal nothing from now on; returns when none is under way."""
        with self._mutex:
            self._is_over = True


class Sealed(NamedTuple):
    """What sealing did.

    The segment, if there was a whole line to seal, and how many torn bytes it put aside.
    """

    segment: Segment | None
    torn_bytes: int


def seal(lock: FileLock) -> Sealed:
    """Seal the locked file: mend its tail, sync it, and give it the name of its stretch, durably.

    To be called by the holder of the lock, who has to release it then: the name means no file any
    more. A file without a whole line keeps its name. Killed or failing at any point it leaves the
    file either with its own name or sealed, whole.

    Raises `OSError` when the disk fails, and `FileExistsError` where a file has the segment's name
    already.
    """
    end = recovery.recover_tail(lock.fd, lock.path, 0, lock.size)
    torn_bytes = lock.size - end
    lock.size = end
    if end == 0:
        return Sealed(None, torn_bytes)
    calls.sync_file(lock.fd)  # what was appended without a sync too: nobody will sync it later
    start = base_of_active(lock.path)
    segment = Segment(filename.sealed_path(lock.path, start, start + end), start, start + end, None)
    if not lock.is_for_named_file():
        raise OSError(
            errno.ESTALE, "renamed by another program while it was being sealed", lock.path
        )
    if calls.is_there(segment.path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), segment.path)
    calls.rename(lock.path, segment.path)
    # Before the lock is free. Who comes to the name meanwhile makes a new file, and syncs the
    # directory before its first line as well.
    calls.sync_directory(os.path.dirname(lock.path))
    return Sealed(segment, torn_bytes)
