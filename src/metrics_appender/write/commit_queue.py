"""The lines that one process's callers want in a file, in the order of their calls.

A pass for them.

Whoever holds the file's lock runs the pass: all that wait go in one write, and each is told what
became of its own line.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from ..outcome import (
    MAY_BE_WRITTEN,
    NOTHING_WRITTEN,
    add_outcome,
    copy_for_another_caller,
    explain,
    is_system_failure,
    outcomes_of,
)
from ..segment.recovery import LOOK_BACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..fs.lock import FileLock

# One pass joins lines of up to so many bytes, as far back as a look for what a power cut left goes;
# a longer line goes by itself.
_PASS_BYTES: Final = LOOK_BACK_BYTES


class Write(Protocol):
    """What a pass does under the lock: steps 4 to 6 of an append."""

    def __call__(
        self, lock: FileLock, block: bytes, lines: Sequence[bytes] = (), /
    ) -> Sequence[OSError | None]:
        """Write the block to the locked file, durably.

        Where several `lines` are joined in it, each may fail by itself: returns each one's error,
        nothing when all are well. Raises what concerns them all, with none of them in the file.
        """


class Entry:
    """One caller's line in the queue, and what became of it.

    Those whose lines one pass has written are roused one by the other, the first by who ran the
    pass, the next by that one as it goes away: they would only wait for each other, for the
    interpreter's lock, if they were roused all at once.
    """

    __slots__ = ("caller", "error", "is_left", "is_settled", "line", "next", "wake")

    def __init__(self, line: bytes) -> None:
        """Take the line; nothing became of it yet."""
        self.line = line
        self.caller = 0  # its thread, where threads meet
        self.error: OSError | None = None
        self.is_settled = False
        self.next: Entry | None = None  # whom its caller has to rouse
        self.is_left = False  # by its caller, who could not wait for the pass that has it
        self.wake = threading.Lock()
        self.wake.acquire()

    def rouse(self) -> None:
        """Wake the caller: its line is settled, or it is its turn to lead."""
        try:
            self.wake.release()
        except RuntimeError:
            pass  # it is awake already

    def rouse_others(self) -> None:
        """Wake who is next of those who were served together.

        Where this caller has not done so yet.
        """
        following = self.next
        if following is not None:
            following.rouse()
            self.next = None


class LineQueue:
    """Who waits for a line to be written; `entries` are those whose lines no pass has taken yet."""

    __slots__ = ("_path", "_write", "entries")

    def __init__(self, path: str, write: Write) -> None:
        """Name the file, and what to do under its lock."""
        self._path = path
        self._write = write
        self.entries: deque[Entry] = deque()

    def clear(self) -> None:
        """In a forked child: nobody waits."""
        self.entries.clear()

    def join(self, line: bytes) -> Entry:
        """Get in line, behind all that are there."""
        entry = Entry(line)
        try:
            self.entries.append(entry)
        except BaseException:  # Ctrl-C, right after it
            self.leave(entry)
            raise
        return entry

    def leave(self, entry: Entry) -> bool:
        """Take an entry back whose caller goes away with an error.

        Let the next one see for itself.
        """
        entry.is_left = True
        is_withdrawn = self.withdraw(entry)
        entry.rouse_others()
        self.rouse_next()
        return is_withdrawn

    def withdraw(self, entry: Entry) -> bool:
        """Take an entry back; `False` when a pass has it already."""
        try:
            self.entries.remove(entry)
        except ValueError:
            return False
        return True

    def rouse_next(self) -> None:
        """Let the first in line see for itself."""
        try:
            self.entries[0].rouse()
        except IndexError:
            pass  # nobody waits

    def is_over(self, entry: Entry) -> bool:
        """Whether an earlier pass had the entry.

        To be asked while leading, when no pass is under way.
        """
        if not entry.is_settled and entry not in self.entries:
            self.settle_as_lost(entry)  # whoever took it was interrupted before it could say
        return entry.is_settled

    def run_pass(self, lock: FileLock, own: Entry | None) -> list[Entry]:
        """Write for those in the queue, release, and settle them; return them."""
        taken: list[Entry] = []
        error: OSError | None = None
        errors: Sequence[OSError | None] = ()
        is_begun = False
        try:
            queue = self.entries
            try:
                taken.extend(
                    map(deque.popleft, (queue,))
                )  # one step, in which no signal handler can lose an entry
            except IndexError:
                return taken  # the last caller has taken its line back
            if not queue:
                is_begun = True
                self._write(lock, taken[0].line)
            else:
                lines = self._take_more(taken)
                block = b"".join(lines)
                is_begun = True
                errors = self._write(lock, block, lines)
        except BaseException as found:
            if not is_system_failure(found, self._path):
                if not is_begun:
                    add_outcome(found, self._path, NOTHING_WRITTEN)
                self._give_back(taken, own, found)
                raise
            error = explain(found, self._path, NOTHING_WRITTEN)
        try:
            try:
                lock.release()
            except BaseException as late:
                if not is_system_failure(late, self._path):
                    raise
                error = error or late
            # Not raised but told to each: whoever waits would neither hear of it nor be roused.
            self._settle(taken, own, error, errors)
        except BaseException:  # Ctrl-C, at any moment of it
            self._settle(taken, own, error, errors)
            for entry in taken:
                entry.rouse()
            raise
        return taken

    def _settle(
        self,
        taken: list[Entry],
        own: Entry | None,
        error: OSError | None,
        errors: Sequence[OSError | None],
    ) -> None:
        if error is not None or errors:
            for entry, own_error in zip(taken, errors or [None] * len(taken), strict=True):
                outcome = own_error or error
                entry.error = outcome and copy_for_another_caller(outcome)
        following: Entry | None = None
        for entry in reversed(taken):
            if entry is not own:
                entry.next = following
                following = entry
            entry.is_settled = True
            if entry.is_left:
                entry.rouse_others()
        if own is not None:
            own.next = following

    def _take_more(self, taken: list[Entry]) -> list[bytes]:
        """Take out of the queue what goes in one pass with what was taken, and return the lines."""
        lines = [taken[0].line]
        room = _PASS_BYTES - len(lines[0])
        try:
            while len(self.entries[0].line) <= room:
                taken.extend(map(deque.popleft, (self.entries,)))
                lines.append(taken[-1].line)
                room -= len(lines[-1])
        except IndexError:
            pass  # there is nobody more
        return lines

    def _give_back(
        self, taken: list[Entry], own: Entry | None, interruption: BaseException
    ) -> None:
        """After an interruption (Ctrl-C in the leader) that left nothing in the file.

        The others go on.
        """
        others = [entry for entry in taken if entry is not own]
        if outcomes_of(interruption).get(self._path) == NOTHING_WRITTEN:
            self.entries.extendleft(reversed(others))
        else:  # some of it is in the file still, or a second signal came before that was known
            for entry in others:
                self.settle_as_lost(entry)

    def settle_as_lost(self, entry: Entry) -> None:
        """Tell a caller that nobody knows what became of its line."""
        error = OSError(errno.EINTR, "the append was interrupted in the middle by a signal")
        entry.error = explain(error, self._path, MAY_BE_WRITTEN)
        entry.is_settled = True
        entry.rouse()
