"""Ways to break the engine on purpose, which the verifier and the scenarios have to notice."""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs import fork
from metrics_appender.fs import lock as fs_lock
from metrics_appender.outcome import NOTHING_WRITTEN, explain
from metrics_appender.segment import recovery, sealing
from metrics_appender.write import commit_queue, group_commit

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY: Final = 7
_PIECE_BYTES: Final = 256
_LATE_SECONDS: Final = 0.002


def apply(way: str) -> None:
    """Break the engine of this process in a way that `WAYS` names; "" breaks nothing."""
    if way:
        WAYS[way]()


def _put(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    getattr(owner, name)  # fails where the engine has no such thing any more
    setattr(owner, name, replacement)


def _break_writes(replacement: Callable[[int, bytes], int]) -> Callable[[], None]:
    """Return a way to break the engine that replaces every seventh write of a line."""

    def apply() -> None:
        whole = fs_calls.write
        count = itertools.count(1)

        def write(fd: int, data: bytes | memoryview) -> int:
            return replacement(fd, bytes(data)) if next(count) % _EVERY == 0 else whole(fd, data)

        _put(fs_calls, "write", write)

    return apply


def _drop(fd: int, data: bytes) -> int:
    return len(data)


def _double(fd: int, data: bytes) -> int:
    os.write(fd, data + data)
    return len(data)


def _tear(fd: int, data: bytes) -> int:
    os.write(fd, data[: len(data) // 2])
    return len(data)


def _alter(fd: int, data: bytes) -> int:
    place = data.index(b'"digest":"') + 10
    return os.write(fd, data[:place] + b"0000000000000000" + data[place + 16 :])


def _reorder() -> None:
    """Hold every seventh line back until the next one is written."""
    whole = fs_calls.write
    count = itertools.count(1)
    held: list[bytes] = []

    def write(fd: int, data: bytes) -> int:
        if next(count) % _EVERY == 0:
            held.append(data)
            return len(data)
        whole(fd, data)
        while held:
            whole(fd, held.pop())
        return len(data)

    _put(fs_calls, "write", write)


def _lock_nothing() -> None:
    """Take no lock, and write in two halves, so that lines of several writers mix soon."""
    _put(fs_lock, "load_flock", lambda: lambda fd, flags: None)

    def write(fd: int, data: bytes) -> int:
        middle = len(data) // 2
        return os.write(fd, data[:middle]) + os.write(fd, data[middle:])

    _put(fs_calls, "write", write)


def _cut_nothing() -> None:
    """Write in small pieces, some of which fit where the whole line does not; cut none back."""
    _put(fs_calls, "cut_back", lambda fd, size: None)
    _put(fs_calls, "write", lambda fd, data: os.write(fd, data[:_PIECE_BYTES]))


def _withdraw_nothing() -> None:
    """Queue every line, and leave it in the queue when its caller gets an error."""

    def append(self: Any, line: bytes, deadline: float | None = None) -> None:
        pending = commit_queue.PendingAppend(line)
        self._queue.append(pending)
        try:
            self._wait(pending, deadline)
        except OSError as error:
            raise explain(error, self._path, NOTHING_WRITTEN) from None
        if pending.error is not None:
            raise pending.error

    _put(commit_queue.CommitQueue, "withdraw", lambda self, pending: True)
    _put(group_commit.GroupCommit, "append", append)


def _check_no_name() -> None:
    """Skip the check that the locked file still has its name."""
    here = threading.local()
    flock = fs_lock.load_flock()

    def lock(fd: int, flags: int) -> None:
        here.fd = fd
        if flags & fcntl.LOCK_EX:
            time.sleep(_LATE_SECONDS)  # between the open and the lock, where a rotation may come
        flock(fd, flags)

    _put(fs_lock, "load_flock", lambda: lock)
    _put(fs_calls, "stat_named", lambda path: os.fstat(here.fd))


WAYS: Final[dict[str, Callable[[], None]]] = {
    "drop": _break_writes(_drop),
    "double": _break_writes(_double),
    "tear": _break_writes(_tear),
    "alter": _break_writes(_alter),
    "reorder": _reorder,
    "no lock": _lock_nothing,
    "no recovery": lambda: _put(recovery, "quarantine_tail", lambda fd, path, end, size: None),
    "no quarantine": lambda: _put(recovery, "quarantine", lambda fd, ranges, path: None),
    "no cut": _cut_nothing,
    "no sync": lambda: _put(fs_calls, "sync_file", lambda fd: None),
    "no directory sync": lambda: _put(fs_calls, "sync_directory", lambda path: None),
    "no name check": _check_no_name,
    "no base": lambda: _put(sealing, "base_of_active", lambda path: 0),
    "no withdrawal": _withdraw_nothing,
    "no reset after fork": lambda: _put(fork, "register", lambda owner: None),
}
