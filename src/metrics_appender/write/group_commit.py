"""Appends of one process that meet at a file become one pass; waiting with a deadline.

Who comes first leads: takes the file's lock, writes the lines of all who came meanwhile, syncs
once, and tells each of them. Who comes while somebody leads waits in the queue, and when they are
back after that, they are waited for a moment (see `company`). (Group commit: DeWitt et al.,
"Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.)

When another process holds the lock, the lines are left to the `Waiter`, which writes for all in the
queue once it has the lock. A caller whose deadline passes takes its line back, and a line that was
taken back is never written.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from threading import get_ident
from typing import TYPE_CHECKING, Final

from ..errors import LockTimeoutError
from ..fs import fork
from ..fs.lock import TRY, FileLock
from ..outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN, add_outcome, explain, is_system_failure
from .commit_delay import Company
from .commit_queue import LineQueue
from .durability import LOOKS_IN_A_TIMEOUT
from .lock_waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..fs.lock import Seal
    from .commit_queue import Entry, Write
    from .durability import Patience

# How long somebody in the queue sleeps at most before looking around: whether the file was rotated
# away, whether a leader was interrupted. In the ordinary course nobody sleeps so long. With a short
# timeout, a part of it.
_LOOK_AROUND_SECONDS: Final = 1.0
_NO_THREAD_PAUSE_SECONDS: Final = 0.001


class GroupCommit:
    """Those who append to one file from this process: who leads, and how the others wait."""

    def __init__(
        self,
        path: str,
        write: Write,
        timeout_seconds: float | None,
        patience: Patience,
        seal: Seal | None = None,
    ) -> None:
        """Name the file, what to do under its lock, how to wait for it.

        How to seal it when it is due.
        """
        self._path = path
        self._write = write
        self._lines = LineQueue(path, write)
        self._timeout_seconds = timeout_seconds
        self._longest_nap = _LOOK_AROUND_SECONDS
        if timeout_seconds:
            self._longest_nap = min(_LOOK_AROUND_SECONDS, timeout_seconds / LOOKS_IN_A_TIMEOUT)
        self._patience = patience.within(timeout_seconds)
        self._company = Company(self._patience.gather)
        self._shortest_nap = max(_NO_THREAD_PAUSE_SECONDS, self._patience.gather)
        self._lock = FileLock(path, seal)
        self._queue = self._lines.entries
        self._forks = 0
        self._waiter = Waiter(
            path,
            serve=self._serve,
            has_work=self._queue.__len__,
            step_aside=self._lines.rouse_next,
            keeps_queue_for=patience.keeps_queue_for,
            lines_up_early=patience.lines_up_early,
            seal=seal,
        )
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """In a forked child: nobody leads, nobody waits."""
        self._lead = threading.Lock()  # held while a pass is under way
        self._leader: int | None = (
            None  # the thread that leads, for a signal handler to find itself
        )
        self._lines.clear()
        self._company.reset_after_fork()
        self._forks += 1

    def close(self) -> None:
        """Leave no thread behind that has nothing to do."""
        self._waiter.close()

    def is_led_by_caller(self, path: str) -> bool:
        """Whether the thread that asks is in the middle of an append to the file at `path`, by this."""
        return self._leader == get_ident() and self._path == path and self._lead.locked()

    def append(self, line: bytes, deadline: float | None = None) -> None:
        """Return once the line is written as `write` promises, or raise with it not in the file.

        A `deadline` (`time.monotonic`) goes before the timeout.
        """
        entry: Entry | None = None
        try:
            if (
                self._company.expected
                or self._waiter.goes_first
                or self._queue
                or (self._lead.locked() and self._is_led_still())
            ):
                entry = self._lines.join(line)
            else:
                entry = self._append_alone(line)
            if entry is None:  # nearly every time
                return
            self._wait(entry, deadline)
        except BaseException as error:
            if entry is not None:
                add_outcome(
                    error,
                    self._path,
                    NOTHING_WRITTEN if self._lines.leave(entry) else MAY_BE_WRITTEN,
                )
            if is_system_failure(error, self._path):
                explain(error, self._path, NOTHING_WRITTEN)
            else:  # Ctrl-C, which may have come at any moment
                add_outcome(error, self._path, MAY_BE_WRITTEN)
            raise
        finally:
            if entry is not None:
                try:
                    entry.rouse_others()
                except BaseException:
                    entry.rouse_others()  # a signal's exception may have come before its first step
                    raise
        if entry.error is not None:
            raise entry.error

    def _append_alone(self, line: bytes) -> Entry | None:
        """Write the line by itself.

        Or put it into the queue, where another process holds the lock.
        """
        entry: Entry | None = None
        is_written = False
        lock = self._lock
        leader = get_ident()
        try:
            with self._lead:
                self._leader = leader  # at once: no signal handler comes between this and the lock
                try:
                    # Whoever led in the meantime may have called the waiter.
                    if not self._waiter.goes_first and (lock.acquire(TRY) or self._try_again(lock)):
                        self._write(lock, line)
                        is_written = True
                    else:
                        entry = self._lines.join(line)
                        self._call_waiter(lock)
                finally:
                    try:
                        lock.release()
                    except BaseException:
                        lock.release()  # a signal's exception may have come before its first step
                        raise
                    finally:
                        self._leader = None
        except BaseException as error:
            if is_written or (entry is not None and not self._lines.leave(entry)):
                add_outcome(error, self._path, MAY_BE_WRITTEN)
            raise
        finally:
            if entry is None and self._queue:
                self._lines.rouse_next()  # nobody leads any more
        return entry

    def _is_led_still(self) -> bool:
        """Whether somebody leads after a nap too, or none is to be taken."""
        if self._patience.nap and self._leader != get_ident():
            time.sleep(self._patience.nap)
            return self._lead.locked()
        return True

    def _lead_if_nobody_does(self, entry: Entry) -> None:
        """Run a pass for all in the queue, unless somebody is about it."""
        if self.is_led_by_caller(self._path):
            raise _deadlock()
        if self._waiter.ring():
            return
        entry.caller = get_ident()
        if self._lead.locked() or not self._is_time_to_lead(entry):
            return
        taken = self._lead_pass(entry)
        self._company.expect(taken)
        if taken:
            entry.rouse_others()
            self._lines.rouse_next()
        if self._patience.nap:
            time.sleep(0)

    # Give up the interpreter's lock: those who were served have their turn to append alone.

    def _lead_pass(self, entry: Entry) -> list[Entry]:
        """Run a pass for all in the queue and return them.

        Or call the waiter, where another process holds the lock.
        """
        lock = self._lock
        leader = get_ident()
        with self._lead:
            self._leader = leader
            try:
                if self._lines.is_over(entry):
                    return []
                if lock.acquire(TRY) or self._try_again(lock):
                    return self._lines.run_pass(lock, entry)
                self._call_waiter(lock)
            except BaseException as error:
                if self._lines.leave(
                    entry
                ):  # before the next leads: a line whose caller gets an error is not written later
                    add_outcome(error, self._path, NOTHING_WRITTEN)
                raise
            finally:
                try:
                    lock.release()
                except BaseException:
                    lock.release()
                    raise
                finally:
                    self._leader = None
        return []

    def _is_time_to_lead(self, entry: Entry) -> bool:
        company = self._company
        return not company.expected or (
            company.has_come(self._queue, entry) and not self._lead.locked()
        )

    def _serve(self, lock: FileLock) -> Sequence[Entry]:
        """Run a pass with the lock that the waiter got; return who is to be roused."""
        with self._lead:
            return self._lines.run_pass(lock, None)

    def _try_again(self, lock: FileLock) -> bool:
        for pause in self._patience.pauses:
            if pause:
                time.sleep(pause)
            if lock.acquire(TRY):
                return True
        return False

    def _call_waiter(self, lock: FileLock) -> None:
        if self._timeout_seconds != 0:
            self._waiter.call(lock)

    def _wait(self, entry: Entry, deadline: float | None) -> None:
        """Wait until the entry is settled.

        Raise when the deadline passes first, with the line taken back.
        """
        timeout = self._timeout_seconds
        remaining = math.inf if timeout is None else timeout
        if deadline is None:
            deadline = time.monotonic() + remaining
        else:
            remaining = deadline - time.monotonic()
        forks = self._forks
        self._lead_if_nobody_does(entry)
        while not entry.is_settled:
            if remaining <= 0 and self._lines.withdraw(entry):
                raise explain(
                    LockTimeoutError(self._path, timeout or 0.0), self._path, NOTHING_WRITTEN
                )
            nap = (
                self._longest_nap
                if self._waiter.goes_first or self._lead.locked()
                else self._shortest_nap
            )
            # Once a pass has the line it is waited for, deadline or not: it is being written.
            if entry.wake.acquire(timeout=nap if remaining <= 0 or nap < remaining else remaining):
                if entry.is_settled:
                    break
            elif nap == self._longest_nap:
                refuse_in_mid_append(self._path)
            self._look_around(entry, forks)
            remaining = deadline - time.monotonic()

    def _look_around(self, entry: Entry, forks: int) -> None:
        """See, having slept without being settled, whether something has to be done about it."""
        if forks != self._forks:  # a signal handler forked here, and this is the child
            self._lines.settle_as_lost(entry)
            return
        self._waiter.dismiss_if_rotated()
        if not entry.is_settled:
            self._company.expected = (
                0  # this was the moment, also where a signal handler has come between
            )
        self._lead_if_nobody_does(entry)


def refuse_in_mid_append(path: str) -> None:
    """Raise `OSError` (EDEADLK) in a signal handler whose own thread is in the middle of an append to the file, by whichever log.

    It looks at all logs that there are, so it is not for every append.
    """
    if any(
        isinstance(owner, GroupCommit) and owner.is_led_by_caller(path) for owner in fork.owners()
    ):
        raise explain(_deadlock(), path, NOTHING_WRITTEN)


def _deadlock() -> OSError:
    return OSError(
        errno.EDEADLK,
        "called by a signal handler in the middle of an append of the same thread, for which it would wait for ever",
    )
