"""Appends into which a signal comes.

Whatever its handler raises, others go on, and the error says what became of the line.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import HANG_SECONDS, held

import metrics_appender
from metrics_appender import AppendLog, LockTimeoutError
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.lock import FileLock
from metrics_appender.write.batch import BatchWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import FrameType

    from conftest import Waiting

    Hold = Callable[[str], AbstractContextManager[int]]

DURABILITIES = ["fsync", "group", "os"]


class Team:
    """Threads that append a number each to a log, all of which wait while the first leads."""

    def __init__(self, log: AppendLog) -> None:
        """Append to this log.

        Whoever sleeps until he looks around sleeps so long that the test fails.
        """
        self.log = log
        self.log._writer._commit._longest_nap = HANG_SECONDS
        self.errors: dict[int, BaseException] = {}
        self._threads: list[threading.Thread] = []

    def start(self, *numbers: int) -> None:
        """Start a thread for each number."""
        for number in numbers:
            thread = threading.Thread(target=self._append, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _append(self, number: int) -> None:
        try:
            self.log.append({"n": number})
        except BaseException as error:  # noqa: BLE001 - kept for the test to look at
            self.errors[number] = error

    def join(self) -> None:
        """Wait for all of them."""
        for thread in self._threads:
            thread.join(HANG_SECONDS / 2)
            assert not thread.is_alive(), "an append was not told that it is its turn"

    def interrupt(self, wait: Waiting, error: BaseException) -> None:
        """Have threads queue the numbers 2, 3 and 4, then raise as a signal handler does."""
        self.start(2, 3, 4)
        if self.log._writer._commit._level.is_durable:  # else they nap before they queue
            wait.until(lambda: self.queued() == 3)
        raise error

    def queued(self) -> int:
        """Return how many wait in the queue."""
        return len(self.log._writer._commit._queue)


def in_file(log: AppendLog) -> set[int]:
    """Return the numbers in the file, of which each must be there once."""
    numbers = [record["n"] for record in log.read()]
    assert len(numbers) == len(set(numbers))
    return set(numbers)


def raise_once(
    real: Callable[..., Any], error: BaseException, *, first: Callable[[], object] = lambda: None
) -> Callable[..., Any]:
    """Return the function.

    Which at its first call does `first`, then raises the error in its place.
    """
    errors = [error]

    def act(*arguments: Any) -> Any:
        if errors:
            found = errors.pop()
            first()
            raise found
        return real(*arguments)

    return act


def preceded(real: Callable[..., Any], *acts: Callable[[], object]) -> Callable[..., Any]:
    """Return the function.

    Which first does the first of the acts at its first call, the second at its second, and so on.
    """
    left = iter(acts)

    def act(*arguments: Any) -> Any:
        next(left, lambda: None)()
        return real(*arguments)

    return act


def raising(error: BaseException) -> Callable[[], object]:
    """Return an act that raises."""

    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.EFBIG, "too big"), TimeoutError("job took too long"), KeyboardInterrupt()],
    ids=repr,
)
def test_after_an_error_those_who_came_meanwhile_have_their_turn_at_once(
    log: AppendLog, wait: Waiting, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """They are not left to find out for themselves."""
    team = Team(log)
    monkeypatch.setattr(
        fs_calls,
        "write",
        raise_once(fs_calls.write, failure, first=lambda: wait.until(lambda: team.queued() == 3)),
    )
    team.start(0)
    wait.until(log._writer._commit._lead.locked)
    team.start(1, 2, 3)
    team.join()
    assert team.errors == {0: failure}
    assert "nothing was written" in failure.__notes__[0]
    assert in_file(log) == {1, 2, 3}


@pytest.mark.parametrize(
    ("durability", "where"),
    [
        *((durability, "write") for durability in DURABILITIES),
        ("fsync", "sync_file"),
        ("group", "sync_file"),
    ],
)
def test_what_a_handler_raises_concerns_its_own_thread_alone(
    path: str, wait: Waiting, monkeypatch: pytest.MonkeyPatch, where: str, durability: Any
) -> None:
    """A `TimeoutError` of a `SIGALRM` handler is no error of the disk.

    The main thread, in which handlers run, has it; the others, which wait behind it, are well.
    """
    alarm = TimeoutError("job took too long")
    with AppendLog(path, durability=durability, lock_timeout=HANG_SECONDS) as log:
        log.append({"n": 0})
        team = Team(log)
        act = preceded(getattr(fs_calls, where), lambda: team.interrupt(wait, alarm))
        monkeypatch.setattr(fs_calls, where, act)
        with pytest.raises(TimeoutError) as caught:
            log.append({"n": 1})
        team.join()
        assert caught.value is alarm
        assert not team.errors
        if durability == "group" and where == "sync_file":  # written, and not known to be synced
            assert "may be in the file" in alarm.__notes__[0]
            assert in_file(log) == {0, 1, 2, 3, 4}
        else:
            assert "nothing was written" in alarm.__notes__[0]
            assert in_file(log) == {0, 2, 3, 4}


def test_what_is_raised_while_another_thread_writes_the_line_says_that_it_may_be_there(
    log: AppendLog, wait: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retrying would double it."""
    log.append({"n": 0})
    team = Team(log)
    is_writing, is_told = threading.Event(), threading.Event()
    real = fs_calls.sync_file
    calls: list[int] = []

    def sync(fd: int) -> None:
        calls.append(1)
        if len(calls) == 1:
            wait.until(lambda: team.queued() == 2)  # main's, and another's
        else:
            is_writing.set()
            assert is_told.wait(HANG_SECONDS)
        real(fd)

    def handle(*_: object) -> None:
        raise TimeoutError("job took too long")

    def interrupt() -> None:
        wait.until(lambda: team.queued() == 0 and is_writing.is_set())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        team.start(1)
        wait.until(log._writer._commit._lead.locked)
        team.start(2)
        wait.until(lambda: team.queued() == 1)  # before main, so that it leads for both
        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(TimeoutError, match="job took too long") as caught:
            log.append({"n": 3})
        is_told.set()
        other.join()
    finally:
        is_told.set()
        signal.signal(signal.SIGUSR1, before)
    team.join()
    assert not team.errors
    assert "may be in the file" in caught.value.__notes__[0]
    assert in_file(log) == {0, 1, 2, 3}


