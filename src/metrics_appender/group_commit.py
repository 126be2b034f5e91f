"""Appends of one process that meet at a file become one pass; waiting with a deadline.

Who comes first leads: takes the file's lock, writes the lines of all who came meanwhile, syncs once, and
tells each of them. Who comes while somebody leads waits in the queue. (Group commit: DeWitt et al.,
"Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.)

When another process holds the lock, the line is left to a waiter: a thread that blocks in the kernel's
queue, which is fair, and then writes for all who wait in the queue. The callers wait for that with their
deadlines, which flock(2) itself does not know; whose deadline passes takes the line back, and a line
that was taken back is never written. There is one waiter a file at most, made when it is first needed,
and gone a second after it has nothing to do.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Final, Protocol

from . import disk, fork
from .errors import MAY_BE_WRITTEN, NOTHING_WRITTEN, LockTimeoutError, explain, restate
from .file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Sequence

# How long somebody in the queue sleeps at most before looking around: whether the file that the waiter waits
# for was rotated away, whether a leader was interrupted. In the ordinary course nobody sleeps so long.
_LOOK_AROUND_SECONDS: Final = 1.0
_WAITER_LINGERS_SECONDS: Final = 1.0
_NO_THREAD_PAUSE_SECONDS: Final = 0.001
# One pass takes what waits in the queue up to about so many bytes; the rest is for the next.
_PASS_BYTES: Final = 1 << 20


class WriteLines(Protocol):
    """What a pass does under the lock: steps 4 to 6 of an append."""

    def __call__(self, lock: FileLock, lines: Sequence[bytes], /) -> Sequence[OSError | None]:
        """Write the lines to the locked file, durably; return each one's error, nothing when all are well.

        Raises what concerns them all, with none of them in the file.
        """


class Entry:
    """One caller's line, and what became of it."""

    __slots__ = ("error", "is_settled", "line", "wake")

    def __init__(self, line: bytes) -> None:
        """Take the line; `wake` is made when its caller has to wait."""
        self.line = line
        self.is_settled = False
        self.error: OSError | None = None
        self.wake: threading.Lock | None = None

    def settle(self, error: OSError | None) -> None:
        """Say what became of the line, and wake its caller."""
        self.error = error
        self.is_settled = True
        self.rouse()

    def rouse(self) -> None:
        """Wake the caller if it sleeps: its line is settled, or it is its turn to lead."""
        if self.wake is not None and self.wake.locked():
            try:
                self.wake.release()
            except RuntimeError:
                pass  # somebody else woke it in the same moment


class Waiter:
    """A thread that waits in the kernel's queue; `call` is released when there is work."""

    __slots__ = ("call", "lock")

    def __init__(self, path: str) -> None:
        """Make one for the file at `path`; its thread is started by its owner."""
        self.lock = FileLock(path)
        self.call = threading.Lock()


