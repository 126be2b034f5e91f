"""Appends of one process that meet at a file become one pass; waiting with a deadline.

Who comes first leads: takes the file's lock, writes the lines of all who came meanwhile, syncs once, and
tells each of them. Who comes while somebody leads waits in the queue. (Group commit: DeWitt et al.,
"Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.)

When another process holds the lock, the lines are left to the `Waiter`, which writes for all in the queue once
it has the lock. A caller whose deadline passes takes its line back, and a line that was taken back is
never written.
"""

from __future__ import annotations

import contextlib
import errno
import math
import threading
import time
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Final, Protocol

from . import fork
from .errors import MAY_BE_WRITTEN, NOTHING_WRITTEN, LockTimeoutError, explain, restate
from .file_lock import FileLock
from .waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Sequence

# How long somebody in the queue sleeps at most before looking around: whether the file was rotated away,
# whether a leader was interrupted. In the ordinary course nobody sleeps so long.
_LOOK_AROUND_SECONDS: Final = 1.0
_NO_THREAD_PAUSE_SECONDS: Final = 0.001
# One pass takes what waits up to about so many bytes; the rest is for the next.
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
            with contextlib.suppress(RuntimeError):  # somebody else woke it in the same moment
                self.wake.release()


class GroupCommit:
    """The queue of those who append to one file from this process.

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
        self._waiter = Waiter(path, serve=self._serve, has_work=self._has_queue, step_aside=self._rouse_next)
        self.forget()
        fork.register(self)

    def forget(self) -> None:
        """In a forked child: nobody leads, nobody waits."""
        self._lead = threading.Lock()  # held while a pass is under way
        self._leader: int | None = None  # the thread that leads, for a signal handler to find itself
        self._queue: deque[Entry] = deque()

    def close(self) -> None:
        """Leave no thread behind that has nothing to do."""
        self._waiter.close()

    def append(self, line: bytes) -> None:
        """Return once the line is written as `write_lines` promises, or raise with it not in the file."""
        is_free = not (self._waiter.is_called or self._lead.locked() or self._queue)
        if is_free and self._try_to_lead(line, None):
            return
        entry = Entry(line)
        self._wait_in_queue(entry, is_held=is_free)
        if entry.error is not None:
            raise entry.error

    def _try_to_lead(self, line: bytes, entry: Entry | None) -> bool:
        """Run a pass: for the line alone, as nearly every time, or for an entry of the queue and all others there.

        `False` when another process holds the file's lock.
        """
        lock = self._lock
        with self._lead:
            if entry is not None and self._is_over(entry):
                return True
            try:
                self._leader = get_ident()
                is_ours = lock.try_acquire() or self._retry(lock)
                if is_ours and entry is None:
                    self._write_lines(lock, (line,))
                elif is_ours:
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
            entry.settle(self._lost())  # whoever took it was interrupted before it could say
        return entry.is_settled

    def _retry(self, lock: FileLock) -> bool:
        for pause in self._pauses:
            time.sleep(pause)
            if lock.try_acquire():
                return True
        return False

    def _serve(self, lock: FileLock) -> None:
        """Do what the waiter was called for, with the lock it got."""
        with self._lead:
            self._run_pass(lock, None)

    def _has_queue(self) -> bool:
        return bool(self._queue)

    def _run_pass(self, lock: FileLock, own: Entry | None) -> None:
        """Write for those in the queue, `own` at any rate, release, and tell each what became of its line."""
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
        with contextlib.suppress(IndexError):  # the queue is empty; its callers may take their lines back any moment
            while room > 0:
                taken.append(queue.popleft())
                room -= len(taken[-1].line)
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
        with contextlib.suppress(IndexError):  # nobody waits
            self._queue[0].rouse()

    def _wait_in_queue(self, entry: Entry, *, is_held: bool) -> None:
        """Wait until the entry is settled; `is_held` says that another process was just seen to hold the lock."""
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
                if queue is not self._queue:  # a signal handler forked here, and this is the child
                    entry.settle(self._lost())
                    return
                self._wait_once(entry, entry.wake, deadline, is_held=is_held)
                is_held = False
        except BaseException:
            self._withdraw(entry)
            self._rouse_next()
            raise

    def _wait_once(self, entry: Entry, wake: threading.Lock, deadline: float, *, is_held: bool) -> None:
        """Lead if nobody does; else sleep until something happens, or give up when the deadline has passed."""
        nap = _LOOK_AROUND_SECONDS
        is_waited_for = self._waiter.is_called_for_sure()
        if not is_waited_for and not self._lead.locked():
            if not is_held and self._try_to_lead(entry.line, entry):
                return
            if time.monotonic() < deadline and not self._waiter.call():
                nap = _NO_THREAD_PAUSE_SECONDS
        remaining = deadline - time.monotonic()
        if remaining <= 0 and self._withdraw(entry):
            raise LockTimeoutError(self._path, self._timeout_seconds or 0.0)
        # Once a pass has the line it is waited for, deadline or not: it is being written.
        was_roused = wake.acquire(timeout=min(remaining, nap) if remaining > 0 else nap)
        if not was_roused and is_waited_for:
            self._waiter.dismiss_if_rotated()

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
