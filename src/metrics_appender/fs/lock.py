"""One holder at a time of the file that has a name: open, lock, check the name.

The lock is flock(2), an advisory lock that the kernel keeps on the open file description and
releases when its last descriptor closes, so the death of a holder frees it. The target file itself
is locked, not a file beside it: its holder may write, whatever the file was renamed to meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import threading
from contextlib import suppress
from stat import ST_DEV, ST_INO, ST_SIZE
from typing import TYPE_CHECKING, Any, Final

from ..outcome import MAY_BE_WRITTEN, explain
from . import calls, fork

if TYPE_CHECKING:
    from collections.abc import Callable

TRY: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
WAIT: Final = fcntl.LOCK_EX
_NO_FILE: Final = os.stat_result((0,) * 10)


@functools.cache
def load_flock() -> Callable[[Any, int], Any]:
    """Return portalocker's bare flock call; its errors are the operating system's own."""
    from portalocker.portalocker import FlockLocker  # its import takes longer than this package's

    return FlockLocker().locker


class FileLock:
    """The lock of the file at `path`, for one thread at a time; each append opens the file anew.

    While it is held, `fd` is the open file, `inode` its number and `size` its size in bytes.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.size = self.inode = 0
        self.is_held = False
        self._opened = _NO_FILE  # what fstat(2) says of `fd`
        self._flock = load_flock()
        self.descriptors = threading.RLock()  # see `fork.OwnsForkState`
        fork.register(self)

    def acquire(self, how: int) -> bool:
        """Lock the file that has the name; it is made if it is not there.

        With `WAIT`, in the kernel's queue, for as long as it takes. With `TRY`, returns `False` at
        once where another open file holds the lock; the file stays open then.
        """
        for _ in range(1000):
            if self.attempt(how):
                return True
            if self.fd >= 0:
                return False
        reason = f"{os.strerror(errno.ESTALE)}: replaced 1000 times while it was being locked"
        raise OSError(errno.ESTALE, reason, self.path)

    def attempt(self, how: int) -> bool:
        """Lock the file that is open, or opened now; return whether it is locked, with its name.

        A file whose lock is held elsewhere stays open; one that has lost its name is closed.
        """
        if self.fd < 0:
            if fork.under_way:
                fork.wait()
            descriptors = self.descriptors
            with descriptors:
                self.fd = calls.open(self.path, calls.APPEND, calls.MODE)
            if self.descriptors is not descriptors:
                # A signal handler forked in between, and this is the child.
                self.reset_after_fork()
                raise self.error_of_child()
            # Which file it is does not change, so this is asked before others wait for the lock.
            self._opened = calls.stat_open(self.fd)
        opened = self._opened
        try:
            self._flock(self.fd, how)
        except BlockingIOError:
            return False
        self.is_held = True
        try:
            named = calls.stat_named(self.path)
        except FileNotFoundError:
            named = _NO_FILE
        self.inode, self.size = named[ST_INO], named[ST_SIZE]
        if self.inode == opened[ST_INO] and named[ST_DEV] == opened[ST_DEV]:
            return True
        self.release()
        return False

    def file_id(self) -> tuple[int, int]:
        """Return device and inode number of the open file; of the last one if none is."""
        return self._opened[ST_DEV], self._opened[ST_INO]

    def error_of_child(self) -> OSError:
        """Return what to raise in a child that a handler forked in the middle of an append."""
        return OSError(errno.EBADF, "forked in mid-append; the parent goes on with it", self.path)

    def is_for_named_file(self) -> bool:
        """Return whether the open file has the name; other threads may ask while one waits."""
        with suppress(OSError):
            return os.path.samestat(calls.stat_open(self.fd), calls.stat_named(self.path))
        return False

    def unlock(self) -> None:
        """Let others have the lock; the file stays open, to be synced by the thread that wrote."""
        self.is_held = False
        self._flock(self.fd, fcntl.LOCK_UN)

    def release(self) -> None:
        """Unlock and close what is open; after an `OSError` it is closed too."""
        if self.fd < 0:
            return
        try:
            try:
                if self.is_held:
                    self.unlock()  # a child that was made without hooks may share the open file
            finally:
                with self.descriptors:
                    fd, self.fd = self.fd, -1
                    calls.close(fd)
        except OSError as error:
            raise explain(error, self.path, MAY_BE_WRITTEN) from None

    def reset_after_fork(self) -> None:
        """Close the child's copy of the descriptor; unlocking it would unlock the parent's too."""
        self.descriptors = threading.RLock()
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            calls.close(fd)


def is_free(fd: int) -> bool:
    """Return whether the lock is free right now, that is, no writer is in mid-line."""
    try:
        load_flock()(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    load_flock()(fd, fcntl.LOCK_UN)
    return True
