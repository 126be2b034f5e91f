"""What a log does besides appending.

Seal its file, keep up its segments, and tell of what it mended.

Sealing is done with the file's lock held, since it decides where the next line goes. The rest takes
its time or calls the user's code (a handler of `logging`), so that it is put off until the lock is
free and the append is done.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import Fault, InvalidRecordError, LockTimeoutError, show
from ..fs import calls
from ..outcome import NOTHING_WRITTEN, copy_for_another_caller, explain
from ..segment import recovery
from ..segment.rotation import Rotation
from .durability import Patience
from .group_commit import GroupCommit, refuse_in_mid_append

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fs.lock import FileLock, Seal
    from ..segment.cleaner import Cleaner
    from ..segment.sealing import Sealed


class Housekeeping:
    """One log's: `seal` is what its lock calls (see `FileLock`), `due` holds what is to be done when the lock is free."""

    def __init__(self, path: str, rotation: Rotation | None) -> None:
        """Take the log's file and its option; nothing is done yet."""
        self.path = path
        self.rotation = rotation
        self.seal: Seal | None = None if rotation is None else self._sealing_by(rotation)
        self.due: deque[Callable[[], None]] = deque()
        self._cleaner = _cleaner_of(path, rotation)

    def note_mended(self, torn_bytes: int) -> None:
        """Have it told that torn bytes were put aside."""
        self.due.append(functools.partial(recovery.warn_of_torn_tail, self.path, torn_bytes))

    def do_due(self) -> None:
        """Do what is due; of several threads whichever comes first does it."""
        while self.due:
            try:
                do = self.due.popleft()
            except IndexError:
                return  # another thread has it
            do()

    def rotate(self, lock_timeout: float | None) -> str | None:
        """Seal the file whatever its size, and return the segment's name.

        `None` where there is no whole line.

        Waits for the lock as an append does, for so many seconds, and raises as one does.
        """
        refuse_in_mid_append(self.path)
        if not calls.is_there(self.path):
            return None
        from ..segment.sealing import ByHand

        by_hand = ByHand()
        sealing = GroupCommit(self.path, _require_regular, lock_timeout, Patience(), by_hand.seal)
        try:
            sealing.append(b"")
        except BaseException as error:
            by_hand.give_up()
            if by_hand.sealed is None or not isinstance(error, LockTimeoutError):
                raise
        finally:
            sealing.close()
        if by_hand.error is not None:
            raise explain(copy_for_another_caller(by_hand.error), self.path, NOTHING_WRITTEN)
        if by_hand.sealed is None:
            return None
        self._note_sealed(by_hand.sealed)
        self.do_due()
        return by_hand.sealed.segment and by_hand.sealed.segment.path

    @property
    def is_under_way(self) -> bool:
        """Whether there is anything to finish."""
        return bool(self.due) or (self._cleaner is not None and self._cleaner.is_under_way)

    def finish(self) -> None:
        """Return when nothing is due and no upkeep under way."""
        self.do_due()
        if self._cleaner is not None:
            self._cleaner.finish()

    def _sealing_by(self, rotation: Rotation) -> Seal:
        from ..segment.sealing import Rotator  # most logs are never sealed, and do without it

        return Rotator(rotation, self._note_sealed).seal_if_due

    def _note_sealed(self, sealed: Sealed) -> None:
        if sealed.torn_bytes:
            self.note_mended(sealed.torn_bytes)
        if sealed.segment is not None and self._cleaner is not None:
            self.due.append(self._cleaner.begin)


def _require_regular(lock: FileLock, *_: object) -> tuple[()]:
    """Where there was nothing to seal, refuse what is no file: a pipe has no lines either."""
    calls.require_regular(lock.fd, lock.path)
    return ()


def check_rotation(rotation: Any) -> None:
    """Raise `InvalidRecordError` unless it is a `Rotation`, or `None`."""
    if rotation is not None and not isinstance(rotation, Rotation):
        raise InvalidRecordError(
            (
                Fault(
                    "rotation",
                    show(rotation),
                    "pass a Rotation(…), or None for a file that is never sealed",
                ),
            )
        )


def _cleaner_of(path: str, rotation: Rotation | None) -> Cleaner | None:
    if rotation is None or not rotation.is_upkeep:
        return None
    from ..read.saved_cursors import first_unread
    from ..segment.cleaner import Cleaner

    return Cleaner(path, rotation, first_unread)
