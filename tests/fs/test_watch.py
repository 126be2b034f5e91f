"""The watcher: woken by the kernel, through a pipe, or when it is time to look."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from followers import NOTIFY, SECONDS

from metrics_appender.fs.watch import FileWatcher, check_poll_seconds
from metrics_appender.read.log_file import open_active

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = 3600.0
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's notification is Linux's")


def is_woken_by(watcher: FileWatcher, act: Callable[[], object]) -> bool:
    """Return whether a sleeper that would sleep for an hour wakes."""
    sleeper = threading.Thread(target=watcher.sleep, daemon=True)
    sleeper.start()
    act()
    sleeper.join(SECONDS)
    return not sleeper.is_alive()


@LINUX
def test_a_write_a_rename_and_a_removal_wake(path: str) -> None:
    """Of the file that is watched, and in its directory; what came before the sleep wakes too."""
    with open(path, "ab", buffering=0) as file:
        watcher = FileWatcher(path, poll_seconds=NEVER, notify=True)
        active = open_active(path)
        assert active is not None
        watcher.watch(active.descriptor)
        assert is_woken_by(watcher, lambda: file.write(b"x"))
        file.write(b"y")
        watcher.sleep()
        for act in (
            lambda: os.rename(path, path + ".1"),
            lambda: open(path, "x").close(),
            lambda: os.unlink(path),
        ):
            assert is_woken_by(watcher, act)
        assert is_woken_by(watcher, lambda: file.write(b"z"))  # it is renamed, and watched still
        watcher.close()
        active.close()


@pytest.mark.parametrize("seconds", [1e7, 1e300, 10**400])
def test_a_sleeper_of_any_patience_is_woken(path: str, seconds: float) -> None:
    """Also of more than the system can count."""
    check_poll_seconds(seconds)
    watcher = FileWatcher(path, poll_seconds=seconds, notify=False)
    watcher.wake()
    watcher.sleep()
    watcher.close()


@LINUX
def test_writes_to_other_files_of_the_directory_do_not_wake(path: str) -> None:
    """A busy neighbour costs nothing; nor does the file that was watched before."""
    with open(path, "ab", buffering=0) as file, open(path + ".other", "ab", buffering=0) as other:
        watcher = FileWatcher(path, poll_seconds=NEVER, notify=True)
        active = open_active(path)
        assert active is not None
        watcher.watch(active.descriptor)
        watcher.watch(None)
        watcher.sleep(0.001)  # what the kernel says of the end of a watch
        other.write(b"x")
        file.write(b"x")
        assert watcher._poll.poll(0) == []
        watcher.close()
        active.close()


@pytest.mark.parametrize("notify", NOTIFY)
def test_a_wake_lasts_and_after_the_end_does_nothing(path: str, notify: bool) -> None:
    """From another thread; the pipe's descriptor may be another file's by then."""
    watcher = FileWatcher(path, poll_seconds=NEVER, notify=notify)
    assert is_woken_by(watcher, watcher.wake)
    watcher.sleep()
    for _ in range(100_000):
        watcher.wake()  # never blocks, though the pipe is full
    watcher.close()
    read, write = os.pipe()
    watcher.wake()
    watcher.close()
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 1)
    os.close(read)
    os.close(write)


@LINUX
def test_without_the_library_or_a_watch_it_polls_unless_it_must_not(path: str) -> None:
    """The library is not there; the kernel has no instance left."""
    with mock.patch.dict(sys.modules, {"asyncinotify": None}):
        watcher = FileWatcher(path, poll_seconds=0.001, notify=None)
        assert watcher._notifier is None
        watcher.sleep()
        watcher.close()
        with pytest.raises(ImportError):
            FileWatcher(path, poll_seconds=None, notify=True)
    with mock.patch("asyncinotify.Inotify", side_effect=OSError(errno.EMFILE, "too many")):
        watcher = FileWatcher(path, poll_seconds=0.001, notify=None)
        assert watcher._notifier is None
        watcher.close()
        with pytest.raises(OSError, match="too many"):
            FileWatcher(path, poll_seconds=None, notify=True)


@pytest.mark.parametrize("notify", NOTIFY)
def test_no_descriptor_left_is_an_error_that_names_the_log(path: str, notify: bool) -> None:
    """And what was opened before is closed."""
    count = len(os.listdir("/proc/self/fd"))
    with (
        mock.patch("os.pipe", side_effect=OSError(errno.EMFILE, "Too many open files")),
        pytest.raises(OSError, match="Too many open files") as caught,
    ):
        FileWatcher(path, poll_seconds=None, notify=notify)
    assert caught.value.filename == path
    assert len(os.listdir("/proc/self/fd")) == count


@LINUX
def test_an_idle_sleeper_uses_no_processor(path: str) -> None:
    """A second of sleep takes less than a fiftieth of one."""
    watcher = FileWatcher(path, poll_seconds=1.0, notify=True)
    before = time.thread_time()
    watcher.sleep()
    assert time.thread_time() - before < 0.02
    watcher.close()
