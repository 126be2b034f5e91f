"""The appends of one process that wait for a file, and the batch that commits them.

The thread that holds the file's lock takes everything that is queued, up to a megabyte, writes it
with one write, and tells each caller what became of its own line (LevelDB's `BuildBatchGroup`).
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any

from .. import outcome
from ..segment.recovery import LOOK_BACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..fs.lock import FileLock

    # Writes lines to the locked file, durably. Returns each line's error, or nothing if there is
    # none; raises what concerns them all, with none of them in the file.
    Write = Callable[[FileLock, Sequence[bytes]], Sequence[OSError | None]]
    Task = Callable[[FileLock], Any]  # work under the lock


class State(Enum):
    """How far an append has come."""

    QUEUED = "no batch has taken it: it can still be withdrawn"
    TAKEN = "a batch is writing it"
    DONE = "it is written, or has its error"


class PendingAppend:
    """One caller's append in the queue: its line, or its task to run under the lock."""

    def __init__(self, line: bytes, task: Task | None = None, *, seals: bool = True) -> None:
        self.line = line
        self.task = task
        self.may_lead = True  # may commit the lines of others, since no signal interrupts it
        self.seals = seals  # has the file sealed first, where rotation is due
        self.thread = threading.get_ident()
        self.state = State.QUEUED
        self.result: Any = None
        self.error: BaseException | None = None
        # The callers of a batch wake each other in a chain: woken all at once, they would contend
        # for the interpreter's lock (64 threads: 38,000 to 46,000 appends/s, not 52,000 to 71,000).
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
        with suppress(ValueError):
            self.remove(pending)
            return True
        return False

    def wake_leader(self) -> bool:
        """Wake the first that may lead for others; `False` where there is none."""
        for pending in tuple(self):
            if pending.may_lead:
                pending.wake()
                return True
        return False

    def wake_first(self) -> None:
        """Let one of the queued callers see for itself whether it has to lead."""
        if not self.wake_leader():
            with suppress(IndexError):  # nothing is queued
                self[0].wake()

    def seals_first(self) -> bool:
        """Whether the file is to be sealed before the next batch, where that is due."""
        with suppress(IndexError):
            return self[0].seals
        return False

    def take_batch(self) -> list[PendingAppend]:
        """Take what goes into one batch: one task, or lines up to a megabyte, or a longer line."""
        batch: list[PendingAppend] = []
        room = LOOK_BACK_BYTES  # of what a power cut left, recovery finds no more
        with suppress(IndexError):  # the queue is empty
            while not batch or (self[0].task is None and len(self[0].line) <= room):
                pending = self.popleft()
                pending.state = State.TAKEN
                batch.append(pending)
                room -= len(pending.line)
                if pending.task is not None:
                    break
        return batch


def commit_batch(
    path: str, write: Write, lock: FileLock, batch: Sequence[PendingAppend]
) -> PendingAppend | None:
    """Write a batch to the locked file, release the lock, and note what became of each append.

    Returns the first caller to wake; raises nothing. A failure of the system goes to every caller.
    Anything else, such as a lack of memory, goes on in the leader, and interrupts the others.
    """
    try:
        try:
            if batch[0].task is not None:
                _run(batch[0], batch[0].task, path, lock)
            else:
                errors = write(lock, [pending.line for pending in batch])
                for pending, failure in zip(batch, errors, strict=False):
                    pending.error = failure and outcome.copy_for_another_caller(failure)
        finally:
            lock.release()
    except BaseException as error:  # noqa: BLE001 - it goes on in the callers
        for pending in batch:
            if pending.error is None:
                pending.error = _for_caller(pending, error, path)
    return _complete(batch)


def _run(pending: PendingAppend, task: Task, path: str, lock: FileLock) -> None:
    try:
        pending.result = task(lock)
    except BaseException as error:  # noqa: BLE001 - it goes on in its caller alone
        if outcome.is_system_failure(error, path):
            outcome.explain(error, path, outcome.NOTHING_WRITTEN)
        pending.error = error


def _complete(batch: Sequence[PendingAppend]) -> PendingAppend | None:
    """Note that the appends are done, and chain the other threads; return the first of them."""
    leader = threading.get_ident()
    following: PendingAppend | None = None
    for pending in reversed(batch):
        if pending.may_lead and pending.thread != leader:
            pending.next = following
            following = pending
        pending.state = State.DONE
        if not pending.may_lead:  # a signal might take it away from the chain
            pending.wake()
    return following


def _for_caller(pending: PendingAppend, error: BaseException, path: str) -> BaseException:
    """Return an error of the batch as one of its callers gets it."""
    if outcome.is_system_failure(error, path):
        outcome.explain(error, path, outcome.NOTHING_WRITTEN)
        return outcome.copy_for_another_caller(error)
    if pending.thread == threading.get_ident():
        return error
    interrupted = OSError(errno.EINTR, f"the append was interrupted by {error!r}")
    became = outcome.outcomes_of(error).get(path, outcome.MAY_BE_WRITTEN)
    return outcome.explain(interrupted, path, became)
