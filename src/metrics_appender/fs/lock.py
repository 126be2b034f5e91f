"""One holder at a time of the file that has a name: open, lock, check the name.

The lock is flock(2), an advisory lock that the kernel keeps on the open file description and
releases when its last descriptor closes, so the death of a holder frees it. The file itself is
locked, not a file beside it: whoever holds the lock may write, whatever the file was renamed to
meanwhile.

portalocker's `FlockLocker` gives the call. It is imported when the first file is locked, not with
this package: it takes longer than all the rest together.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import threading
from stat import ST_DEV, ST_INO, ST_SIZE
from typing import TYPE_CHECKING, Any, Final

from ..outcome import MAY_BE_WRITTEN, explain
from . import calls, fork

if TYPE_CHECKING:
    from collections.abc import Callable

    # Renames the locked file if it is due; whether it did.
    Seal = Callable[["FileLock"], bool]

TRY: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
WAIT: Final = fcntl.LOCK_EX
_UNLOCK: Final = fcntl.LOCK_UN
_MOST_TRIES: Final = 1000
_NO_FILE: Final = os.stat_result((0,) * 10)


@functools.cache
def load_flock() -> Callable[[Any, int], Any]:
    """Return portalocker's bare flock call; its errors are the operating system's own."""
    from portalocker.portalocker import FlockLocker

    return FlockLocker().locker


class FileLock:
    """The lock of the file at `path`, for one thread at a time.

    Taken anew, by a new open, for each append.

    While it is held, `fd` is the open file, `inode` its number and `size` its size in bytes.
    `seal`, if given, is called with the lock whenever it is taken; where it says that it has
    renamed the file, the lock is taken anew, of the next file.
    """

    __slots__ = (
        "__weakref__",
        "_flock",
        "_opened",
        "_seal",
        "descriptors",
        "fd",
        "inode",
        "is_held",
        "is_wanted",
        "path",
        "size",
    )

    def __init__(self, path: str, seal: Seal | None = None) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._seal = seal
        self.fd = -1
        self.size = 0
        self.inode = 0
        self.is_held = False
        self.is_wanted = _always  # asked before a file is made anew
        self._opened = _NO_FILE  # what fstat says of `fd`
        self._flock = load_flock()
        self.descriptors = threading.RLock()  # see `fork.OpensFiles`
        fork.register(self)

    def open(self) -> None:
        """Open the file, as `acquire` does where it is not open yet."""
        if fork.under_way:
            fork.wait()
        descriptors = self.descriptors
        with descriptors:
            self.fd = fd = calls.open(self.path, calls.APPEND, calls.MODE)
        if (
            self.descriptors is not descriptors
        ):  # a signal handler forked in between, and this is the child
            self.reset_after_fork()
            raise self.error_of_child()
        # Before the lock: which file it is does not change, and others wait once the lock is taken.
        self._opened = calls.stat_open(fd)

    def acquire(self, how: int) -> bool:
        """Take the lock, of the file that is open already if one is.

        The file is made if it is not there.

        With `WAIT`, in the kernel's queue and for as long as it takes; `False` where the file has
        lost its name meanwhile, and the next one is not wanted any more. With `TRY`, `False` at
        once when another holds the lock; the file stays open then.
        """
        tries = 0
        while True:
            if self.fd < 0:
                self.open()
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
            inode = named[ST_INO]
            # Does the file still have the name? It may have been rotated before the lock was taken.
            if inode == opened[ST_INO] and named[ST_DEV] == opened[ST_DEV]:
                self.inode = inode
                self.size = named[ST_SIZE]
                if self._seal is None or not self._seal(self):
                    return True
            self.release()
            if not self.is_wanted():
                return False
            tries += 1
            if tries == _MOST_TRIES:
                raise OSError(
                    errno.ESTALE,
                    f"{os.strerror(errno.ESTALE)}: replaced {tries} times while it was being locked",
                    self.path,
                )

    def opened(self) -> tuple[int, int]:
        """Return the device and the inode of the open file, the last one if none is."""
        return self._opened[ST_DEV], self._opened[ST_INO]

    def hand_over(self, other: FileLock) -> None:
        """Give the open file to another lock of the same path, which has none."""
        other._opened = self._opened
        with self.descriptors:
            other.fd, self.fd = self.fd, -1

    def error_of_child(self) -> OSError:
        """Return what to raise in a child that a signal handler forked in the middle of an append."""
        return OSError(
            errno.EBADF, "forked in the middle of an append; the parent goes on with it", self.path
        )

    def is_for_named_file(self) -> bool:
        """Whether the open file is the one that has the name.

        To be asked by another thread while this one waits.
        """
        try:
            opened = calls.stat_open(self.fd)
            named = calls.stat_named(self.path)
        except OSError:
            return False
        return os.path.samestat(opened, named)

    def unlock(self) -> None:
        """Let others have the lock; the file stays open, to be synced by who wrote to it."""
        self.is_held = False
        self._flock(self.fd, _UNLOCK)

    def release(self) -> None:
        """Release and close; nothing happens when nothing is open.

        Unlocked before the close: where a child made without `os.fork`'s hooks still shares the
        descriptor, closing alone would not free the lock. An `OSError` leaves the file closed, and
        says that a line may be in it.
        """
        if self.fd < 0:
            return
        try:
            try:
                if self.is_held:
                    self.unlock()
            finally:
                with self.descriptors:
                    fd, self.fd = self.fd, -1
                    calls.close(fd)
        except OSError as error:
            raise explain(error, self.path, MAY_BE_WRITTEN) from None

    def reset_after_fork(self) -> None:
        """In a forked child: close the copy of the descriptor.

        Not unlock, which would unlock the parent's.
        """
        self.descriptors = threading.RLock()
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            calls.close(fd)


def _always() -> bool:
    return True


def is_free(fd: int) -> bool:
    """Whether nobody holds the lock of an open file at this moment, a writer in the middle of a line that is; nothing stays locked."""
    flock = load_flock()
    try:
        flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    flock(fd, _UNLOCK)
    return True
