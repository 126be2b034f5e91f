"""One pass of joined appends under the lock: mend, write, sync; what fails is taken back."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from . import disk, tail
from .errors import MAY_BE_WRITTEN, NOTHING_WRITTEN, add_outcome, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .file_lock import FileLock

# What is synced is written in pieces of at most so many bytes, each synced before the next: as far back as a look for what a
# power cut left goes (see `tail`).
_PIECE_BYTES: Final = tail.LOOK_BACK_BYTES


class WritePass:
    """Steps 4 to 6 of an append, once for all the lines that met; called by the holder of the file's lock.

    `durability` says when there is a sync: `"fsync"` before the lock is free, `"group"` after, `"os"` never. `note_mended` is
    told how many torn bytes were put aside.
    """

    __slots__ = ("_end", "_inode", "_is_durable", "_is_grouped", "_is_synced", "_note_mended", "_path")

    def __init__(self, path: str, durability: str, note_mended: Callable[[int], None]) -> None:
        """Name the file; nothing is done yet."""
        self._path = path
        self._is_synced = durability == "fsync"
        self._is_grouped = durability == "group"
        self._is_durable = self._is_synced or self._is_grouped
        self._note_mended = note_mended
        # Where the last pass ended, and in which file if all went well: while that is still its end, its tail is whole.
        self._end = self._inode = -1

    def __call__(self, lock: FileLock, lines: Sequence[bytes], /) -> Sequence[OSError | None]:
        """Mend, write, sync.

        Returns each line's error, or nothing when all are well. What it raises concerns all of them.
        """
        end = lock.size
        known = self._end if lock.inode == self._inode else 0
        self._inode = -1  # until all has gone well: what was not synced may be gone, or NULs, when a disk that failed comes back
        if end == 0:
            self._sync_name(lock.fd)
        elif end != known:  # somebody else wrote since
            end = self._mend(lock.fd, known, end)
        # `lock.fd`, each time: a signal handler may fork in between, and then it is -1 in the child.
        try:
            errors: Sequence[OSError | None] = ()
            if len(lines) == 1:
                written = self._write_whole(lock.fd, lines[0])
            else:
                errors, written = self._write_together(lock.fd, end, lines)
            if self._is_synced:
                disk.sync_file(lock.fd)
            if lock.fd < 0:
                raise lock.error_of_child()
        except BaseException as error:
            self._take_back(lock, end, error)
            raise
        self._end = lock.size = end + written
        if self._is_grouped:
            self._sync_after_release(lock)
        self._inode = lock.inode
        return errors

    def _sync_after_release(self, lock: FileLock) -> None:
        """Let others write while these lines are synced: their sync and ours become one flush of the file system's journal."""
        try:
            lock.unlock()
            disk.sync_file(lock.fd)
        except BaseException as error:  # others may have written behind these lines: they cannot be taken back any more
            self._note_outcome(error, MAY_BE_WRITTEN)
            raise

    def _mend(self, fd: int, known: int, size: int) -> int:
        """Put aside what a writer that died, or a power cut, left unfinished; return where the file ends then."""
        end = tail.mend(fd, self._path, known, size)
        if end != size:
            self._note_mended(size - end)
        return end

    def _sync_name(self, fd: int) -> None:
        """Make a new file's name durable before its first line, so that a file with lines never lacks one."""
        if not disk.is_regular(fd):
            raise OSError(errno.EINVAL, "not a regular file", self._path)
        disk.sync_directory(os.path.dirname(self._path))

    def _write_together(self, fd: int, end: int, lines: Sequence[bytes]) -> tuple[Sequence[OSError | None], int]:
        """Write all lines at once; where that fails, each by itself, so that the error reaches whom it concerns.

        Returns each line's error (nothing when all are well), and how many bytes are written.
        """
        try:
            return (), disk.write_all(fd, b"".join(lines))
        except OSError:
            disk.cut_back(fd, end)
        errors: list[OSError | None] = []
        written = 0
        for line in lines:
            try:
                written += self._write_whole(fd, line)
            except OSError as error:
                disk.cut_back(fd, end + written)
                errors.append(explain(error, self._path, NOTHING_WRITTEN))
            else:
                errors.append(None)
        return errors, written

    def _write_whole(self, fd: int, data: bytes) -> int:
        """Write all of `data`, in one call unless it is large, and return its length."""
        if len(data) <= _PIECE_BYTES or not self._is_durable:
            return disk.write_all(fd, data)
        written = 0
        while written < len(data):
            if written:
                disk.sync_file(fd)
            written += disk.write_all(fd, memoryview(data)[written : written + _PIECE_BYTES])
        return written

    def _take_back(self, lock: FileLock, end: int, error: BaseException) -> None:
        """Cut the file back to where it ended before this pass, and note on the error what became of the lines."""
        outcome = NOTHING_WRITTEN
        try:
            disk.cut_back(lock.fd, end)
        except OSError:
            outcome = MAY_BE_WRITTEN
        self._note_outcome(error, outcome)

    def _note_outcome(self, error: BaseException, outcome: str) -> None:
        if isinstance(error, OSError):
            explain(error, self._path, outcome)
        else:
            add_outcome(error, self._path, outcome)