class GroupCommit:
    """The line of those who append to one file from this process.

    `pauses` are the seconds to sleep between tries before the waiter is called: none where an append
    takes as long as a sync does, a few where it takes microseconds and waking a thread takes longer.
    """

    def __init__(self, path: str, write_lines: WriteLines, timeout_seconds: float | None, pauses: Sequence[float]) -> None:
        """Name the file, what to do under its lock, and how to wait for it."""
        self._path = path
        self._write_lines = write_lines
        self._timeout_seconds = timeout_seconds
        self._pauses = pauses
        self._lock = FileLock(path)
        self._start_afresh()
        fork.register(self)

    def _start_afresh(self) -> None:
        self._lead = threading.Lock()  # held while a pass is under way
        self._mutex = threading.Lock()  # guards the two below; never held over a system call
        self._waiter: Waiter | None = None
        self._is_delegated = False  # the waiter serves the queue; nobody else needs to lead
        self._queue: deque[Entry] = deque()

    def forget(self) -> None:
        """In a forked child: nobody leads, nobody waits, nobody waits in the queue."""
        self._start_afresh()

    def close(self) -> None:
        """Let an idle waiter end now rather than in a second."""
        with self._mutex:
            waiter, self._waiter = self._waiter, None
            self._is_delegated = False
            if waiter is not None and waiter.call.locked():
                waiter.call.release()

    def append(self, line: bytes) -> None:
        """Return once the line is written as `write_lines` promises, or raise with it not in the file."""
        if self._is_delegated or self._lead.locked() or self._queue or not self._append_alone(line):
            self._append_with_others(Entry(line))

    def _append_alone(self, line: bytes) -> bool:
        """Append as nearly every time: nobody meets. `False` when another process holds the file's lock."""
        lock = self._lock
        with self._lead:
            try:
                self._leader = get_ident()
                is_ours = lock.try_acquire()
                if is_ours:
                    self._write_lines(lock, (line,))
            finally:
                self._leader = None
                lock.release()
        if self._queue:
            self._rouse_next()
        return is_ours

    def _append_with_others(self, entry: Entry) -> None:
        self._wait_in_queue(entry)
        if entry.error is not None:
            raise entry.error

    # Leading

    def _try_to_lead(self, entry: Entry) -> bool:
        """Run a pass for the entry and all in the queue; `False` when another process holds the file's lock."""
        lock = self._lock
        with self._lead:
            if entry.wake is not None and self._is_over(entry):
                return True
            try:
                self._leader = get_ident()
                is_ours = lock.try_acquire() or self._retry(lock)
                if is_ours:
                    self._run_pass(lock, entry)
            finally:
                self._leader = None
                lock.release()
        if self._queue:
            self._rouse_next()
        return is_ours

    def _is_over(self, entry: Entry) -> bool:
        """Whether an earlier pass had the entry; to be asked while leading, when no pass is under way."""
        if not entry.is_settled and entry not in self._queue:
            entry.error = self._lost()  # whoever took it was interrupted before it could say
            entry.is_settled = True
        return entry.is_settled

    def _retry(self, lock: FileLock) -> bool:
        for pause in self._pauses:
            time.sleep(pause)
            if lock.try_acquire():
                return True
        return False

    def _run_pass(self, lock: FileLock, own: Entry | None) -> None:
        """Write for all in the queue (and for `own`, where it does not stand in it), release, and tell them."""
        taken = self._take(own)
        error: OSError | None = None
        errors: Sequence[OSError | None] = ()
        try:
            if taken:
                errors = self._write_lines(lock, [entry.line for entry in taken])
        except OSError as found:
            error = found
        except BaseException as interruption:
            self._give_back(taken, own, interruption)
            raise
        try:
            lock.release()
        finally:
            for index, entry in enumerate(taken):
                outcome = errors[index] if errors else error
                entry.settle(outcome if entry is own or outcome is None else restate(outcome))

    def _take(self, own: Entry | None) -> list[Entry]:
        """Take out of the queue, oldest first, as many as one pass should hold; `own` always."""
        queue = self._queue
        taken: list[Entry] = []
        room = _PASS_BYTES
        while queue and room > 0:
            try:
                entry = queue.popleft()
            except IndexError:
                break  # its caller took it back in this moment
            taken.append(entry)
            room -= len(entry.line)
        if own is not None and own not in taken:
            self._withdraw(own)
            taken.append(own)
        return taken

    def _give_back(self, taken: list[Entry], own: Entry | None, interruption: BaseException) -> None:
        """After an interruption (Ctrl-C in the leader) that left nothing in the file: the others go on."""
        others = [entry for entry in taken if entry is not own]
        if MAY_BE_WRITTEN in "".join(getattr(interruption, "__notes__", ())):
            for entry in others:
                entry.settle(self._lost())
        else:
            self._queue.extendleft(reversed(others))

    def _rouse_next(self) -> None:
        try:
            self._queue[0].rouse()
        except IndexError:
            pass  # the queue emptied in this moment

    # Waiting

    def _wait_in_queue(self, entry: Entry) -> None:
        if self._leader == get_ident():
            raise self._own_deadlock()
        timeout = self._timeout_seconds
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        entry.wake = threading.Lock()
        entry.wake.acquire()
        queue = self._queue
        queue.append(entry)
        try:
            while not entry.is_settled:
                if queue is not self._queue:
                    raise self._lost()  # a signal handler forked here, and this is the child
                self._wait_once(entry, entry.wake, deadline)
        except BaseException:
            self._withdraw(entry)
            self._rouse_next()
            raise

    def _wait_once(self, entry: Entry, wake: threading.Lock, deadline: float) -> None:
        """Lead if nobody does; else sleep until something happens, or give up when the deadline has passed."""
        nap = _LOOK_AROUND_SECONDS
        with self._mutex:
            is_delegated = self._is_delegated
        if not is_delegated and not self._lead.locked():
            if self._try_to_lead(entry):
                return
            if time.monotonic() < deadline and not self._delegate():
                nap = _NO_THREAD_PAUSE_SECONDS
        remaining = deadline - time.monotonic()
        if remaining <= 0 and self._withdraw(entry):
            raise LockTimeoutError(self._path, self._timeout_seconds or 0.0)
        # Once a pass has the line it is waited for, deadline or not: it is being written.
        was_roused = wake.acquire(timeout=min(remaining, nap) if remaining > 0 else nap)
        if not was_roused and is_delegated:
            self._dismiss_if_rotated()

    def _withdraw(self, entry: Entry) -> bool:
        """Take an entry back; `False` when a pass has it already."""
        try:
            self._queue.remove(entry)
        except ValueError:
            return False
        return True

    def _lost(self) -> OSError:
        return explain(OSError(errno.EINTR, "the append was interrupted in the middle by a signal"), self._path, MAY_BE_WRITTEN)

    def _own_deadlock(self) -> OSError:
        text = "append called by a signal handler in the middle of an append of the same thread"
        return explain(OSError(errno.EDEADLK, text), self._path, NOTHING_WRITTEN)

    # The waiter

    def _delegate(self) -> bool:
        """Have the waiter serve the queue; `False` when no thread can be made."""
        with self._mutex:
            self._is_delegated = True
            waiter = self._waiter
            if waiter is not None:
                if waiter.call.locked():
                    waiter.call.release()
                return True
            self._waiter = waiter = Waiter(self._path)
        thread = threading.Thread(target=self._serve, args=(waiter,), name="metrics-appender-waiter", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # out of threads, or the interpreter is ending
            with self._mutex:
                self._waiter, self._is_delegated = None, False
            return False
        return True

    def _serve(self, waiter: Waiter) -> None:
        while True:
            try:
                waiter.lock.acquire()
                with self._lead:
                    self._run_pass(waiter.lock, None)
            except OSError:
                # The lock could not even be asked for. Who is next in line tries itself, and gets the error.
                self._end_delegation(waiter)
            finally:
                waiter.lock.release()
            if not self._has_work(waiter):
                return

    def _has_work(self, waiter: Waiter) -> bool:
        """Wait a little for the next call; `False` when this waiter is to end."""
        with self._mutex:
            is_dismissed = self._waiter is not waiter
            if not is_dismissed:
                if self._queue and self._is_delegated:
                    return True
                self._is_delegated = False
                waiter.call.acquire(blocking=False)
        if self._queue:
            self._rouse_next()
        if is_dismissed:
            return False
        waiter.call.acquire(timeout=_WAITER_LINGERS_SECONDS)
        with self._mutex:
            if self._waiter is waiter and not self._is_delegated:
                self._waiter = None
            return self._waiter is waiter

    def _end_delegation(self, waiter: Waiter) -> None:
        with self._mutex:
            if self._waiter is waiter:
                self._is_delegated = False

    def _dismiss_if_rotated(self) -> None:
        """Let go of a waiter whose file has lost its name: it waits for a holder that concerns nobody any more."""
        waiter = self._waiter
        if waiter is None or disk.identity_at(self._path) == waiter.lock.waits_for:
            return
        with self._mutex:
            if self._waiter is waiter:
                self._waiter, self._is_delegated = None, False
