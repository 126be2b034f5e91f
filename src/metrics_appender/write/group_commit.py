"""Appends of one process that meet at a file become one batch; waiting for the lock in time.

The first thread to arrive leads: it takes the lock, writes every queued line, syncs once, and wakes
the others. A thread that arrives while another leads waits in the queue. (Group commit: DeWitt et
al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.) README.md here
tells the rest: a lock that another process holds, deadlines, the main thread, forks.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from ..errors import LockTimeoutError
from ..fs import fork
from ..fs.lock import TRY, FileLock
from ..outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN, add_outcome, explain, is_system_failure
from .commit_delay import CommitDelay
from .commit_queue import CommitQueue, PendingAppend, State, commit_batch
from .lock_waiter import LockWaiter, are_threads_patched

if TYPE_CHECKING:
    from collections.abc import Callable

    from .commit_queue import Task, Write
    from .durability import Level

    # Seals the locked file if that is due; whether it did, so that the name means another file.
    Seal = Callable[[FileLock], bool]


class GroupCommit:
    """The appends of this process to one file: which thread leads, and how the others wait."""

    def __init__(
        self, path: str, write: Write, timeout: float | None, level: Level, seal: Seal | None = None
    ) -> None:
        self._path = path
        self._write = write
        self._timeout_seconds = math.inf if timeout is None else timeout
        # A queued thread that was not woken looks whether the file was rotated, or a child forked.
        self._longest_nap = min(1.0, self._timeout_seconds / 4 or 1.0)
        self._level = level.within(self._timeout_seconds)
        # Without a sync, an append takes less time than waking one another does: a thread leaves
        # the file to another for a while before it joins. With 2 and 8 threads 0.77 and 0.48 of a
        # bare loop in place of 0.54 and 0.44 by turns at a lock, longest wait 5 ms in place of 53.
        self._nap = 0.0 if level.is_durable else min(0.002, self._timeout_seconds / 4)
        self._pauses = (0.0, *self._level.retry_pauses)
        self._seal = seal
        self._queue = CommitQueue()
        self._delay = CommitDelay(self._level.commit_delay)
        self._lock = FileLock(path)
        self._waiter = LockWaiter(
            path, self._queue, self._serve, keeps_queue=self._level.keeps_queue
        )
        self._forks = 0
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """Begin anew in the child: no thread leads, none waits."""
        self._lead = threading.Lock()  # held while a batch is under way
        self._leader: int | None = None  # the thread that leads, so that a signal handler knows
        self._queue.clear()
        self._delay.reset_after_fork()
        self._forks += 1

    def close(self) -> None:
        """Leave no thread behind that has nothing to do."""
        self._waiter.close()

    def refuse_in_mid_append(self, path: str) -> None:
        """Raise `OSError` (EDEADLK) in a signal handler in the middle of an append to `path`."""
        if self._leader == threading.get_ident() and self._path == path and self._lead.locked():
            reason = (
                "called by a signal handler in the middle of an append of the same thread, "
                "for which it would wait for ever"
            )
            raise explain(OSError(errno.EDEADLK, reason), path, NOTHING_WRITTEN)

    def append(self, line: bytes, deadline: float | None = None) -> None:
        """Return once the line is written; a `deadline` (`time.monotonic`) replaces the timeout.

        Where it raises, the outcome on the error says whether the line may be in the file.
        """
        try:
            if self._nap and self._lead.locked():
                self.refuse_in_mid_append(self._path)
                time.sleep(self._nap)
            is_busy = self._waiter.goes_first
            if not (is_busy or self._queue or self._delay.expected or self._lead.locked()):
                is_busy = True
                if self._as_leader(self._append_alone, line):
                    return
        except BaseException as error:
            self._note_outcome(error)
            raise
        self._submit(PendingAppend(line), deadline, is_busy=is_busy)

    def run_exclusive(self, task: Task, *, seals: bool = False) -> Any:
        """Return, or raise, what the task does under the lock, in its turn, in the leader's thread.

        It must not append to the same file. With `seals`, a file that is full is sealed before.
        """
        pending = PendingAppend(b"", task, seals=seals)
        self._submit(pending, None, is_busy=False)
        return pending.result

    def _as_leader(self, work: Callable[[FileLock, Any], bool], argument: Any) -> bool:
        """Do the work as the only leader, then release the lock and wake the next leader.

        Returns what the work does: whether the lock was to be had, so that it is another's turn.

        This is the one place for a rule: a signal's exception may come at the first step of a
        function, before it has done anything, so what has to happen is done once more where it was
        interrupted.
        """
        lock = self._lock
        is_over = True
        try:
            with self._lead:
                try:
                    self._leader = threading.get_ident()
                    is_over = work(lock, argument)
                finally:
                    try:
                        lock.release()
                    except BaseException:
                        lock.release()
                        raise
                    finally:
                        self._leader = None
        finally:
            if is_over and self._queue:
                try:
                    self._queue.wake_first()
                except BaseException:
                    self._queue.wake_first()
                    raise
        return is_over

    def _append_alone(self, lock: FileLock, line: bytes) -> bool:
        """Write the line; `False` where others are queued, or another open file holds the lock."""
        if self._queue or not self._acquire(lock, seals=True):
            return False
        self._write(lock, (line,))
        return True

    def _acquire(self, lock: FileLock, *, seals: bool) -> bool:
        """Take the lock without waiting in the kernel; with `seals`, of a file that is not full."""
        for pause in self._pauses:
            if pause:
                time.sleep(pause)
            while lock.acquire(TRY):
                if not (seals and self._seal and self._seal(lock)):
                    return True
                lock.release()
        return False

    def _submit(self, pending: PendingAppend, deadline: float | None, *, is_busy: bool) -> None:
        """Queue an append and return when it is done; `is_busy`: the lock is held elsewhere."""
        is_main = threading.current_thread() is threading.main_thread()  # signal handlers run here
        pending.may_lead = not (is_main or are_threads_patched())
        try:
            self._queue.append(pending)
            if is_busy and not self._lead.locked():
                self._as_leader(self._call_waiter, pending)
            self._wait(pending, deadline)
        except BaseException as error:
            if self._queue.withdraw(pending):
                add_outcome(error, self._path, NOTHING_WRITTEN)
                self._queue.wake_first()
            self._note_outcome(error)
            raise
        pending.wake_next()
        if pending.error is not None:
            raise pending.error

    def _note_outcome(self, error: BaseException) -> None:
        if is_system_failure(error, self._path):
            explain(error, self._path, NOTHING_WRITTEN)
        else:  # a signal handler's, which may have come at any moment
            add_outcome(error, self._path, MAY_BE_WRITTEN)

    def _wait(self, pending: PendingAppend, deadline: float | None) -> None:
        """Wait until the append is done; withdraw it when the deadline passes before that."""
        if deadline is None:
            deadline = time.monotonic() + self._timeout_seconds
        forks = self._forks
        while True:
            if forks != self._forks:  # a signal handler forked here, and this is the child
                raise explain(self._lock.error_of_child(), self._path, MAY_BE_WRITTEN)
            self._lead_if_no_other_does(pending)
            if pending.is_done:
                return
            remaining = deadline - time.monotonic()
            if remaining <= 0 and self._queue.withdraw(pending):
                error = LockTimeoutError(self._path, self._timeout_seconds)
                raise explain(error, self._path, NOTHING_WRITTEN)
            is_led = self._waiter.is_active or self._lead.locked()
            # Where no thread can wait for the lock, it is polled.
            nap = self._longest_nap if is_led else max(0.001, self._level.commit_delay)
            # An append that a batch has taken is waited for, deadline or not: it is being written.
            if 0 < remaining < nap:
                nap = remaining
            if pending.wakeup.acquire(timeout=nap):
                if pending.is_done:
                    return
            else:
                self._waiter.abandon_if_rotated()
                if nap == self._longest_nap:
                    refuse_in_mid_append(self._path)
            # That was the moment, also where a signal handler came in between.
            self._delay.expected = 0

    def _lead_if_no_other_does(self, pending: PendingAppend) -> None:
        """Commit what is queued, unless another thread is about it."""
        self.refuse_in_mid_append(self._path)
        if not (
            self._waiter.is_active
            or self._lead.locked()
            or pending.state is not State.QUEUED
            or (self._delay.expected and not self._delay.is_over(self._queue, pending))
            or self._lead.locked()  # since the delay
            or (not pending.may_lead and self._queue.wake_leader())
        ):
            self._as_leader(self._commit, pending)
            if self._nap:
                time.sleep(0)  # gives up the interpreter's lock: the others of the batch go on

    def _commit(self, lock: FileLock, own: PendingAppend) -> bool:
        """Commit a batch as the leader, or have the waiter called where the lock is busy."""
        if own.state is not State.QUEUED:
            return True
        seals = self._queue.seals_first() if own.may_lead else own.seals
        if self._waiter.goes_first or not self._acquire(lock, seals=seals):
            return self._call_waiter(lock, own)
        if own.may_lead:
            batch = self._queue.take_batch()
        else:
            batch = [own] if self._queue.withdraw(own) else []
        if batch:
            first = commit_batch(self._path, self._write, lock, batch)
            self._delay.expect(batch)
            if first:
                first.wake()
        return True

    def _call_waiter(self, lock: FileLock, _: PendingAppend) -> bool:
        """Have the waiter wait for the lock; while leading, so that a signal handler can tell."""
        if self._timeout_seconds != 0:
            self._waiter.call(lock.file_id())
        return False

    def _serve(self, lock: FileLock) -> PendingAppend | None:
        """In the waiter's thread, which got the lock: commit a batch; return whom to wake."""
        with self._lead:
            if self._queue.seals_first() and self._seal and self._seal(lock):
                return None  # the thread waits for the lock of the next file
            batch = self._queue.take_batch()
            if not batch:
                return None
            self._leader = threading.get_ident()  # for a task that appends
            first = commit_batch(self._path, self._write, lock, batch)
            self._leader = None
            return first


def refuse_in_mid_append(path: str) -> None:
    """Refuse to append in the middle of an append by any log; too slow for every append."""
    for owner in fork.owners():
        if isinstance(owner, GroupCommit):
            owner.refuse_in_mid_append(path)
