"""Forks at any moment: the child shares no lock, keeps no descriptor, and can append at once."""

from __future__ import annotations

import errno
import fcntl
import functools
import itertools
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import HANG_SECONDS

from metrics_appender import AppendLog
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs import fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from conftest import Waiting


class SlowDisk:
    """A disk whose next sync lasts until the test lets it end."""

    def __init__(self) -> None:
        """Begin with no sync in progress."""
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self._real = fs_calls.sync_file

    def sync_file(self, fd: int) -> None:
        """Wait for the test's permission, then sync."""
        self.has_begun.set()
        self.may_end.wait(60)
        self._real(fd)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    """A disk that is slow until the test says otherwise."""
    made = SlowDisk()
    monkeypatch.setattr(fs_calls, "sync_file", made.sync_file)
    yield made
    made.may_end.set()


def start_child(body: Callable[[], None]) -> int:
    """Fork a child that runs the body and ends; return its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return pid


def end_of(pid: int) -> int:
    """Wait for a child and return its exit status, 0 unless its body raised."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(body: Callable[[], None]) -> int:
    """Run the body in a child, and return the child's exit status."""
    return end_of(start_child(body))


def descriptors_of(path: str) -> int:
    """Return how many descriptors of this process are open on a file."""
    names = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(name) and os.readlink(name) == path for name in names)


def test_a_fork_in_the_middle_of_an_append_shares_nothing(
    log: AppendLog, path: str, slow: SlowDisk
) -> None:
    """The child has no descriptor of the parent's append, and its own append waits for that one."""
    thread = threading.Thread(target=log.append, args=({"who": "parent"},))
    thread.start()
    slow.has_begun.wait(60)
    reader, writer = os.pipe()

    def child() -> None:
        assert descriptors_of(path) == 0
        probe = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):  # the parent's lock is still the parent's
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(probe)
        fs_calls.sync_file = os.fsync
        os.write(writer, b"ready")
        log.append({"who": "child"})

    pid = start_child(child)
    assert os.read(reader, 5) == b"ready"
    slow.may_end.set()
    thread.join()
    assert end_of(pid) == 0
    os.close(reader)
    os.close(writer)
    assert log.read() == [{"who": "parent"}, {"who": "child"}]


PARENT_DIES = """
import os, signal, sys, threading
from metrics_appender import AppendLog
from metrics_appender.fs import calls as disk, fork
log = AppendLog(sys.argv[1])
syncing = threading.Event()
def sync(fd):
    syncing.set()
    threading.Event().wait()
disk.sync_file = sync
threading.Thread(target=log.append, args=({"who": "parent"},), daemon=True).start()
syncing.wait()
if os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
    os.close(1)
    signal.pause()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(log: AppendLog, path: str) -> None:
    """The parent is killed with the lock held, and others append while its child lives on."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_DIES, path], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert parent.wait() == -signal.SIGKILL
            log.append({"who": "other"})
        finally:
            os.kill(child, signal.SIGKILL)
    assert log.read()[-1] == {"who": "other"}


