"""The durability "group": as durable as "fsync", and others write while one syncs."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from metrics_appender import AppendLog
from metrics_appender.fs import calls as fs_calls

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Waiting

    from metrics_appender.append_log import Durability


class SlowDisk:
    """A disk whose syncs last until the test lets them end; counts those begun and ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the real sync."""
        self.begun = 0
        self.ended = 0
        self.lets_go = threading.Event()
        self._sync = fs_calls.sync_file
        monkeypatch.setattr(fs_calls, "sync_file", self)

    def __call__(self, fd: int) -> None:
        """Sync a file."""
        self.begun += 1
        self.lets_go.wait()
        self._sync(fd)
        self.ended += 1


def test_others_write_while_one_syncs(
    path: str, monkeypatch: pytest.MonkeyPatch, wait: Waiting
) -> None:
    """The lock is free once the line is written, and the append returns only after its sync."""
    AppendLog(path).append({"n": 0})
    slow = SlowDisk(monkeypatch)
    syncing = threading.Thread(target=AppendLog(path, durability="group").append, args=({"n": 1},))
    syncing.start()
    wait.until(lambda: slow.begun)
    AppendLog(path, durability="os", lock_timeout=0).append({"n": 2})
    assert syncing.is_alive()
    assert slow.ended == 0
    slow.lets_go.set()
    syncing.join()
    assert slow.ended == 1
    assert AppendLog(path).read() == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_threads_that_meet_share_a_sync(
    path: str, monkeypatch: pytest.MonkeyPatch, wait: Waiting
) -> None:
    """Group commit of threads and of processes work together."""
    log = AppendLog(path, durability="group")
    log.append({"n": 0})
    slow = SlowDisk(monkeypatch)
    threads = [threading.Thread(target=log.append, args=({"n": number},)) for number in range(1, 9)]
    threads[0].start()
    wait.until(lambda: slow.begun)
    for thread in threads[1:]:
        thread.start()
    wait.until(lambda: len(log._writer._commit._queue) == len(threads) - 1)
    slow.lets_go.set()
    for thread in threads:
        thread.join()
    assert slow.ended == 2
    assert {record["n"] for record in log.read()} == set(range(9))


def test_a_failed_sync_says_that_the_line_may_be_there(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is not cut back, since others may have written behind it.

    The sync is not tried again, and the next append goes on.
    """
    log = AppendLog(path, durability="group")
    log.append({"n": 0})
    syncs: list[int] = []

    def fail(fd: int) -> None:
        syncs.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(fs_calls, "sync_file", fail)
        with pytest.raises(OSError, match="Input/output error") as caught:
            log.append({"n": 1})
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == path
    assert caught.value.__notes__ == [f"{path}: the line may be in the file"]
    assert len(syncs) == 1
    log.append({"n": 2})
    assert log.read() == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_failed_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut back under the lock, as with every durability."""
    log = AppendLog(tmp_path / "events.ndjson", durability="group")
    log.append({"n": 0})

    def write_some(fd: int, data: bytes) -> int:
        if len(data) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:-1])

    real = fs_calls.write
    with monkeypatch.context() as full:
        full.setattr(fs_calls, "write", write_some)
        with pytest.raises(OSError, match="No space left") as caught:
            log.append({"n": 1})
    assert caught.value.__notes__ == [f"{log.path}: nothing was written"]
    log.append({"n": 2})
    assert log.read() == [{"n": 0}, {"n": 2}]


@pytest.mark.parametrize("durability", ["fsync", "group"])
def test_what_a_failed_sync_leaves_is_looked_at_when_the_disk_is_back(
    path: str, monkeypatch: pytest.MonkeyPatch, durability: Durability
) -> None:
    """The next append recovers a line that a failed sync has turned into NULs.

    The file is as long as it was, and the next line must not stand behind them.
    """
    log = AppendLog(path, durability=durability)
    log.append({"n": 0})

    def lose(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(fs_calls, "sync_file", lose)
        broken.setattr(fs_calls, "cut_back", lambda fd, size: lose(fd))
        with pytest.raises(OSError, match="Input/output error") as caught:
            log.append({"n": 1})
    assert "may be in the file" in caught.value.__notes__[0]
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(content.index(b"\n") + 4)
        file.write(bytes(len(content) - file.tell()))
    log.append({"n": 2})
    assert AppendLog(path).read() == [{"n": 0}, {"n": 2}]
