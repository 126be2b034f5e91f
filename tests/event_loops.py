"""Fixtures of the asyncio tests: both kinds of event loop, a slow disk, a state to wait for."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest
import uvloop

from metrics_appender import AppendLog
from metrics_appender.fs import calls as fs_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager

    from conftest import Waiting

    Hold = Callable[[str], AbstractContextManager[int]]


T = TypeVar("T")


HANG_SECONDS = 60.0  # a guard against hanging, never a matter of correctness


class Run(Protocol):
    """Runs a coroutine to its end in a new event loop."""

    def __call__(self, main: Coroutine[Any, Any, T], /) -> T:
        """Return the coroutine's result."""


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both kinds of loop."""
    runner: Run = request.param
    return runner


@pytest.fixture(autouse=True)
def _no_thread_of_another_test(wait: Waiting) -> None:
    """Begin when the threads of earlier tests have ended."""
    wait.until(lambda: not threads())


class SlowDisk:
    """A disk whose syncs last until the test lets them end."""

    def __init__(self) -> None:
        """Begin with no sync in progress, and the disk slow."""
        self.syncs = 0
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self._real = fs_calls.sync_file

    def sync_file(self, fd: int) -> None:
        """Wait for the test's permission, then sync."""
        self.syncs += 1
        self.has_begun.set()
        assert self.may_end.wait(HANG_SECONDS), "the loop did not go on"
        self._real(fd)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    """A disk that is slow until the test says otherwise."""
    made = SlowDisk()
    monkeypatch.setattr(fs_calls, "sync_file", made.sync_file)
    return made


async def reached(state: Callable[[], object]) -> None:
    """Return once the state is reached, while the loop goes on."""
    end = time.monotonic() + HANG_SECONDS
    while not state():
        assert time.monotonic() < end, "the state was not reached"
        await asyncio.sleep(0.001)


def threads() -> list[threading.Thread]:
    """Return the threads that block in place of a loop."""
    return [thread for thread in threading.enumerate() if thread.name == "metrics-appender-aio"]


def numbers(path: str) -> list[Any]:
    """Return the numbers of the records `{"n": …}`, in order."""
    return [record["n"] for record in AppendLog(path).read()]
