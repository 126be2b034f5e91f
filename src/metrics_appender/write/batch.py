"""What happens under the lock: recover the tail, write the lines, sync them; or take them back."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..fs import calls
from ..outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN, add_outcome, explain, is_system_failure
from ..segment.recovery import LOOK_BACK_BYTES, recover_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..fs.lock import FileLock
    from .durability import Level


class BatchWriter:
    """Steps 4 to 6 of an append (README.md), for the holder of the file's lock."""

    def __init__(self, path: str, level: Level, note_torn: Callable[[int], object]) -> None:
        self._path = path
        self._level = level
        self._note_torn = note_torn  # is called with the number of torn bytes that were quarantined
        # Where the last batch ended, and in which file if all went well: while that is still the
        # end of that file, its tail is whole.
        self._end = self._inode = -1
        self._is_syncing = False

    def write(
        self, lock: FileLock, lines: Sequence[bytes], *, is_recovered: bool = False
    ) -> Sequence[OSError | None]:
        """Recover the tail, write the lines at once, sync them; see `commit_queue.Write`.

        `is_recovered`: a task has called `recover` under the same lock, and it is not done twice.
        """
        end = lock.size if is_recovered else self.recover(lock)
        inode = lock.inode
        # Until all has gone well: when a disk that failed comes back, what was not synced may be
        # gone, or NULs.
        self._inode = -1
        errors: Sequence[OSError | None] = ()
        # `lock.fd`, each time: it is -1 in a child that a signal handler forked in between.
        try:
            try:
                block = lines[0] if len(lines) == 1 else b"".join(lines)
                size = len(block)
                written = calls.write(lock.fd, block) if size <= LOOK_BACK_BYTES else 0
                if written != size:
                    self._write_pieces(lock, memoryview(block)[written:])
            except OSError as error:
                errors, size = self._write_each(lock, end, lines, error)
            if self._level.syncs_locked:
                self._sync(lock)
            if lock.fd < 0:
                raise lock.error_of_child()
            self._end = lock.size = end + size
            if self._level.syncs_unlocked:
                # Others write meanwhile; their syncs and this one become one flush of the journal.
                lock.unlock()
                self._sync(lock)
        except BaseException as error:
            self._roll_back(lock, end, error)
            raise
        self._inode = inode
        return errors

    def recover(self, lock: FileLock) -> int:
        """Quarantine what a dead writer left; return the offset where the next line begins."""
        self._is_syncing = False
        known = self._end if lock.inode == self._inode else 0
        end = size = lock.size
        if size == known and size:
            return size
        try:
            if size:
                end = recover_tail(lock.fd, self._path, known, size)
            else:
                calls.require_regular(lock.fd, self._path)
                calls.sync_directory(os.path.dirname(self._path))  # the name comes before lines
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

    def _write_pieces(self, lock: FileLock, data: memoryview) -> None:
        """Write as much at once as recovery looks back for what a power cut left; sync between."""
        step = LOOK_BACK_BYTES if self._level.is_durable else len(data)
        for start in range(0, len(data), step):
            if start:
                self._sync(lock)
            calls.write_all(lock.fd, data[start : start + step])

    def _write_each(
        self, lock: FileLock, end: int, lines: Sequence[bytes], failure: OSError
    ) -> tuple[list[OSError | None], int]:
        """Write each line by itself, since the failure may concern one alone.

        Returns each line's error, and how many bytes are written.
        """
        if len(lines) == 1 or not is_system_failure(failure, self._path):
            raise failure
        calls.cut_back(lock.fd, end)
        self._sync_cut(lock, failure)
        errors: list[OSError | None] = []
        written = 0
        for line in lines:
            try:
                self._write_pieces(lock, memoryview(line))
            except OSError as error:
                if not is_system_failure(error, self._path):
                    raise
                calls.cut_back(lock.fd, end + written)
                self._sync_cut(lock, error)
                errors.append(explain(error, self._path, NOTHING_WRITTEN))
            else:
                written += len(line)
                errors.append(None)
        return errors, written

    def _roll_back(self, lock: FileLock, end: int, error: BaseException) -> None:
        """Cut the file back to where it ended before, and note what became of the lines."""
        outcome = MAY_BE_WRITTEN
        if lock.is_held:  # else other processes may have written behind them
            with suppress(OSError):
                calls.cut_back(lock.fd, end)
                outcome = NOTHING_WRITTEN
                self._sync_cut(lock, error)
        if isinstance(error, OSError):
            explain(error, self._path, outcome)
        else:
            add_outcome(error, self._path, outcome)

    def _sync_cut(self, lock: FileLock, error: BaseException) -> None:
        """Make a cut durable: a power cut could mix the next line with what was cut off."""
        is_sync_failure = self._is_syncing and is_system_failure(error, self._path)
        if self._level.is_durable and not is_sync_failure:  # a sync is never tried again
            self._sync(lock)
