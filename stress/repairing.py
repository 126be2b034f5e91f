"""Damage to a file in use, the processes that repair it, and one that follows it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from metrics_appender import repair

from . import messages, payloads, verifier
from .verifier import UnfitError
from .writers import StopRequests, await_start, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from random import Random

    from metrics_appender.check.report import FaultKind

    from .worker_group import WorkerGroup
    from .writers import Task

# Records of `LogAdapter` are no events, though they are in a file of events.
KEPT: Final[tuple[FaultKind, ...]] = ("schema",)
_BAD: Final = (
    b"not json %d",
    b'{"half": %d, ',
    b"[%d]",
    b"#%d",
    b'{"torn":%d{"writer":1}',
    b"\xff\xfe%d",
)


class Vandal:
    """Writes bad lines into a file, under its lock, no two of them alike; remembers them."""

    def __init__(self, path: str, group: WorkerGroup, chance: Random, *, is_rough: bool) -> None:
        """Take the file; rough damage has NULs too, and acknowledges no glued object."""
        self.bad: list[bytes] = []
        self.glued: list[bytes] = []
        self._path = path
        self._group = group
        self._chance = chance
        self._is_rough = is_rough

    def damage(self) -> None:
        """Write one bad line, or one of several objects without a newline between them."""
        number = len(self.bad) + len(self.glued)
        if self._chance.random() < 0.3:
            line = b"".join(self._object() for _ in range(self._chance.randint(2, 4)))
            self.glued.append(line)
        else:
            line = self._chance.choice(_BAD) % number + b"\0" * (
                self._chance.choice([0, 5000]) if self._is_rough else 0
            )
            self.bad.append(line)
        self._leave(line)

    def _object(self) -> bytes:
        """Return the only record of a new caller, compact or with white space."""
        caller = self._group.new_callers(1)[0]
        digest = payloads.digest("glued")
        self._group.history.add(messages.Message(messages.ATTEMPT, caller, 0, digest))
        if not self._is_rough:
            self._group.history.add(messages.Message(messages.ACKNOWLEDGED, caller, 0, digest))
        writer = self._chance.choice(["", " "]) + str(caller)
        record = f'{{"writer":{writer},"number":0,"digest":"{digest}","payload":"glued"}}'
        return record.encode()

    def _leave(self, line: bytes) -> None:
        """Append the line as a whole one, behind a newline where that is missing."""
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            torn = size and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, b"\n" * bool(torn) + line + b"\n")
        finally:
            os.close(fd)


def repair_all_the_while(task: Task, outbox: Connection, go: Connection) -> None:
    """Repair the file again and again: the body of a process."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    stop_requests = StopRequests()
    await_start(reporter, task, go)
    count = 0
    while not stop_requests.count:
        count += len(repair(task.path, keep=KEPT, lock_timeout=task.lock_timeout).changes)
    reporter.report(messages.PHASE_OVER, task.callers[0], number=count)


def follow_all_the_while(task: Task, outbox: Connection, go: Connection) -> None:
    """Read on from where the last whole line ended: each caller's lines once, without a gap."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    stop_requests = StopRequests()
    await_start(reporter, task, go)
    newest: dict[int, int] = {}
    place = 0
    is_last = False
    while not is_last:
        is_last = stop_requests.count > 0
        for line in _whole_lines(task.path, place):
            place += len(line)
            try:
                caller, number = verifier.read_mark(line.strip(b" \n") + b"\n")
            except UnfitError:
                continue  # damage, or what a repair has made of it
            assert number == newest.get(caller, -1) + 1, (
                f"read line {number} of caller {caller} after line {newest.get(caller)}"
            )
            newest[caller] = number
    reporter.report(messages.PHASE_OVER, task.callers[0], number=sum(newest.values()) + len(newest))


def _whole_lines(path: str, place: int) -> list[bytes]:
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), 1 << 22, place)
    data = data.partition(b"\0")[0]
    # A line with NULs, and what is behind it, is cut off by the next writer or blanked by a repair.
    return (
        [line + b"\n" for line in data[: data.rfind(b"\n")].split(b"\n")] if b"\n" in data else []
    )