@pytest.mark.parametrize("where", ["acquire", "write", "release", "close"])
def test_an_append_by_a_handler_is_refused_at_every_step_of_the_one_it_interrupts(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Opening, writing, unlocking or closing: it could only wait for itself."""
    owner = fs_calls if where in {"write", "close"} else FileLock
    errors: list[OSError] = []
    real = getattr(owner, where)

    def handle(*_: object) -> None:
        try:
            log.append({"n": 1})
        except OSError as error:
            errors.append(error)

    def act(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return real(*arguments)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, where, act)
            log.append({"n": 0})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert errors
    assert {error.errno for error in errors} == {errno.EDEADLK}
    assert in_file(log) == {0}


@pytest.mark.parametrize("durability", DURABILITIES)
def test_an_exception_at_the_door_of_the_release_leaves_nothing_locked(
    path: str, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    """Python looks for signals when a function is entered, before the first of its steps."""
    with AppendLog(path, durability=durability) as log:
        monkeypatch.setattr(FileLock, "release", raise_once(FileLock.release, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt) as caught:
            log.append({"n": 0})
        assert "may be in the file" in caught.value.__notes__[0]
        with AppendLog(path, lock_timeout=0) as other:
            other.append({"n": 1})
        assert in_file(log) == {0, 1}


def test_an_exception_at_the_door_of_the_unlock_doubles_nobodys_line(
    path: str, wait: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With "group": the lock is held still, so that the line is taken back."""
    with AppendLog(path, durability="group", lock_timeout=HANG_SECONDS) as log:
        log.append({"n": 0})
        team = Team(log)
        interruption = KeyboardInterrupt()
        unlock = preceded(FileLock.unlock, lambda: team.interrupt(wait, interruption))
        monkeypatch.setattr(FileLock, "unlock", unlock)
        with pytest.raises(KeyboardInterrupt):
            log.append({"n": 1})
        team.join()
        assert not team.errors
        assert "nothing was written" in interruption.__notes__[0]
        assert in_file(log) == {0, 2, 3, 4}


@pytest.mark.parametrize("durability", ["fsync", "group"])
def test_a_second_signal_before_anything_is_taken_back_doubles_nobodys_line(
    path: str, wait: Waiting, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    """Ctrl-C and SIGTERM come during one sync, which no signal interrupts.

    The second handler raises in the first one's way.
    """
    with AppendLog(path, durability=durability, lock_timeout=HANG_SECONDS) as log:
        log.append({"n": 0})
        team = Team(log)

        def interrupt() -> None:
            roll_back = raise_once(BatchWriter._roll_back, SystemExit("SIGTERM"))
            monkeypatch.setattr(BatchWriter, "_roll_back", roll_back)
            team.interrupt(wait, KeyboardInterrupt())

        monkeypatch.setattr(fs_calls, "sync_file", preceded(fs_calls.sync_file, interrupt))
        with pytest.raises(SystemExit) as caught:
            log.append({"n": 1})
        team.join()
        assert not team.errors
        kept = in_file(log)
        assert {0, 2, 3, 4} <= kept
        assert "may be in the file" in caught.value.__notes__[0]


def test_an_exception_once_the_line_is_in_the_queue_takes_it_out_again(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it any more; it is not written whenever somebody else appends."""
    with AppendLog(log.path, lock_timeout=0) as impatient:
        impatient.append({"n": 0})
        with held(log.path):
            monkeypatch.setattr(
                FileLock, "release", raise_once(FileLock.release, KeyboardInterrupt())
            )
            with pytest.raises(KeyboardInterrupt):
                impatient.append({"n": 1})
        impatient.append({"n": 2})
    assert in_file(log) == {0, 2}


class Interrupted(BaseException):
    """What a signal handler raises."""


class Alarm:
    """Raises at one of the places where Python looks for signals.

    Where a function is entered, and where a call of C returns.
    """

    def __init__(self, number: int, pause_seconds: float) -> None:
        """Choose the place by its number, from 1, and how long the handler takes."""
        self.left = number
        self._pause_seconds = pause_seconds

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Count the places within the library; it is called by the interpreter."""
        if (
            event in {"call", "c_return"}
            and os.path.dirname(metrics_appender.__file__) in frame.f_code.co_filename
        ):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                time.sleep(self._pause_seconds)
                raise Interrupted


@contextlib.contextmanager
def held_by_another_process(log: AppendLog, _: Team) -> Iterator[Callable[[], object]]:
    """Have the lock held; what is yielded lets it go."""
    with held(log.path) as fd:
        yield lambda: fcntl.flock(fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def led_by_another_thread(log: AppendLog, team: Team) -> Iterator[Callable[[], object]]:
    """Have one of the team append its number 4 to a disk that is slow.

    What is yielded lets it come to its end.
    """
    may_end = threading.Event()
    real = fs_calls.sync_file

    def sync(fd: int) -> None:
        assert may_end.wait(HANG_SECONDS)
        real(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fs_calls, "sync_file", sync)
        team.start(4)
        while not log._writer._commit._lead.locked():
            time.sleep(0.0002)
        yield may_end.set


@pytest.mark.parametrize("pause_seconds", [0, 0.02])
@pytest.mark.parametrize("durability", ["fsync", "group"])
@pytest.mark.parametrize("kept_by", [held_by_another_process, led_by_another_thread])
def test_an_exception_anywhere_in_an_append_that_waits_keeps_nobody_waiting_and_tells_the_truth(
    tmp_path: Path, wait: Waiting, kept_by: Any, durability: Any, pause_seconds: float
) -> None:
    """Two more threads come while it waits; whoever sleeps until he looks around fails the test."""
    for number in itertools.count(1):
        alarm = Alarm(number, pause_seconds)
        notes: list[str] | None = None
        with AppendLog(
            tmp_path / str(number), durability=durability, lock_timeout=HANG_SECONDS
        ) as log:
            log.append({"n": 0})
            team = Team(log)
            is_over = threading.Event()

            def go_on_once_all_are_there(
                go_on: Callable[[], object], team: Team = team, is_over: threading.Event = is_over
            ) -> None:
                wait.until(lambda: team.queued() == 1 or is_over.is_set())
                team.start(1, 2)
                wait.until(lambda: team.queued() >= 2)
                go_on()

            with kept_by(log, team) as go_on:
                other = threading.Thread(target=go_on_once_all_are_there, args=(go_on,))
                other.start()
                try:
                    sys.setprofile(alarm)
                    log.append({"n": 3})
                except Interrupted as error:
                    notes = getattr(error, "__notes__", [])
                finally:
                    sys.setprofile(None)
                    is_over.set()
                other.join()
                team.join()
            kept = in_file(log)
        is_written = 3 in kept
        assert kept >= {0, 1, 2} - set(team.errors)
        assert all("may be in the file" in error.__notes__[0] for error in team.errors.values())
        assert is_written or notes is not None
        assert not (is_written and notes and "nothing was written" in notes[0])
        if alarm.left > 0:
            break
    assert number > 20


class JobTimeoutError(RuntimeError):
    """What a handler of SIGALRM raises; "can't start new thread" is a `RuntimeError` too."""


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, JobTimeoutError])
@pytest.mark.parametrize("made", [False, True], ids=["not made", "made"])
def test_an_exception_while_the_waiting_thread_is_made_leaves_the_log_alive(
    path: str,
    hold: Hold,
    monkeypatch: pytest.MonkeyPatch,
    made: bool,
    interruption: type[BaseException],
) -> None:
    """The next append does not wait for a thread that is not there."""

    class Interrupted(threading.Thread):
        def start(self) -> None:
            if made:
                super().start()
            raise interruption

    with AppendLog(path, lock_timeout=HANG_SECONDS) as log:
        with hold(path), monkeypatch.context() as patch:
            patch.setattr(threading, "Thread", Interrupted)
            with pytest.raises(interruption):
                log.append({"n": 0})
        Team(log)
        log.append({"n": 1})
        assert in_file(log) == {1}


def test_an_append_while_the_interpreter_ends_does_not_wait_for_a_thread_that_runs_no_more(
    tmp_path: Path,
) -> None:
    """Daemon threads stand still then; the append takes the lock itself."""
    code = """
import fcntl, os, sys, threading
from metrics_appender import AppendLog

class Last:
    def __init__(self, log):
        self.log = log

    def __del__(self):
        self.log.append({"n": 1})
        os.write(1, b"appended while it ends: %d" % sys.is_finalizing())

log = AppendLog(sys.argv[1], lock_timeout=None)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
other = threading.Thread(target=log.append, args=({"n": 0},))
other.start()
while not any(thread.name == "metrics-appender-waiter" for thread in threading.enumerate()):
    pass
fcntl.flock(fd, fcntl.LOCK_UN)
other.join()
log._writer._commit._waiter._is_called = True
last = Last(log)
"""
    path = tmp_path / "events.ndjson"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        timeout=HANG_SECONDS,
    )
    assert done.stdout == b"appended while it ends: 1", done.stderr.decode()
    assert in_file(AppendLog(path)) == {0, 1}


def test_a_waiting_thread_does_not_make_a_file_that_nobody_wants_any_more(
    path: str, wait: Waiting
) -> None:
    """It waited for an append that timed out; then the log was closed, and the file removed."""
    log = AppendLog(path, lock_timeout=0.05)
    with held(path):
        with pytest.raises(TimeoutError):
            log.append({"n": 0})
        log.close()
        os.unlink(path)
    wait.until(
        lambda: (
            not any(thread.name == "metrics-appender-waiter" for thread in threading.enumerate())
        )
    )
    assert not os.path.exists(path)


def test_an_append_by_another_log_in_a_handler_in_mid_append_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could only wait for its own thread; without a timeout, for ever."""
    log = AppendLog(path, lock_timeout=None)
    log.append({"n": 0})
    real = fs_calls.sync_file
    errors: list[OSError] = []

    def sync(fd: int) -> None:
        monkeypatch.undo()
        with AppendLog(path, lock_timeout=None) as other:
            other._writer._commit._longest_nap = 0.01
            try:
                other.append({"n": "by the handler"})
            except OSError as error:
                errors.append(error)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    log.append({"n": 1})
    assert [error.errno for error in errors] == [errno.EDEADLK]
    assert "nothing was written" in errors[0].__notes__[0]
    log.append({"n": 2})
    assert in_file(log) == {0, 1, 2}


@pytest.mark.parametrize("give_up", ["rotate", "append by a log of its own"])
def test_giving_up_again_and_again_leaves_a_few_threads_at_the_most(
    path: str, give_up: str, wait: Waiting
) -> None:
    """A thread that is blocked in flock(2) cannot be cancelled while the holder keeps the lock."""

    def count() -> int:
        return sum(thread.name == "metrics-appender-waiter" for thread in threading.enumerate())

    wait.until(lambda: count() == 0)
    log = AppendLog(path, lock_timeout=0.01)
    log.append({"n": 0})
    before = len(os.listdir("/proc/self/fd"))
    with held(path):
        for _ in range(20):
            with AppendLog(path, lock_timeout=0.01) as short_lived, pytest.raises(TimeoutError):
                log.rotate() if give_up == "rotate" else short_lived.append({"n": 1})
        assert count() <= 5
        assert len(os.listdir("/proc/self/fd")) <= before + 6
    wait.until(lambda: count() == 0)
    log.append({"n": 2})
    with held(path), pytest.raises(TimeoutError):
        log.append({"n": 3})
    assert in_file(log) == {0, 2}
    log.close()
    wait.until(lambda: count() == 0)


@pytest.mark.parametrize("durability", ["fsync", "group"])
def test_an_error_that_a_handler_had_from_another_log_is_no_error_of_this_one(
    path: str, wait: Waiting, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    """It comes out of the append it interrupts, which says what became of its own line.

    Those who went along are none of its business.
    """
    with (
        AppendLog(path, durability=durability, lock_timeout=HANG_SECONDS) as log,
        AppendLog(path + ".inner", lock_timeout=0) as inner,
    ):
        log.append({"n": 0})
        team = Team(log)

        def interrupt() -> None:
            team.start(2, 3, 4)
            wait.until(lambda: team.queued() == 3)
            inner.append({"n": "by the handler"})

        with held(inner.path):
            monkeypatch.setattr(fs_calls, "sync_file", preceded(fs_calls.sync_file, interrupt))
            with pytest.raises(LockTimeoutError) as caught:
                log.append({"n": 1})
            team.join()
            monkeypatch.undo()
        kept = in_file(log)
    assert not team.errors
    is_rolled_back = durability == "fsync"
    outcome = "nothing was written" if is_rolled_back else "the line may be in the file"
    assert caught.value.__notes__ == [f"{inner.path}: nothing was written", f"{path}: {outcome}"]
    assert kept == {0, 2, 3, 4} | (set() if is_rolled_back else {1})
