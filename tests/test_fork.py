"""Forks at any moment: the child shares no lock, keeps no descriptor, and can append at once."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import HANG_SECONDS

from metrics_appender import AppendLog, disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Waiting


class SlowDisk:
    """A disk whose next sync lasts until it is told to end."""

    def __init__(self) -> None:
        """Begin with a sync that has not begun."""
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self._real = disk.sync_file

    def sync_file(self, fd: int) -> None:
        """Wait for the word, then sync."""
        self.has_begun.set()
        self.may_end.wait(60)
        self._real(fd)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    """The disk is slow until the test says otherwise."""
    made = SlowDisk()
    monkeypatch.setattr(disk, "sync_file", made.sync_file)
    yield made
    made.may_end.set()


def start_child(body: Callable[[], None]) -> int:
    """Fork, and run the body in the child, which then ends; return its process id."""
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
    """Wait for a child and return its exit status: 0 when its body went well."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(body: Callable[[], None]) -> int:
    """Run the body in a child, and return the child's exit status."""
    return end_of(start_child(body))


def descriptors_of(path: str) -> int:
    """Return how many descriptors of this process are open on a file."""
    names = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(name) and os.readlink(name) == path for name in names)


def test_a_fork_in_the_middle_of_an_append_shares_nothing(log: AppendLog, path: str, slow: SlowDisk) -> None:
    """While another thread of the parent syncs, the child has no descriptor, and its append waits for the parent's."""
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
        disk.sync_file = os.fsync
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
from metrics_appender import AppendLog, disk
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
    """The parent is killed with the lock held; its child lives on, and others append all the same."""
    with subprocess.Popen([sys.executable, "-c", PARENT_DIES, path], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert parent.wait() == -signal.SIGKILL
            log.append({"who": "other"})
        finally:
            os.kill(child, signal.SIGKILL)
    assert log.read()[-1] == {"who": "other"}


def test_children_append_while_threads_of_the_parent_do(log: AppendLog) -> None:
    """Forks from any thread under appends: no deadlock, no lost line, on both sides."""
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


def test_a_child_forked_while_others_wait_in_the_queue_starts_afresh(log: AppendLog, path: str, slow: SlowDisk, wait: Waiting) -> None:
    """Threads that waited in the parent are not there in the child, and neither are their lines."""
    threads = [threading.Thread(target=log.append, args=({"n": n},)) for n in range(4)]
    threads[0].start()
    slow.has_begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait.until(lambda: len(log._appends._queue) == 3)

    def child() -> None:
        disk.sync_file = os.fsync
        other = AppendLog(path + ".other")
        other.append({})
        assert len(log._appends._queue) == 0

    assert in_child(child) == 0
    slow.may_end.set()
    for thread in threads:
        thread.join()
    assert sorted(record["n"] for record in log.read()) == [0, 1, 2, 3]


def test_a_signal_handler_that_forks_in_mid_append_leaves_the_append_to_the_parent(log: AppendLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child comes out of the handler into an append that is the parent's: there it is an error, and writes nothing."""
    status: list[int] = []
    real = disk.sync_file

    def sync_and_fork(fd: int) -> None:
        if not status:
            status.append(0)
            pid = os.fork()  # as a signal handler would, in the thread of the append
            if pid == 0:
                return
            status.append(end_of(pid))
        real(fd)

    monkeypatch.setattr(disk, "sync_file", sync_and_fork)
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


LATE_IMPORT = """
import os, sys, threading
from metrics_appender import AppendLog, MetricsAppender

module, method, arguments = sys.argv[2:5]
importing, forking = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == module and not importing.is_set():
            importing.set()
            forking.wait(1)  # the fork comes now, and is to wait

sys.meta_path.insert(0, Slow())
metrics = MetricsAppender(sys.argv[1])
def use():
    getattr(metrics, method)(*eval(arguments))
other = threading.Thread(target=use)
other.start()
importing.wait()
pid = os.fork()
if pid == 0:
    use()
    os._exit(0)
forking.set()
other.join()
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize(
    ("module", "method", "arguments"),
    [
        ("portalocker", "append_performance_metric", ("s", "run", 1, "agent")),
        ("metrics_appender.reader", "read_metrics", ("s_performance.json",)),
        ("metrics_appender.named_cursors", "load_cursor", ("s_performance.json", "name")),
    ],
)
def test_a_fork_while_another_thread_is_in_its_first_call_leaves_the_child_nothing_half_imported(
    tmp_path: Path, module: str, method: str, arguments: tuple[object, ...]
) -> None:
    """What is imported when it is first needed has a lock, which a thread that is not there would hold in the child for ever."""
    subprocess.run([sys.executable, "-c", LATE_IMPORT, str(tmp_path), module, method, repr(arguments)], check=True, timeout=HANG_SECONDS)


def test_an_open_that_hangs_holds_up_neither_another_file_nor_a_fork_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file has a lease, or a server that is gone; in the child the file can be opened anew."""
    hanging, others = (AppendLog(tmp_path / name) for name in ("hanging", "others"))
    has_begun, may_end = threading.Event(), threading.Event()
    real = disk.open

    def open_slowly(path: str, *arguments: int) -> int:
        if path == hanging.path and not has_begun.is_set():
            has_begun.set()
            may_end.wait(HANG_SECONDS)
        return real(path, *arguments)

    def child() -> None:
        for log in (hanging, others):
            log.append({"who": "child"})

    monkeypatch.setattr(disk, "open", open_slowly)
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


def test_a_close_that_fails_in_the_child_keeps_no_other_lock(tmp_path: Path, slow: SlowDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a network's file may; the parent's other locks are forgotten all the same."""
    logs = [AppendLog(tmp_path / str(number)) for number in range(3)]
    threads = [threading.Thread(target=log.append, args=({"who": "parent"},)) for log in logs]
    for thread, log in zip(threads, logs, strict=True):
        slow.has_begun.clear()
        thread.start()
        slow.has_begun.wait(HANG_SECONDS)
        assert log._appends._lock.is_held
    parent = os.getpid()
    real = disk.close

    def close(fd: int) -> None:
        real(fd)
        if os.getpid() != parent:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(disk, "close", close)

    def child() -> None:
        monkeypatch.undo()
        assert sum(descriptors_of(log.path) for log in logs) == 0
        disk.sync_file = os.fsync
        another = threading.Thread(target=AppendLog(tmp_path / "another").append, args=({},))
        another.start()
        another.join(HANG_SECONDS / 2)
        assert not another.is_alive()
        assert not any(log._appends._lead.locked() for log in logs)

    assert in_child(child) == 0
    slow.may_end.set()
    for thread in threads:
        thread.join()
