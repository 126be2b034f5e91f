"""What happens under the lock: recover the tail, write the lines, sync them; or take them back."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from ..fs import calls
from ..outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN, add_outcome, explain, is_system_failure
from ..segment import recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..fs.lock import FileLock
    from .durability import Level

# What is synced is written in pieces of at most so many bytes, each synced before the next, since
# recovery looks no further back for what a power cut left.
_PIECE_BYTES: Final = recovery.LOOK_BACK_BYTES


class BatchWriter:
    """Steps 4 to 6 of an append, for the holder of the file's lock.

    `note_torn` is told how many torn bytes were quarantined. Not called twice at once.
    """

    def __init__(self, path: str, level: Level, note_torn: Callable[[int], object]) -> None:
        self._path = path
        self._level = level
        self._note_torn = note_torn
        # Where the last batch ended, and in which file if all went well: while that is still the
        # end of that file, its tail is whole.
        self._end = self._inode = -1
        self._is_syncing = False

    def write(self, lock: FileLock, lines: Sequence[bytes]) -> Sequence[OSError | None]:
        """Recover the tail, write the lines at once, sync them; see `commit_queue.Write`.

        With the durability "group" the lock is released before the sync: others write meanwhile,
        and their sync and this one become one flush of the file system's journal.
        """
        end = self.recover(lock)
        inode = lock.inode
        # Until all has gone well: what was not synced may be gone, or NULs, when a disk that failed
        # comes back.
        self._inode = -1
        errors: Sequence[OSError | None] = ()
        # `lock.fd`, each time: a signal handler may fork in between, and then it is -1 in the child.
        try:
            try:
                block = lines[0] if len(lines) == 1 else b"".join(lines)
                written = len(block)
                # All of it, in the ordinary case.
                begun = calls.write(lock.fd, block) if written <= _PIECE_BYTES else 0
                if begun != written:
                    self._write_rest(lock, block, begun)
            except OSError as error:
                errors, written = self._write_each(lock, end, lines, error)
            if self._level.syncs_locked:
                self._sync(lock)
            if lock.fd < 0:
                raise lock.error_of_child()
            self._end = lock.size = end + written
            if self._level.syncs_unlocked:
                lock.unlock()
                self._sync(lock)
        except BaseException as error:
            self._roll_back(lock, end, error)
            raise
        self._inode = inode
        return errors

    def recover(self, lock: FileLock) -> int:
        """See to what was there before; return the offset where the next line begins.

        A new file's name is made durable before its first line, so that a file with lines never
        lacks one. Where another process wrote since the last batch, it may have died in the middle.
        """
        self._is_syncing = False
        known = self._end if lock.inode == self._inode else 0
        end = size = lock.size
        if size == known and size:
            return size
        try:
            if size == 0:
                calls.require_regular(lock.fd, self._path)
                calls.sync_directory(os.path.dirname(self._path))
                return 0
            end = recovery.recover_tail(lock.fd, self._path, known, size)
        except BaseException as error:
            add_outcome(error, self._path, NOTHING_WRITTEN)
            raise
        if end != size:
            lock.size = end
            self._note_torn(size - end)
        return end

    def _sync(self, lock: FileLock) -> None:
        self._is_syncing = True
        calls.sync_file(lock.fd)
        self._is_syncing = False

    def _write_rest(self, lock: FileLock, data: bytes, written: int) -> None:
        """Write what is not written yet of `data`."""
        if written == 0 and self._level.is_durable:
            for start in range(0, len(data), _PIECE_BYTES):
                if start:
                    self._sync(lock)
                calls.write_all(lock.fd, memoryview(data)[start : start + _PIECE_BYTES])
        else:
            calls.write_all(lock.fd, memoryview(data)[written:])

    def _write_each(
        self, lock: FileLock, end: int, lines: Sequence[bytes], failure: OSError
    ) -> tuple[list[OSError | None], int]:
        """Write each line by itself, so that an error reaches the caller whom it concerns.

        Returns each line's error, and how many bytes are written. Raises the failure itself where
        it was one line's, or a signal handler's.
        """
        if len(lines) == 1 or not is_system_failure(failure, self._path):
            raise failure
        self._cut_back(lock, end, failure)
        errors: list[OSError | None] = []
        written = 0
        for line in lines:
            try:
                self._write_rest(lock, line, 0)
            except OSError as error:
                if not is_system_failure(error, self._path):
                    raise
                self._cut_back(lock, end + written, error)
                errors.append(explain(error, self._path, NOTHING_WRITTEN))
            else:
                written += len(line)
                errors.append(None)
        return errors, written

    def _roll_back(self, lock: FileLock, end: int, error: BaseException) -> None:
        """Cut the file back to where it ended before, and note what became of the lines.

        Not once the lock is released: other processes may have written behind them. Where a second
        signal comes in between, the lines stay, and the error says that they may.
        """
        outcome = MAY_BE_WRITTEN
        if lock.is_held:
            with contextlib.suppress(OSError):
                calls.cut_back(lock.fd, end)
                outcome = NOTHING_WRITTEN
                self._sync_cut(lock, error)
        if isinstance(error, OSError):
            explain(error, self._path, outcome)
        else:
            add_outcome(error, self._path, outcome)

    def _cut_back(self, lock: FileLock, end: int, error: BaseException) -> None:
        calls.cut_back(lock.fd, end)
        self._sync_cut(lock, error)

    def _sync_cut(self, lock: FileLock, error: BaseException) -> None:
        """Make a cut durable: a power cut could mix the next line with what was cut off.

        Not when the error is a sync's: a sync that failed is never tried again.
        """
        is_sync_failure = self._is_syncing and is_system_failure(error, self._path)
        if self._level.is_durable and not is_sync_failure:
            self._sync(lock)
