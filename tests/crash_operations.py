"""The appends whose every system call is a crash point, and the files that they begin with."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from system_calls import Call, Disk, perform_unsynced

from metrics_appender import AppendLog
from metrics_appender.fs import calls as fs_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    # Called for each line as soon as its append has returned (without an error) or raised.
    Report = Callable[[bytes, OSError | None], None]

FIRST = b'{"n":"first"}\n'
TORN = b'{"n":"torn in mid-'
LINES = tuple(b'{"n":"line %d","text":"some text"}\n' % number for number in range(3))


def read(path: str) -> bytes:
    """Return a file's bytes, none if it does not exist."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def append(log: AppendLog, line: bytes, report: Report) -> None:
    """Append a line, and report the outcome."""
    try:
        log.append_line(line)
    except OSError as error:
        report(line, error)
    else:
        report(line, None)


def append_one(log: AppendLog, report: Report) -> None:
    """Append one line, alone."""
    append(log, LINES[0], report)


def append_if_expected(log: AppendLog, report: Report) -> None:
    """Append one line on the condition that the last record is the one of before."""
    try:
        record = {"n": "line 0", "text": "some text"}
        assert log.append_if(record, lambda last: last == {"n": "first"})
    except OSError as error:
        report(LINES[0], error)
    else:
        report(LINES[0], None)


def append_block_at_the_end(log: AppendLog, report: Report) -> None:
    """Append one line as a block that belongs behind the first."""
    try:
        log.append_block(LINES[0], at=len(FIRST))
    except OSError as error:
        report(LINES[0], error)
    else:
        report(LINES[0], None)


def append_in_new_directories(log: AppendLog, report: Report) -> None:
    """Make a directory in a new directory, and append the first line to a file in the inner one."""
    try:
        fs_calls.make_directory(os.path.dirname(log.path))
    except OSError as error:
        error.add_note("nothing was written: there is no directory yet")
        report(LINES[0], error)
    else:
        append(log, LINES[0], report)


def append_together(log: AppendLog, report: Report, lines: tuple[bytes, ...] = LINES) -> None:
    """Append from threads while another holds the lock, so that the waiter writes for them."""
    appends = log._writer._commit
    # Even without a sync the waiter is called at once.
    appends._pauses = (0.0,)
    threads = [threading.Thread(target=append, args=(log, line, report)) for line in lines]
    other = os.open(log.path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    for number, thread in enumerate(threads, 1):
        thread.start()
        while (
            len(appends._queue) + sum(not begun.is_alive() for begun in threads[:number]) < number
        ):
            time.sleep(0.0002)
    os.close(other)
    for thread in threads:
        thread.join()
    appends.close()
    for thread in threading.enumerate():
        if thread.name == "metrics-appender-waiter":
            thread.join()


class FullDisk:
    """A disk with room for so many bytes; cutting a file back makes room."""

    def __init__(self, room: int) -> None:
        """Take the room in bytes."""
        self._room = room

    def __call__(self, call: Call) -> Any:
        """Write as much as there is room for; fail without any."""
        if call.name == "ftruncate":
            fd, size = call.arguments
            self._room += os.fstat(fd).st_size - size
        if call.name != "write":
            return perform_unsynced(call)
        if self._room <= 0:
            raise call.fail(errno.ENOSPC)
        fd, data = call.arguments
        written = call.real(fd, data[: self._room])
        self._room -= written
        return written


def fail_to_sync(call: Call) -> Any:
    """Answer calls as a disk on which every sync of a file of records fails."""
    if call.name == "fsync" and call.path.endswith(".ndjson"):
        raise call.fail(errno.EIO)
    return perform_unsynced(call)


@dataclass(frozen=True)
class Operation:
    """What is in the file before, how it is appended to, and what else is wrong with the disk."""

    whole: bytes = FIRST
    torn: bytes = b""
    run: Callable[[AppendLog, Report], None] = append_one
    lines: tuple[bytes, ...] = LINES[:1]
    is_warm: bool = False
    folder: str = "."
    trouble: Callable[[], Disk] = lambda: perform_unsynced
    own_errors: tuple[int, ...] = ()

    def prepare(self, directory: str, durability: Any) -> AppendLog:
        """Write the files that exist before the operation, and make the log."""
        log = AppendLog(
            os.path.join(directory, self.folder, "events.ndjson"), durability=durability
        )
        if self.is_warm:
            log.append_line(self.whole)
        elif self.whole + self.torn:
            with open(log.path, "wb") as file:
                file.write(self.whole + self.torn)
        return log


OPERATIONS = {
    "first append to a new file": Operation(whole=b""),
    "first append in new directories": Operation(
        whole=b"", run=append_in_new_directories, folder="new/deep"
    ),
    "plain append": Operation(),
    "second append of a log": Operation(is_warm=True),
    "append after a torn tail": Operation(torn=TORN),
    "append after nothing but a torn tail": Operation(whole=b"", torn=TORN),
    "cut-back after a full disk": Operation(
        trouble=lambda: FullDisk(10), own_errors=(errno.ENOSPC,)
    ),
    "cut-back after a failed sync": Operation(
        trouble=lambda: fail_to_sync, own_errors=(errno.EIO,)
    ),
    "compare and append": Operation(run=append_if_expected),
    "compare and append after a torn tail": Operation(run=append_if_expected, torn=TORN),
    "a block at its position": Operation(run=append_block_at_the_end),
    "a block at its position after a torn tail": Operation(run=append_block_at_the_end, torn=TORN),
    "joined appends of threads": Operation(run=append_together, lines=LINES),
    "joined appends and a full disk": Operation(
        run=append_together,
        lines=LINES,
        trouble=lambda: FullDisk(len(LINES[0]) * 2 + 10),
        own_errors=(errno.ENOSPC,),
    ),
}
