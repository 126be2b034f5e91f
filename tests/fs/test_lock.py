"""FileLock: one holder at a time of the file that has the name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.lock import TRY, WAIT, FileLock

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def hold_until_killed(path: str, sender: Connection) -> None:
    """Take the lock, report it, and sleep."""
    lock = FileLock(path)
    assert lock.acquire(TRY)
    sender.send("held")
    signal.pause()


def test_there_is_one_holder_at_a_time(path: str) -> None:
    """Within a process too, a second lock is refused until the first is released."""
    first, second = FileLock(path), FileLock(path)
    assert first.acquire(TRY)
    assert not second.acquire(TRY)
    first.release()
    first.release()
    assert second.acquire(TRY)
    second.release()


def test_the_death_of_a_holder_frees_the_lock(path: str) -> None:
    """The lock of a killed process is free."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    holder = context.Process(target=hold_until_killed, args=(path, sender))
    holder.start()
    assert receiver.recv() == "held"
    lock = FileLock(path)
    assert not lock.acquire(TRY)
    holder.kill()
    holder.join()
    assert lock.acquire(WAIT)
    lock.release()


@pytest.mark.parametrize("method", ["rename", "remove"])
def test_who_waited_for_a_file_that_was_rotated_gets_the_new_one(path: str, method: str) -> None:
    """The lock that is granted is that of the file which has the name then."""
    holder, waiting = FileLock(path), FileLock(path)
    assert holder.acquire(TRY)
    old = os.stat(path)
    assert not waiting.acquire(TRY)
    thread = threading.Thread(target=waiting.acquire, args=(WAIT,))
    thread.start()
    assert waiting.is_for_named_file()
    if method == "rename":
        os.rename(path, path + ".1")
    else:
        os.unlink(path)
    holder.release()
    thread.join()
    assert os.path.samestat(os.fstat(waiting.fd), os.stat(path))
    # The inode number of a removed file may be used again.
    assert method == "remove" or not os.path.samestat(old, os.stat(path))
    waiting.release()


def test_a_file_that_never_keeps_its_name_is_told(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no open file ever has the name, trying ends with an error."""
    real = os.lstat

    def lie(name: Any) -> os.stat_result:
        mode, inode, device, *rest = real(name)
        return os.stat_result((mode, inode, device + 1, *rest[:7]))

    monkeypatch.setattr(fs_calls, "stat_named", lie)
    lock = FileLock(path)
    with pytest.raises(OSError, match="replaced"):
        lock.acquire(TRY)
    with pytest.raises(OSError, match="replaced"):
        lock.acquire(WAIT)
    assert lock.fd == -1
