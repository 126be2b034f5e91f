"""What writers report over a pipe: attempted, acknowledged, refused; no file is involved."""

from __future__ import annotations

import errno
import os
import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# Kinds of messages. PHASE_OVER has a count as its number and the number of live threads as its
# error; ORPHAN has a process id as its number.
READY, ATTEMPT, ACKNOWLEDGED, REFUSED, UNSURE, PHASE_OVER, ORPHAN = range(1, 8)
_MESSAGE: Final = struct.Struct("<BxHIQ8s")


class Message(NamedTuple):
    """One message of a writer about one of its callers."""

    kind: int
    caller: int
    number: int = 0
    digest: str = ""
    error: int = 0

    def encode(self) -> bytes:
        """Return bytes of a fixed length below PIPE_BUF, which pipe(7) never mixes."""
        return _MESSAGE.pack(
            self.kind, self.error, self.number, self.caller, bytes.fromhex(self.digest)
        )


class Reporter:
    """A writer's end of the pipe, for any number of threads and processes at once."""

    def __init__(self, outbox: Connection) -> None:
        """Take the pipe, which survives `fork`, `spawn` and `forkserver`."""
        self._outbox = outbox

    def report(
        self, kind: int, caller: int, number: int = 0, digest: str = "", error: int = 0
    ) -> None:
        """Send one message, in one system call."""
        os.write(self._outbox.fileno(), Message(kind, caller, number, digest, error).encode())


class Receiver:
    """The reading end of the pipe."""

    def __init__(self, inbox: Connection) -> None:
        """Take the pipe."""
        self.inbox = inbox
        os.set_blocking(inbox.fileno(), False)
        self._rest = b""

    def receive(self) -> list[Message]:
        """Return the messages that have arrived by now."""
        try:
            data = self._rest + os.read(self.inbox.fileno(), 1 << 16)
        except BlockingIOError:
            return []
        whole = len(data) - len(data) % _MESSAGE.size
        self._rest = data[whole:]
        return [
            Message(kind, caller, number, digest.hex(), error)
            for kind, error, number, caller, digest in _MESSAGE.iter_unpack(data[:whole])
        ]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An append that raised, with a note that nothing was written."""

    digest: str
    error: int

    def __str__(self) -> str:
        """Name the error."""
        return errno.errorcode.get(self.error, str(self.error))


class History:
    """What every caller, that is one thread or task, has reported of its lines.

    `acknowledged`, `refused` and `unsure` map a caller to its lines: number to digest (or refusal).
    `pending` is the one line that a caller has announced without an outcome so far: it may be in
    the file, whole, or not be there at all.
    """

    def __init__(self) -> None:
        """Begin with no message."""
        self.acknowledged: defaultdict[int, dict[int, str]] = defaultdict(dict)
        self.refused: defaultdict[int, dict[int, Refusal]] = defaultdict(dict)
        self.unsure: defaultdict[int, dict[int, str]] = defaultdict(dict)
        self.pending: dict[int, tuple[int, str]] = {}

    def add(self, message: Message) -> None:
        """Record one message about a line."""
        caller, number = message.caller, message.number
        if message.kind == ATTEMPT:
            assert caller not in self.pending, (
                f"caller {caller} began line {number} before it ended {self.pending[caller]}"
            )
            self.pending[caller] = number, message.digest
            return
        begun, digest = self.pending.pop(caller)
        assert begun == number, f"caller {caller} ended line {number}, but it began line {begun}"
        if message.kind == ACKNOWLEDGED:
            self.acknowledged[caller][number] = digest
        elif message.kind == REFUSED:
            self.refused[caller][number] = Refusal(digest, message.error)
        else:
            self.unsure[caller][number] = digest

    def may_be_there(self, caller: int, number: int) -> str | None:
        """Return the digest of a line that may be in the file, `None` for one that must not."""
        acknowledged = self.acknowledged.get(caller, {}).get(number)
        if acknowledged is not None:
            return acknowledged
        begun, digest = self.pending.get(caller, (-1, ""))
        return digest if begun == number else self.unsure.get(caller, {}).get(number)

    def count_acknowledged(self) -> int:
        """Return how many lines were acknowledged."""
        return sum(map(len, self.acknowledged.values()))

    def count_refused(self) -> int:
        """Return how many were refused."""
        return sum(map(len, self.refused.values()))