def test_children_append_while_threads_of_the_parent_do(log: AppendLog) -> None:
    """Forks from any thread under appends cause no deadlock and no lost line on either side."""
    statuses: list[int] = []

    def append(name: str, count: int) -> None:
        for n in range(count):
            log.append({"who": name, "n": n})

    def fork(name: str) -> None:
        statuses.extend(in_child(functools.partial(append, f"{name}-{n}", 3)) for n in range(10))

    threads = [threading.Thread(target=append, args=(f"thread-{n}", 60)) for n in range(3)]
    threads += [threading.Thread(target=fork, args=(f"child-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 20
    seen: dict[str, list[int]] = {}
    for record in log.read():
        seen.setdefault(record["who"], []).append(record["n"])
    assert {name: len(numbers) for name, numbers in seen.items()} == {
        **{f"thread-{n}": 60 for n in range(3)},
        **{f"child-{n}-{m}": 3 for n in range(2) for m in range(10)},
    }
    assert all(numbers == sorted(numbers) for numbers in seen.values())


def test_a_child_forked_while_others_wait_in_the_queue_starts_afresh(
    log: AppendLog, path: str, slow: SlowDisk, wait: Waiting
) -> None:
    """The child has neither the threads that wait in the parent nor their lines."""
    threads = [threading.Thread(target=log.append, args=({"n": n},)) for n in range(4)]
    threads[0].start()
    slow.has_begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait.until(lambda: len(log._writer._commit._queue) == 3)

    def child() -> None:
        fs_calls.sync_file = os.fsync
        other = AppendLog(path + ".other")
        other.append({})
        assert len(log._writer._commit._queue) == 0

    assert in_child(child) == 0
    slow.may_end.set()
    for thread in threads:
        thread.join()
    assert sorted(record["n"] for record in log.read()) == [0, 1, 2, 3]


def test_a_signal_handler_that_forks_in_mid_append_leaves_the_append_to_the_parent(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the child, the append that the handler interrupted raises and writes nothing."""
    status: list[int] = []
    real = fs_calls.sync_file

    def sync_and_fork(fd: int) -> None:
        if not status:
            status.append(0)
            pid = os.fork()  # as a signal handler would, in the thread of the append
            if pid == 0:
                return
            status.append(end_of(pid))
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync_and_fork)
    me = os.getpid()
    try:
        log.append({"n": 1})
    except OSError:
        if os.getpid() == me:
            raise
        os._exit(42)
    finally:
        if os.getpid() != me:
            os._exit(43)
    assert status == [0, 42]
    assert log.read() == [{"n": 1}]
    log.append({"n": 2})
    assert log.read() == [{"n": 1}, {"n": 2}]


IMPORTS_OF_CALLS = """
import importlib.abc, os, sys
from metrics_appender import AppendLog, MetricsAppender, Rotation

rotation = None
if sys.argv[2] == "rotating":
    rotation = Rotation(max_bytes=1, max_age=3600.0, keep_segments=2, compress="gzip")
log = AppendLog(sys.argv[1] + "/events.ndjson", rotation=rotation)
metrics = MetricsAppender(sys.argv[1], rotation=rotation)
before = set(sys.modules)
name = "s_performance.json"
for number in range(4):
    metrics.append_performance_metric("s", "run", number, "agent")
    metrics.append_rollback_event("s", "a", "b", "c", "d")
    log.append({"n": number})
metrics.append_many([])
log.append_many([{"n": 4}])
metrics.read_metrics(name), list(metrics.iter_metrics(name)), metrics.cursors(name)
log.read(), list(log.iter_records()), log.load_cursor("name"), log.rotate()
metrics.close(), log.close()
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("encodings")))
"""


@pytest.mark.parametrize("kind", ["plain", "rotating"])
def test_what_the_methods_need_is_imported_when_the_appender_is_made(
    tmp_path: Path, kind: str
) -> None:
    """A child forked while another thread imports would find that module's lock held for ever."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_OF_CALLS, str(tmp_path), kind],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []


def test_threads_that_fork_at_once_keep_no_log_locked(tmp_path: Path) -> None:
    """Each fork releases what it has taken, while others append and make new logs."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def repeat(act: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                act()
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    logs = [
        AppendLog(tmp_path / str(number), durability="os", lock_timeout=HANG_SECONDS)
        for number in range(2)
    ]
    counts = [0, 0]

    def append(number: int) -> None:
        logs[number].append({})
        AppendLog(tmp_path / "new", durability="os").append({})
        counts[number] += 1

    forked: list[int] = []
    acts: list[Callable[[], object]] = [functools.partial(append, number) for number in range(2)]
    acts += [lambda: forked.append(in_child(lambda: None))] * 2
    threads = [threading.Thread(target=repeat, args=(act,), daemon=True) for act in acts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        while len(forked) < 100 and not errors and all(thread.is_alive() for thread in threads):
            stop.wait(0.01)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
    for thread in threads:
        thread.join(HANG_SECONDS / 2)
        assert not thread.is_alive()
    assert not errors
    assert not any(forked)
    assert [len(log.read()) for log in logs] == counts


LOGGING_HOLDS_ITS_LOCK = """
import sys, threading, time
if sys.argv[2] == "first":
    import logging.config
from metrics_appender import AppendLog
import logging.config, os

inside = threading.Event()

class Handler(logging.Handler):
    def __init__(self):
        super().__init__()
        inside.set()
        time.sleep(0.1)  # the fork comes, and waits for the lock of `logging`, which is held
        self.log = AppendLog(sys.argv[1])
        self.log.append({"who": "handler"})

config = {"version": 1, "handlers": {"h": {"()": Handler}}}
other = threading.Thread(target=logging.config.dictConfig, args=(config,))
other.start()
inside.wait()
pid = os.fork()
if pid == 0:
    AppendLog(sys.argv[1]).append({"who": "child"})
    os._exit(0)
other.join()
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_log_is_made_while_logging_holds_its_lock_and_another_thread_forks(
    tmp_path: Path, order: str
) -> None:
    """A fork takes the lock of `logging` too, before or after ours, by the order of the imports."""
    path = str(tmp_path / "events.ndjson")
    subprocess.run(
        [sys.executable, "-c", LOGGING_HOLDS_ITS_LOCK, path, order],
        check=True,
        timeout=HANG_SECONDS,
    )
    assert {record["who"] for record in AppendLog(path).read()} == {"handler", "child"}


def test_a_handler_that_forks_while_its_thread_opens_the_file_leaves_the_append_to_the_parent(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise parent and child would share the open file, and so its lock."""
    me = os.getpid()
    status: list[int] = []
    real = fs_calls.open

    def open_and_fork(path: str, flags: int, mode: int) -> int:
        fd = real(path, flags, mode)
        if path == log.path and not status:
            status.append(0)
            pid = os.fork()
            if pid:
                status.append(end_of(pid))
        return fd

    monkeypatch.setattr(fs_calls, "open", open_and_fork)
    try:
        log.append({"n": 1})
    except OSError:
        if os.getpid() == me:
            raise
        os._exit(42 if descriptors_of(log.path) == 0 else 44)
    finally:
        if os.getpid() != me:
            os._exit(43)
    assert status == [0, 42]
    assert log.read() == [{"n": 1}]


def test_an_open_that_hangs_holds_up_neither_another_file_nor_a_fork_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging open (a lease, a lost server) delays others only briefly; a child opens anew."""
    hanging, others = (AppendLog(tmp_path / name) for name in ("hanging", "others"))
    has_begun, may_end = threading.Event(), threading.Event()
    real = fs_calls.open

    def open_slowly(path: str, *arguments: int) -> int:
        if path == hanging.path and not has_begun.is_set():
            has_begun.set()
            may_end.wait(HANG_SECONDS)
        return real(path, *arguments)

    def child() -> None:
        for log in (hanging, others):
            log.append({"who": "child"})

    monkeypatch.setattr(fs_calls, "open", open_slowly)
    thread = threading.Thread(target=hanging.append, args=({"who": "parent"},))
    thread.start()
    has_begun.wait(HANG_SECONDS)
    try:
        others.append({"who": "parent"})
        assert in_child(child) == 0
        assert thread.is_alive()
    finally:
        may_end.set()
        thread.join()
    assert others.read() == [{"who": "parent"}, {"who": "child"}]
    assert hanging.read() == [{"who": "child"}, {"who": "parent"}]


def test_a_close_that_fails_in_the_child_keeps_no_other_lock(
    tmp_path: Path, slow: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed close, as on a network, the parent's other locks are dropped all the same."""
    logs = [AppendLog(tmp_path / str(number)) for number in range(3)]
    threads = [threading.Thread(target=log.append, args=({"who": "parent"},)) for log in logs]
    for thread, log in zip(threads, logs, strict=True):
        slow.has_begun.clear()
        thread.start()
        slow.has_begun.wait(HANG_SECONDS)
        assert log._writer._commit._lock.is_held
    parent = os.getpid()
    real = fs_calls.close

    def close(fd: int) -> None:
        real(fd)
        if os.getpid() != parent:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fs_calls, "close", close)

    def child() -> None:
        monkeypatch.undo()
        assert sum(descriptors_of(log.path) for log in logs) == 0
        fs_calls.sync_file = os.fsync
        another = threading.Thread(target=AppendLog(tmp_path / "another").append, args=({},))
        another.start()
        another.join(HANG_SECONDS / 2)
        assert not another.is_alive()
        assert not any(log._writer._commit._lead.locked() for log in logs)

    assert in_child(child) == 0
    slow.may_end.set()
    for thread in threads:
        thread.join()


class Interrupted(BaseException):
    """What a signal handler raises."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_anywhere_in_the_hooks_of_a_fork_keeps_no_log_locked(log: AppendLog) -> None:
    """Ctrl-C during the fork leaves no log locked.

    Python checks for it at the entry of the first hook, and swallows what is raised there.
    """
    log.append({"who": "parent"})

    def append_in_a_thread() -> None:
        thread = threading.Thread(target=log.append, args=({},), daemon=True)
        thread.start()
        thread.join(HANG_SECONDS / 4)
        assert not thread.is_alive()

    for number in itertools.count(1):
        left = [number]

        def interrupt(frame: FrameType, event: str, _: object, left: list[int] = left) -> None:
            if event in {"call", "c_return"} and frame.f_code.co_filename == fork.__file__:
                left[0] -= 1
                if left[0] == 0:
                    sys.setprofile(None)
                    raise Interrupted

        sys.setprofile(interrupt)
        pid = os.fork()
        sys.setprofile(None)
        if pid == 0:
            status = 1
            try:
                assert descriptors_of(log.path) == 0
                append_in_a_thread()
                status = 0
            finally:
                os._exit(status)
        assert end_of(pid) == 0
        append_in_a_thread()
        assert not fork.under_way
        if left[0] > 0:
            break
    assert number > 10
