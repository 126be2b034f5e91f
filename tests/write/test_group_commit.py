"""Appends that meet in one process.

Waiting for another process's lock, fairly and with a deadline.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender import AppendLog, LockTimeoutError
from metrics_appender.fs import calls as fs_calls
from metrics_appender.write.commit_queue import PendingAppend
from metrics_appender.write.durability import Level
from metrics_appender.write.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conftest import Waiting

    Hold = Callable[[str], AbstractContextManager[int]]


def waiters() -> list[threading.Thread]:
    """Return the threads that wait for locks."""
    return [thread for thread in threading.enumerate() if thread.name == "metrics-appender-waiter"]


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _no_thread_of_another_test(wait: Waiting) -> None:
    """Begin when the waiters of earlier tests have ended."""
    wait.until(lambda: not waiters())


class Calls:
    """Threads that append one record each; what each append raised is kept."""

    def __init__(self, log: AppendLog) -> None:
        """Append to this log."""
        self._log = log
        self._threads: list[threading.Thread] = []
        self.errors: dict[Any, BaseException] = {}

    def start(self, *records: Any) -> None:
        """Start a thread for each value, which appends it as `{"n": value}`."""
        for value in records:
            thread = threading.Thread(target=self._append, args=(value,))
            self._threads.append(thread)
            thread.start()

    def _append(self, value: Any) -> None:
        try:
            self._log.append({"n": value})
        except BaseException as error:  # noqa: BLE001 - kept for the test to look at
            self.errors[value] = error

    def join(self) -> None:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join()


def queued(log: AppendLog) -> int:
    """Return how many wait in the log's queue."""
    return len(log._writer._commit._queue)


def count_syncs(
    monkeypatch: pytest.MonkeyPatch, log: AppendLog, wait: Waiting, *, others: int
) -> list[int]:
    """Have the first sync wait until so many others are in the queue.

    Return what grows by one with each sync.
    """
    syncs: list[int] = []
    real = fs_calls.sync_file

    def sync(fd: int) -> None:
        syncs.append(fd)
        if len(syncs) == 1:
            wait.until(lambda: queued(log) == others)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    return syncs


