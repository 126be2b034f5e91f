"""What a process of the doctor's does when it is told to: take locks, append, sync, rename.

It is told over its standard input and answers on its standard output, a JSON array a line each:
`[command, argument…]`, then `[true, result]` or `[false, errno, text]`. It ends when its input
does, so it never outlives the doctor for long, however that ended.
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
_LINE: Final = b"x" * 269 + b"\n"  # as long as a metric's line is, about


class Probe:
    """The commands: every public method is one. `lock_class` is what is tried as the lock."""

    def __init__(self, lock_class: Callable[[str], FileLock]) -> None:
        """Hold nothing yet."""
        self._lock_class = lock_class
        self._lock: FileLock | None = None

    def survey(self, directory: str) -> dict[str, Any]:
        """Return what the system says of a directory: its true path, its mount, the free room."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            room = os.fstatvfs(fd)
            return {
                "directory": os.path.realpath(directory),
                "mount_id": _mount_id(fd),
                "free_bytes": room.f_bavail * room.f_frsize,
                "free_inodes": room.f_favail if room.f_files else None,
            }
        finally:
            os.close(fd)

    def make(self, directory: str) -> None:
        """Make the directory for the tries, and a file in it."""
        os.mkdir(directory, 0o700)
        fd = calls.open_append(os.path.join(directory, "made"))
        try:
            calls.write_all(fd, _LINE)
        finally:
            calls.close(fd)

    def remove(self, directory: str) -> None:
        """Remove the directory for the tries with all that is in it, if it is there."""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            if os.path.lexists(directory):
                raise

    def take_turns(self, path: str, number: int, seconds: float, least: int) -> int:
        """For so many seconds.

        `least` turns at least, write the next number after the file's last one; return how often.

        Without exclusion two processes see the same last number, and both write the next one.
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
                time.sleep(_HELD_SECONDS)  # a chance for those who should be waiting
                calls.write_all(lock.fd, b"%09d %d\n" % (_number_in(last) + 1, number))
            finally:
                lock.release()
            turns += 1
        return turns

    def count_turns(self, path: str) -> dict[str, int]:
        """Return how many turns the file holds, how many of them are not the next number, how often the writer changed."""
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        writers = [line[10:] for line in lines]
        return {
            "turns": len(lines),
            "out_of_order": sum(_number_in(line) != number for number, line in enumerate(lines, 1)),
            "hand_overs": sum(before != after for before, after in itertools.pairwise(writers)),
        }

    def try_lock(self, path: str) -> bool:
        """Take the lock of a file if it is free; else keep the file open."""
        self._lock = self._lock_class(path)
        return self._lock.acquire(TRY)

    def wait_lock(self) -> bool:
        """Wait for the lock that was tried.

        Return whether the file that is locked then is the one of that name.
        """
        lock = self._tried()
        lock.acquire(WAIT)
        return lock.is_for_named_file()

    def release(self) -> None:
        """Release the lock."""
        self._tried().release()

    def rename(self, path: str, other: str) -> None:
        """Rename a file."""
        os.rename(path, other)

    def time_appends(self, path: str, number: int, seconds: float) -> list[int]:
        """Append so many records durably.

        Return how many nanoseconds each took, of as many as the time allows.
        """
        log = AppendLog(path, lock_timeout=seconds)
        record = {"doctor": _LINE[:200].decode()}
        return _time(number, seconds, lambda _: log.append(record))

    def time_syncs(self, path: str, number: int, seconds: float) -> list[int]:
        """Return how many nanoseconds each sync of a file took, after a line was written to it."""
        fd = calls.open_append(path)
        try:
            return _time(
                number,
                seconds,
                lambda _: calls.sync_file(fd),
                before=lambda _: calls.write_all(fd, _LINE),
            )
        finally:
            calls.close(fd)

    def time_directory_syncs(self, directory: str, number: int, seconds: float) -> list[int]:
        """Return how many nanoseconds each sync of a directory took, after a file was made in it."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # not `disk.sync_directory`, which passes over a file system that cannot
            return _time(
                number,
                seconds,
                lambda _: os.fsync(fd),
                before=lambda turn: calls.close(
                    calls.open_append(os.path.join(directory, f"new-{turn}"))
                ),
            )
        finally:
            os.close(fd)

    def _tried(self) -> FileLock:
        if self._lock is None:
            raise OSError(errno.EBADF, "no lock was tried")
        return self._lock


def _time(
    number: int, seconds: float, act: Callable[[int], object], before: Callable[[int], object] = int
) -> list[int]:
    end = time.monotonic() + seconds
    took: list[int] = []
    for turn in range(number):
        if took and time.monotonic() > end:
            break
        before(turn)
        start = time.perf_counter_ns()
        act(turn)
        took.append(time.perf_counter_ns() - start)
    return took


def _mount_id(fd: int) -> int:
    """Return the number of an open file's mount in the mountinfo, which no later mount can hide.

    -1 where none is told.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("mnt_id:")), -1)
    except OSError:
        return -1


def _number_in(turn: bytes) -> int:
    return int(turn[:9]) if turn[:9].isdigit() else 0


def main(lock_name: str) -> None:
    """Do what the standard input tells, until it ends. `lock_name` is `module:class`."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the doctor's to answer: it ends its processes
    probe = Probe(pkgutil.resolve_name(lock_name))
    while line := sys.stdin.buffer.readline():
        command, *arguments = json.loads(line)
        try:
            answer = [True, getattr(probe, command)(*arguments)]
        except OSError as error:
            answer = [False, error.errno, error.strerror or str(error)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the doctor tells it
            answer = [False, None, f"{type(error).__name__}: {error}"]
        calls.write_all(1, json.dumps(answer).encode() + b"\n")
