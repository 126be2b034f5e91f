"""One pass of joined appends under the lock: mend, write, sync; what fails is taken back."""

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

# What is synced is written in pieces of at most so many bytes, each synced before the next: as far
# back as a look for what a power cut left goes (see `tail`).
_PIECE_BYTES: Final = recovery.LOOK_BACK_BYTES


class WritePass:
    """Steps 4 to 6 of an append, once for all the lines that met.

    Called by the holder of the file's lock.

    `durability` says when there is a sync: `"fsync"` before the lock is free, `"group"` after,
    `"os"` never. `note_mended` is told how many torn bytes were put aside.
    """

    __slots__ = (
        "_end",
        "_inode",
        "_is_durable",
        "_is_grouped",
        "_is_synced",
        "_is_syncing",
        "_note_mended",
        "_path",
    )

    def __init__(self, path: str, durability: str, note_mended: Callable[[int], None]) -> None:
        """Name the file; nothing is done yet."""
        self._path = path
        self._is_synced = durability == "fsync"
        self._is_grouped = durability == "group"
        self._is_durable = self._is_synced or self._is_grouped
        self._note_mended = note_mended
        # Where the last pass ended, and in which file if all went well: while that is still its
        # end, its tail is whole.
        self._end = self._inode = -1
        self._is_syncing = False

    def run(
        self, lock: FileLock, block: bytes, lines: Sequence[bytes] = (), /
    ) -> Sequence[OSError | None]:
        """Mend, write, sync.

        `lines` are what is joined in the block, where it is more than one. Returns each one's
        error, or nothing when all are well. What it raises concerns all of them.
        """
        end = lock.size
        inode = lock.inode
        known = self._end if inode == self._inode else 0
        self._is_syncing = False
        # Until all has gone well: what was not synced may be gone, or NULs, when a disk that failed
        # comes back.
        self._inode = -1
        if end != known or end == 0:
            end = self._prepare(lock, known)
        errors: Sequence[OSError | None] = ()
        # `lock.fd`, each time: a signal handler may fork in between, and then it is -1 in the
        # child.
        try:
            try:
                written = len(block)
                begun = (
                    calls.write(lock.fd, block) if written <= _PIECE_BYTES else 0
                )  # all of it, in the ordinary case
                if begun != written:
                    self._write_rest(lock, block, begun)
            except OSError as error:
                errors, written = self._write_each(lock, end, lines, error)
            if self._is_synced:
                self._sync(lock)
            if lock.fd < 0:
                raise lock.error_of_child()
            self._end = lock.size = end + written
            if self._is_grouped:
                # Others write while these lines are synced: their sync and this one become one
                # flush of the file system's journal.
                lock.unlock()
                self._sync(lock)
        except BaseException as error:
            try:
                self._take_back(lock, end, error)
            except (
                BaseException
            ) as later:  # a second signal's, which may have come before its first step
                self._take_back(lock, end, later)
                raise
            raise
        self._inode = inode
        return errors

    def _prepare(self, lock: FileLock, known: int) -> int:
        """See to what was there before, and return where the lines begin.

        A new file's name is made durable before its first line, so that a file with lines never
        lacks one. Where somebody else wrote since the last pass, that one may have died in the
        middle of it.
        """
        try:
            if lock.size == 0:
                calls.require_regular(lock.fd, self._path)
                calls.sync_directory(os.path.dirname(self._path))
                return 0
            end = recovery.recover_tail(lock.fd, self._path, known, lock.size)
            if end != lock.size:
                self._note_mended(lock.size - end)
        except BaseException as error:
            add_outcome(error, self._path, NOTHING_WRITTEN)
            raise
        return end

    def _sync(self, lock: FileLock) -> None:
        self._is_syncing = True
        calls.sync_file(lock.fd)
        self._is_syncing = False

    def _write_rest(self, lock: FileLock, data: bytes, written: int) -> None:
        """Write what is not written yet of `data`."""
        if written == 0 and self._is_durable:
            for start in range(0, len(data), _PIECE_BYTES):
                if start:
                    self._sync(lock)
                calls.write_all(lock.fd, memoryview(data)[start : start + _PIECE_BYTES])
        else:
            calls.write_all(lock.fd, memoryview(data)[written:])

    def _write_each(
        self, lock: FileLock, end: int, lines: Sequence[bytes], failure: OSError
    ) -> tuple[list[OSError | None], int]:
        """Write each line by itself, where that failed together.

        That the error reaches whom it concerns.

        Returns each line's error, and how many bytes are written. Raises the failure itself where
        it was one line, or a signal handler's.
        """
        if not lines or not is_system_failure(failure, self._path):
            raise failure
        calls.cut_back(lock.fd, end)
        self._sync_cut(lock, failure)
        errors: list[OSError | None] = []
        written = 0
        for line in lines:
            try:
                self._write_rest(lock, line, 0)
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

    def _take_back(self, lock: FileLock, end: int, error: BaseException) -> None:
        """Cut the file back to where it ended before this pass.

        Note on the error what became of the lines.

        Not once the lock is free: others may have written behind them.
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

    def _sync_cut(self, lock: FileLock, error: BaseException) -> None:
        """Make a cut durable that an error led to.

        Else a power cut could mix the next line with what was cut off (see `quarantine_tail`).

        Not when the error is a sync's: none that failed is tried again.
        """
        if self._is_durable and not (self._is_syncing and is_system_failure(error, self._path)):
            self._sync(lock)