def test_threads_that_meet_share_a_pass(
    log: AppendLog, wait: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one leads, the others queue; the next leads for them all: two syncs for eight lines."""
    log.append({"n": "first"})
    syncs = count_syncs(monkeypatch, log, wait, others=7)
    calls = Calls(log)
    calls.start(*range(8))
    calls.join()
    assert not calls.errors
    assert len(syncs) == 2
    assert sorted(record["n"] for record in log.read()[1:]) == list(range(8))
    assert not waiters()


def test_no_thread_is_made_before_another_process_holds_the_lock(
    log: AppendLog, path: str, hold: Hold, wait: Waiting
) -> None:
    """Alone there is no thread; under contention one; a while after, none."""
    log.append({"n": 0})
    assert not waiters()
    calls = Calls(log)
    with hold(path):
        calls.start(1, 2, 3)
        wait.until(lambda: queued(log) == 3 and waiters())
        assert len(waiters()) == 1
    calls.join()
    assert not calls.errors
    assert sorted(record["n"] for record in log.read()) == [0, 1, 2, 3]
    wait.until(lambda: not waiters())


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_a_timed_out_line_never_appears(path: str, hold: Hold, durability: Any) -> None:
    """After the deadline the line is withdrawn; the error says so.

    And repeating it leaves no pile.
    """
    with AppendLog(path, durability=durability, lock_timeout=0.05) as log:
        log.append({"n": "before"})
        with hold(path):
            with pytest.raises(LockTimeoutError) as caught:
                log.append({"n": "lost"})
            after_one = descriptors()
            for _ in range(5):
                with pytest.raises(LockTimeoutError):
                    log.append({"n": "lost"})
            assert descriptors() <= after_one
            assert len(waiters()) <= 1
        assert caught.value.filename == path
        assert caught.value.timeout_seconds == 0.05
        assert caught.value.errno == errno.ETIMEDOUT
        assert "nothing was written" in str(caught.value)
    with AppendLog(path, lock_timeout=60) as log:
        log.append({"n": "after"})
        assert log.read() == [{"n": "before"}, {"n": "after"}]


def test_a_timeout_of_zero_tries_once(path: str, hold: Hold) -> None:
    """It neither waits nor makes a thread."""
    log = AppendLog(path, lock_timeout=0)
    log.append({"n": 1})
    with hold(path), pytest.raises(LockTimeoutError):
        log.append({"n": 2})
    assert not waiters()
    log.append({"n": 3})
    assert log.read() == [{"n": 1}, {"n": 3}]


def test_no_timeout_waits_for_as_long_as_it_takes(path: str, hold: Hold, wait: Waiting) -> None:
    """With `None` the append comes through when the holder ends."""
    log = AppendLog(path, lock_timeout=None)
    calls = Calls(log)
    with hold(path):
        calls.start(1)
        wait.until(waiters)
    calls.join()
    assert log.read() == [{"n": 1}]


def test_some_time_out_and_the_others_come_through(path: str, hold: Hold, wait: Waiting) -> None:
    """The deadline of one caller takes back that caller's line only."""
    patient, hasty = AppendLog(path, lock_timeout=60), AppendLog(path, lock_timeout=0.05)
    calls = Calls(patient)
    with hold(path):
        calls.start(1, 2)
        wait.until(lambda: queued(patient) == 2)
        with pytest.raises(LockTimeoutError):
            hasty.append({"n": 3})
    calls.join()
    assert not calls.errors
    assert sorted(record["n"] for record in patient.read()) == [1, 2]


@pytest.mark.parametrize("method", ["rename", "remove"])
def test_a_file_rotated_under_a_stuck_holder_frees_the_writers(
    path: str, hold: Hold, wait: Waiting, method: str
) -> None:
    """Who holds the old file concerns nobody.

    The appends go on in the new one, also those that waited already.
    """
    with AppendLog(path, lock_timeout=60) as log, hold(path):
        calls = Calls(log)
        calls.start(1, 2)
        wait.until(lambda: queued(log) == 2)
        if method == "rename":
            os.rename(path, path + ".1")
        else:
            os.unlink(path)
        calls.join()
        log.append({"n": 3})
        assert not calls.errors
        assert sorted(record["n"] for record in log.read()) == [1, 2, 3]
    wait.until(lambda: not waiters())


def test_an_error_reaches_the_callers_whose_line_it_concerns(
    log: AppendLog, wait: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of lines that met, the one too long for the disk fails; the others are written."""
    log.append({"n": "first"})
    real = os.write

    def write(fd: int, data: bytes) -> int:
        """Write where there is room for 1000 bytes, 100 at a time."""
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:100])

    monkeypatch.setattr(fs_calls, "write", write)
    count_syncs(monkeypatch, log, wait, others=3)
    calls = Calls(log)
    calls.start(0)
    wait.until(log._writer._commit._lead.locked)
    calls.start(1, "x" * 2000, 3)
    calls.join()
    (failed,) = calls.errors.items()
    assert failed[0] == "x" * 2000
    assert isinstance(failed[1], OSError)
    assert failed[1].errno == errno.ENOSPC
    assert "nothing was written" in failed[1].__notes__[0]
    assert sorted(record["n"] for record in log.read()[1:]) == [0, 1, 3]


def test_a_failed_sync_reaches_all_whom_it_should_have_covered(
    log: AppendLog, wait: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their lines are cut back, each gets an error of its own, and the sync is not tried again."""
    log.append({"n": "first"})
    syncs: list[int] = []
    real = fs_calls.sync_file

    def sync(fd: int) -> None:
        syncs.append(fd)
        if len(syncs) == 1:
            wait.until(lambda: queued(log) == 3)
            real(fd)
        else:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    calls = Calls(log)
    calls.start("good")
    wait.until(log._writer._commit._lead.locked)
    calls.start(1, 2, 3)
    calls.join()
    assert len(syncs) == 2
    assert sorted(calls.errors) == [1, 2, 3]
    assert len(set(map(id, calls.errors.values()))) == 3
    assert all(
        isinstance(error, OSError) and error.errno == errno.EIO for error in calls.errors.values()
    )
    assert all("nothing was written" in error.__notes__[0] for error in calls.errors.values())
    assert [record["n"] for record in log.read()] == ["first", "good"]


def test_where_cutting_back_fails_too_the_error_says_so(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns that the line may be in the file; the next append goes on."""

    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(fs_calls, "sync_file", fail)
        patched.setattr(fs_calls, "cut_back", fail)
        with pytest.raises(OSError, match="Input/output error") as caught:
            log.append({"n": 1})
    assert caught.value.__notes__ == [f"{log.path}: the line may be in the file"]
    log.append({"n": 2})
    assert log.read() == [{"n": 1}, {"n": 2}]


def test_the_main_thread_leads_for_nobody_else(
    log: AppendLog, wait: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals interrupt it alone: another thread commits the batch that its line is in."""
    log.append({"n": "first"})
    leaders: list[threading.Thread] = []
    real = fs_calls.sync_file

    def sync(fd: int) -> None:
        leaders.append(threading.current_thread())
        if len(leaders) == 1:
            wait.until(lambda: queued(log) == 4)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    calls = Calls(log)
    calls.start("leads first")
    wait.until(log._writer._commit._lead.locked)
    other = threading.Thread(target=lambda: calls.start(1, 2, 3))
    wait.until(lambda: queued(log) == 0)
    other.start()
    log.append({"n": "main"})
    other.join()
    calls.join()
    assert not calls.errors
    assert len(leaders) == 2
    assert threading.main_thread() not in leaders
    assert {record["n"] for record in log.read()} == {"first", "leads first", 1, 2, 3, "main"}


def test_without_a_thread_to_be_had_the_lock_is_polled_for(
    path: str, hold: Hold, monkeypatch: pytest.MonkeyPatch, wait: Waiting
) -> None:
    """Out of threads, or at the interpreter's end, an append still waits.

    Still keeps its deadline.
    """
    log = AppendLog(path, lock_timeout=60)
    refused: list[object] = []

    def refuse(thread: object) -> None:
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    calls = Calls(log)
    with hold(path):
        calls.start(1)
        real = threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", refuse)
        wait.until(lambda: refused or queued(log) == 1)
        with pytest.raises(LockTimeoutError):
            AppendLog(path, lock_timeout=0.05).append({"n": 2})
    calls.join()
    monkeypatch.setattr(threading.Thread, "start", real)
    assert log.read() == [{"n": 1}]


def test_an_append_in_a_signal_handler_in_mid_append_is_refused_at_once(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could only wait for itself; the interrupted append goes on."""
    errors: list[OSError] = []
    real = fs_calls.sync_file

    def handle(number: int, frame: object) -> None:
        try:
            log.append({"n": "handler"})
        except OSError as error:
            errors.append(error)

    def sync(fd: int) -> None:
        signal.raise_signal(signal.SIGUSR1)
        real(fd)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        monkeypatch.setattr(fs_calls, "sync_file", sync)
        log.append({"n": 1})
    finally:
        signal.signal(signal.SIGUSR1, before)
    (error,) = errors
    assert error.errno == errno.EDEADLK
    assert "nothing was written" in error.__notes__[0]
    assert log.read() == [{"n": 1}]


def test_the_deadline_is_kept_while_a_pass_of_this_process_is_slow(
    path: str, monkeypatch: pytest.MonkeyPatch, wait: Waiting
) -> None:
    """Waiting for one's own process's pass counts as waiting.

    What the pass has taken is waited for.
    """
    log = AppendLog(path, lock_timeout=0.1)
    log.append({"n": 0})
    may_end = threading.Event()
    real = fs_calls.sync_file

    def sync(fd: int) -> None:
        may_end.wait(60)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    calls = Calls(log)
    calls.start(1)
    wait.until(log._writer._commit._lead.locked)
    begin = time.monotonic()
    with pytest.raises(LockTimeoutError):
        log.append({"n": 2})
    assert time.monotonic() - begin >= 0.1
    may_end.set()
    calls.join()
    assert not calls.errors
    assert log.read() == [{"n": 0}, {"n": 1}]


def test_a_line_that_was_refused_while_others_waited_never_appears(tmp_path: Path) -> None:
    """Threads that meet where the directory is missing.

    Each line is refused, and none is written when it is there.
    """
    directory = tmp_path / "later"
    log = AppendLog(directory / "file")
    barrier = threading.Barrier(8)
    refused: list[OSError] = []

    def append() -> None:
        for n in range(50):
            barrier.wait()
            try:
                log.append({"n": n})
            except FileNotFoundError as error:
                refused.append(error)

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    directory.mkdir()
    log.append({"n": "after"})
    assert len(refused) == 400
    assert log.read() == [{"n": "after"}]


def test_the_leader_wakes_the_callers_of_a_batch_that_its_own_append_is_not_in(path: str) -> None:
    """A task behind a line is a batch of its own: the caller of the line must not sleep on."""
    appends = GroupCommit(path, lambda *_: (), None, Level(syncs_locked=True))
    other = PendingAppend(b"{}\n")
    other.thread = 0
    appends._queue.append(other)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(appends.run_exclusive, lambda _: None).result()
    assert other.is_done
    assert other.wakeup.acquire(blocking=False)
