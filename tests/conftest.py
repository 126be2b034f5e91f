"""Fixtures of all tests: waiting for a state, holding a file's lock, a log."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Where the tests run in the background of a shell, SIGINT is ignored, in what they start as well;
# some of them send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HANG_SECONDS = 60.0  # a guard against hanging, never a matter of correctness


def is_alive(group: int) -> bool:
    """Return whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def deep_in_the_stack(frames: int, function: Callable[[], Any]) -> Any:
    """Call a function so many frames deep in the stack."""
    return function() if frames == 0 else deep_in_the_stack(frames - 1, function)


class Waiting:
    """Waits for a state that another thread or process brings about."""

    def until(self, state: Callable[[], object]) -> None:
        """Return once `state()` is true."""
        end = time.monotonic() + HANG_SECONDS
        while not state():
            assert time.monotonic() < end, "the state was not reached"
            time.sleep(0.002)


@pytest.fixture
def wait() -> Waiting:
    """Wait for a state."""
    return Waiting()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a file that does not exist yet."""
    return str(tmp_path / "events.ndjson")


@pytest.fixture
def log(path: str) -> Iterator[AppendLog]:
    """A log whose lock timeout is the hang guard."""
    with AppendLog(path, lock_timeout=HANG_SECONDS) as opened:
        yield opened


@contextlib.contextmanager
def held(path: str) -> Iterator[int]:
    """Hold the file's lock with an open file of its own, as another process would."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def hold() -> Callable[[str], contextlib.AbstractContextManager[int]]:
    """A context manager that holds a file's lock."""
    return held
