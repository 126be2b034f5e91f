"""The worker process of the doctor: takes locks, appends, syncs and renames on command.

Commands come on standard input and results go to standard output, one JSON array a line:
`[command, argument…]`, then `[true, result]` or `[false, errno, text]`. The process ends with its
input, so it does not outlive the doctor, however that one ends.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import pkgutil
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ..append_log import AppendLog
from ..fs import calls
from ..fs.lock import TRY, WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..fs.lock import FileLock

_TURN_BYTES: Final = 12
_HELD_SECONDS: Final = 0.00001
_LINE: Final = b"x" * 269 + b"\n"  # about as long as the line of a metric


class Probe:
    """The commands, one a public method."""

    def __init__(self, lock_class: Callable[[str], FileLock]) -> None:
        """Use this class for locks; none is held yet."""
        self._lock_class = lock_class
        self._lock: FileLock | None = None

    def survey(self, directory: str) -> dict[str, Any]:
        """Return the real path of a directory, its mount id, and the free space."""
        fd = calls.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            room = os.fstatvfs(fd)
            return {
                "directory": os.path.realpath(directory),
                "mount_id": _mount_id(fd),
                "free_bytes": room.f_bavail * room.f_frsize,
                "free_inodes": room.f_favail if room.f_files else None,
            }
        finally:
            calls.close(fd)

    def make(self, directory: str) -> None:
        """Make the temporary directory, and a file in it."""
        os.mkdir(directory, 0o700)
        fd = calls.open_append(os.path.join(directory, "made"))
        try:
            calls.write_all(fd, _LINE)
        finally:
            calls.close(fd)

    def remove(self, directory: str) -> None:
        """Remove the temporary directory with all that is in it, if it is there."""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            if calls.is_there(directory):
                raise

    def take_turns(self, path: str, number: int, seconds: float, least: int) -> int:
        """Increment the counter in a file, for so many seconds and at least `least` times.

        Return how often it was incremented. Without exclusion, two processes read the same last
        number, and both write the next one.
        """
        end = time.monotonic() + seconds
        turns = 0
        while turns < least or time.monotonic() < end:
            lock = self._lock_class(path)
            if not lock.acquire(TRY):
                lock.acquire(WAIT)
            try:
                last = (
                    calls.read_at(lock.fd, _TURN_BYTES, lock.size - _TURN_BYTES)
                    if lock.size
                    else b""
                )
                time.sleep(_HELD_SECONDS)  # a chance for processes that should be waiting
                calls.write_all(lock.fd, b"%09d %d\n" % (_number_in(last) + 1, number))
            finally:
                lock.release()
            turns += 1
        return turns

    def count_turns(self, path: str) -> dict[str, int]:
        """Return how many numbers a file has, how many are wrong, how often the writer changed."""
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        writers = [line[10:] for line in lines]
        return {
            "turns": len(lines),
            "out_of_order": sum(_number_in(line) != number for number, line in enumerate(lines, 1)),
            "hand_overs": sum(before != after for before, after in itertools.pairwise(writers)),
        }

    def try_lock(self, path: str) -> bool:
        """Return whether the lock of a file was free, and is held now; the file stays open."""
        self._lock = self._lock_class(path)
        return self._lock.acquire(TRY)

    def wait_lock(self) -> bool:
        """Wait for the lock that was tried; return whether the path names the locked file."""
        lock = self._tried()
        lock.acquire(WAIT)
        return lock.is_for_named_file()

    def release(self) -> None:
        """Release the lock."""
        self._tried().release()

    def rename(self, path: str, other: str) -> None:
        """Rename a file."""
        calls.rename(path, other)

    def time_appends(self, path: str, count: int, seconds: float) -> list[int]:
        """Append up to `count` records durably; return how many nanoseconds each took."""
        log = AppendLog(path, lock_timeout=seconds)
        record = {"doctor": _LINE[:200].decode()}
        return _time(count, seconds, lambda _: log.append(record))

    def time_syncs(self, path: str, count: int, seconds: float) -> list[int]:
        """Sync a file up to `count` times, after a write each; return the nanoseconds of each."""
        fd = calls.open_append(path)
        try:
            return _time(
                count,
                seconds,
                lambda _: calls.sync_file(fd),
                before=lambda _: calls.write_all(fd, _LINE),
            )
        finally:
            calls.close(fd)

    def time_directory_syncs(self, directory: str, count: int, seconds: float) -> list[int]:
        """Sync a directory up to `count` times, after a new file each; return the nanoseconds."""
        fd = calls.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # not `calls.sync_directory`, which ignores that a file system cannot do it
            return _time(
                count,
                seconds,
                lambda _: os.fsync(fd),
                before=lambda turn: calls.close(
                    calls.open_append(os.path.join(directory, f"new-{turn}"))
                ),
            )
        finally:
            calls.close(fd)

    def _tried(self) -> FileLock:
        if self._lock is None:
            raise OSError(errno.EBADF, "no lock was tried")
        return self._lock


def _time(
    count: int, seconds: float, act: Callable[[int], object], before: Callable[[int], object] = int
) -> list[int]:
    """Return the nanoseconds of each `act`, of up to `count` within so many seconds."""
    end = time.monotonic() + seconds
    durations: list[int] = []
    for turn in range(count):
        if durations and time.monotonic() > end:
            break
        before(turn)
        start = time.perf_counter_ns()
        act(turn)
        durations.append(time.perf_counter_ns() - start)
    return durations


def _mount_id(fd: int) -> int:
    """Return the mount id of an open file, as in the mountinfo; -1 where it is not known."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("mnt_id:")), -1)
    except OSError:
        return -1


def _number_in(turn: bytes) -> int:
    return int(turn[:9]) if turn[:9].isdigit() else 0


def main(lock_name: str) -> None:
    """Run the commands from standard input until it ends; `lock_name` is `module:class`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the doctor ends its workers
    probe = Probe(pkgutil.resolve_name(lock_name))
    while line := sys.stdin.buffer.readline():
        command, *arguments = json.loads(line)
        try:
            answer = [True, getattr(probe, command)(*arguments)]
        except OSError as error:
            answer = [False, error.errno, error.strerror or str(error)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the doctor reports it
            answer = [False, None, f"{type(error).__name__}: {error}"]
        calls.write_all(1, json.dumps(answer).encode() + b"\n")
