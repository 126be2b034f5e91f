"""The appends of one process that wait for a file, and the batch that commits them.

The thread that holds the file's lock takes everything that is queued, up to a megabyte, writes it
with one write, and tells each caller what became of its own line (LevelDB's `BuildBatchGroup`).
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ..outcome import (
    MAY_BE_WRITTEN,
    NOTHING_WRITTEN,
    copy_for_another_caller,
    explain,
    is_system_failure,
    outcomes_of,
)
from ..segment.recovery import LOOK_BACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..fs.lock import FileLock

    # Writes lines to the locked file, durably. Returns each line's error, or nothing when all are
    # well; raises what concerns them all, with none of them in the file.
    Write = Callable[[FileLock, Sequence[bytes]], Sequence[OSError | None]]

# A batch joins lines up to so many bytes, as far as recovery looks back for what a power cut left.
# A longer line is a batch of its own.
_BATCH_BYTES: Final = LOOK_BACK_BYTES


class State(Enum):
    """How far an append has come."""

    QUEUED = "no batch has taken it: it can still be withdrawn"
    TAKEN = "a batch is writing it"
    DONE = "it is written, or has its error"


class PendingAppend:
    """One caller's append in the queue: its line, or its task to run under the lock.

    The callers of one batch wake each other in a chain, the leader the first, each one the next
    (`next`): waking all at once would only make them contend for the interpreter's lock. With 64
    threads the chain gives 1.4 times the rate.
    """

    def __init__(
        self,
        line: bytes,
        task: Callable[[FileLock], Any] | None = None,
        *,
        may_lead: bool = True,
        seals: bool = True,
    ) -> None:
        """Take the line or the task; nothing is queued yet."""
        self.line = line
        self.task = task
        self.may_lead = may_lead  # may commit the lines of others, since no signal interrupts it
        self.seals = seals  # has the file sealed first, where rotation is due
        self.thread = threading.get_ident()
        self.state = State.QUEUED
        self.result: Any = None
        self.error: BaseException | None = None
        self.next: PendingAppend | None = None
        self.wakeup = threading.Lock()  # held while the caller has to wait
        self.wakeup.acquire()

    @property
    def is_done(self) -> bool:
        """Whether it is written, or has its error."""
        return self.state is State.DONE

    def wake(self) -> None:
        """Wake the caller: its append is done, or it is its turn to lead."""
        try:
            self.wakeup.release()
        except RuntimeError:
            pass  # it is awake already

    def wake_next(self) -> None:
        """Wake the next caller of the same batch, once."""
        following, self.next = self.next, None
        if following is not None:
            following.wake()


class CommitQueue(deque[PendingAppend]):
    """The appends that no batch has taken yet, in the order of their calls."""

    def withdraw(self, pending: PendingAppend) -> bool:
        """Take an append back; `False` when a batch has taken it already."""
        try:
            self.remove(pending)
        except ValueError:
            return False
        return True

    def wake_leader(self) -> bool:
        """Wake the first that may lead for others; `False` where there is none."""
        for pending in tuple(self):
            if pending.may_lead:
                pending.wake()
                return True
        return False

    def wake_first(self) -> None:
        """Let one of the queued callers see for itself whether it has to lead."""
        try:
            if not self.wake_leader():
                self[0].wake()
        except IndexError:
            pass  # nobody waits

    def seals_first(self) -> bool:
        """Whether the file is to be sealed before the next batch, where that is due."""
        try:
            return self[0].seals
        except IndexError:
            return False

    def take(self, pending: PendingAppend) -> list[PendingAppend]:
        """Take one append as a batch of its own; none where another batch has it."""
        if not self.withdraw(pending):
            return []
        pending.state = State.TAKEN
        return [pending]

    def take_batch(self) -> list[PendingAppend]:
        """Take what goes into one batch: lines up to a megabyte, or one task."""
        batch: list[PendingAppend] = []
        room = _BATCH_BYTES
        try:
            while not batch or (self[0].task is None and len(self[0].line) <= room):
                pending = self.popleft()
                pending.state = State.TAKEN
                batch.append(pending)
                room -= len(pending.line)
                if pending.task is not None:
                    break
        except IndexError:
            pass  # the queue is empty
        return batch


def commit_batch(
    path: str, write: Write, lock: FileLock, batch: Sequence[PendingAppend]
) -> PendingAppend | None:
    """Write a batch to the locked file, release the lock, and note what became of each append.

    Returns the first caller of the chain, which is to be woken. Raises nothing. A failure of the system goes to every caller; anything else (a signal handler's
    exception in the main thread, a lack of memory) goes on in the caller that leads, and the others
    are told that it interrupted them.
    """
    try:
        try:
            _write_batch(write, lock, batch)
        finally:
            lock.release()
    except BaseException as error:  # noqa: BLE001 - it goes on in the callers
        for pending in batch:
            if pending.error is None:
                pending.error = _for_caller(pending, error, path)
    return complete(batch)


def _write_batch(write: Write, lock: FileLock, batch: Sequence[PendingAppend]) -> None:
    first = batch[0]
    if first.task is not None:
        try:
            first.result = first.task(lock)
        except BaseException as error:  # noqa: BLE001 - it is its caller's, and nobody else's
            first.error = error
    else:
        errors = write(lock, [pending.line for pending in batch])
        for pending, failure in zip(batch, errors, strict=False):
            pending.error = failure and copy_for_another_caller(failure)


def complete(batch: Sequence[PendingAppend]) -> PendingAppend | None:
    """Note that the appends are done, and chain their callers; return the first of the chain.

    The caller that leads stands in front of the chain. One that a signal's exception may take away
    is no part of it, but woken at once.
    """
    leader = threading.get_ident()
    own: PendingAppend | None = None
    following: PendingAppend | None = None
    for pending in reversed(batch):
        if pending.thread == leader:
            own = pending
        elif pending.may_lead:
            pending.next = following
            following = pending
    if own is not None:
        own.next = following
    for pending in batch:
        pending.state = State.DONE
        if not pending.may_lead:
            pending.wake()
    return following


def _for_caller(pending: PendingAppend, error: BaseException, path: str) -> BaseException:
    """Return an error of the batch as one of its callers gets it."""
    if is_system_failure(error, path):
        return copy_for_another_caller(explain(error, path, NOTHING_WRITTEN))
    if pending.thread == threading.get_ident():
        return error
    interrupted = OSError(errno.EINTR, f"the append was interrupted by {error!r}")
    return explain(interrupted, path, outcomes_of(error).get(path, MAY_BE_WRITTEN))
