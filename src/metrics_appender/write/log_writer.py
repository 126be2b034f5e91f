"""The writing end of one log: appends, work under the lock, sealing, and what follows them.

Sealing decides where the next line goes, so it is done under the file's lock. What takes time or
calls the user's code (a handler of `logging`) is put off until the lock is released.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ClosedError
from ..fs import calls
from ..segment.recovery import warn_of_torn_tail
from .batch import BatchWriter
from .durability import LEVELS
from .group_commit import GroupCommit, refuse_in_mid_append

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fs.lock import FileLock
    from ..segment.cleaner import Cleaner, FirstUnread
    from ..segment.rotation import Rotation
    from ..segment.sealing import Sealed
    from .commit_queue import Task
    from .durability import Durability
    from .group_commit import Seal


class LogWriter:
    """Appends to the file at `path`, for any number of threads; see `AppendLog` and `Cleaner`."""

    def __init__(
        self,
        path: str,
        durability: Durability,
        lock_timeout: float | None,
        rotation: Rotation | None = None,
        first_unread: FirstUnread = lambda _: None,
    ) -> None:
        self.path = path
        self._is_closed = False
        self._follow_ups: deque[Callable[[], object]] = deque()
        self._cleaner: Cleaner | None = None
        level = LEVELS[durability]
        self.batch = BatchWriter(path, level, self._note_torn)
        seal: Seal | None = None
        if rotation is not None:
            from ..segment.sealing import Rotator  # most logs are never sealed, and do without it

            seal = Rotator(rotation, self._note_sealed).seal_if_due
            if rotation.has_cleaning:
                from ..segment.cleaner import Cleaner

                self._cleaner = Cleaner(path, rotation, first_unread)
        self._commit = GroupCommit(path, self.batch.write, lock_timeout, level, seal)

    def append(self, block: bytes, deadline: float | None = None) -> None:
        """Append whole lines, all or nothing; see `GroupCommit.append`."""
        if self._is_closed:
            raise ClosedError(self.path)
        self._commit.append(block, deadline)
        if self._follow_ups:
            self._follow_up()

    def rotate(self) -> str | None:
        """Seal the file whatever its size; return the segment's path, `None` if it has no line."""
        if self._is_closed:
            raise ClosedError(self.path)
        refuse_in_mid_append(self.path)
        if not calls.is_there(self.path):
            return None
        from ..segment.sealing import seal

        def task(lock: FileLock) -> str | None:
            sealed = seal(lock)
            self._note_sealed(sealed)
            if sealed.segment is None:
                return None
            with suppress(OSError):  # the next append makes the file, or raises
                calls.close(calls.open_append(self.path))
            return sealed.segment.path

        path: str | None = self.run_exclusive(task)
        return path

    def run_exclusive(self, task: Task, *, seals: bool = False) -> Any:
        """Run a task under the file's lock, in its turn; see `GroupCommit.run_exclusive`."""
        if self._is_closed:
            raise ClosedError(self.path)
        try:
            return self._commit.run_exclusive(task, seals=seals)
        finally:
            self._follow_up()

    @property
    def is_cleaning(self) -> bool:
        """Whether there is something that `close` waits for."""
        return bool(self._follow_ups or (self._cleaner and self._cleaner.is_under_way))

    def close(self) -> None:
        """Refuse appends from now on; return when nothing goes on in the background."""
        self._is_closed = True
        self._commit.close()
        self._follow_up()
        if self._cleaner is not None:
            self._cleaner.finish()

    def _follow_up(self) -> None:
        while self._follow_ups:
            try:
                follow_up = self._follow_ups.popleft()
            except IndexError:
                return  # another thread has it
            follow_up()

    def _note_torn(self, torn_bytes: int) -> None:
        self._follow_ups.append(partial(warn_of_torn_tail, self.path, torn_bytes))

    def _note_sealed(self, sealed: Sealed) -> None:
        if sealed.torn_bytes:
            self._note_torn(sealed.torn_bytes)
        if sealed.segment and self._cleaner:
            self._follow_ups.append(self._cleaner.begin)
