"""Writer processes: each line is announced before its append and acknowledged after it."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import messages, payloads, sabotage
from .adapters import ADAPTERS
from .strict_adapter import StrictAdapter

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import FrameType

    from metrics_appender import Rotation
    from metrics_appender.append_log import Durability

    from .adapters import Adapter
    from .following import FollowTask
    from .messages import Reporter

_NOTHING_WRITTEN: Final = "nothing was written"
_LOOK_SECONDS: Final = 0.1
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of appends, which all workers start together.

    Every caller appends `least` lines, and goes on for `seconds`; with `math.inf`, until a SIGTERM.
    `file_size_limit` (bytes) is RLIMIT_FSIZE.
    """

    least: int = 1
    seconds: float = 0.0
    file_size_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does; each caller is a thread of its own where there are several."""

    path: str
    callers: tuple[int, ...]
    seed: int
    durability: Durability = "fsync"
    lock_timeout: float | None = 60.0
    adapter: str = "log"
    largest: int = 1 << 14
    phases: tuple[Phase, ...] = (Phase(),)
    sabotage: str = ""
    rotation: Rotation | None = None

    def open_adapter(self) -> Adapter:
        """Return what to append with; it checks every error."""
        return StrictAdapter(
            ADAPTERS[self.adapter](self.path, self.durability, self.lock_timeout, self.rotation),
            self.path,
        )


class StopRequests:
    """How many endless phases were asked to end."""

    def __init__(self) -> None:
        """Count SIGTERM from now on."""
        self.count = 0
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


def append_lines(task: Task, outbox: Connection, go: Connection) -> None:
    """Append the task's lines, phase by phase: the body of a writer process."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    adapter = task.open_adapter()
    stop_requests = StopRequests()
    next_numbers = dict.fromkeys(task.callers, 0)
    endless = 0
    for phase in task.phases:
        endless += math.isinf(phase.seconds)
        await_start(reporter, task, go)
        limit_file_size(phase.file_size_limit)
        ends = _End(phase, stop_requests, endless)
        next_numbers = _append_in_threads(task, adapter, reporter, ends, next_numbers)
        reporter.report(
            messages.PHASE_OVER,
            task.callers[0],
            number=count_descriptors(),
            error=threading.active_count(),
        )
    adapter.close()


class _End:
    """When a phase is over, for one caller after `done` lines."""

    def __init__(self, phase: Phase, stop_requests: StopRequests, endless: int) -> None:
        self._phase = phase
        self._until = time.monotonic() + phase.seconds
        self._stop_requests = stop_requests
        self._endless = endless

    def is_near(self, done: int) -> bool:
        if math.isinf(self._until):
            return self._stop_requests.count >= self._endless
        return done >= self._phase.least and time.monotonic() >= self._until


def _append_in_threads(
    task: Task, adapter: Adapter, reporter: Reporter, ends: _End, numbers: dict[int, int]
) -> dict[int, int]:
    def call(caller: int) -> int:
        number = numbers[caller]
        while not ends.is_near(number - numbers[caller]):
            append_one(adapter, reporter, task, caller, number)
            number += 1
        return number

    if len(task.callers) == 1:
        return {caller: call(caller) for caller in task.callers}
    with ThreadPoolExecutor(len(task.callers)) as threads:
        calls = {caller: threads.submit(call, caller) for caller in task.callers}
        while wait(calls.values(), timeout=_LOOK_SECONDS).not_done:
            # Wake now and then: a Python signal handler runs in this thread only, and only while it
            # is awake.
            pass
        return {caller: done.result() for caller, done in calls.items()}


def append_one(adapter: Adapter, reporter: Reporter, task: Task, caller: int, number: int) -> None:
    """Announce a line, append it, and report the outcome."""
    payload = payloads.make(task.seed, caller, number, task.largest)
    digest = payloads.digest(payload)
    reporter.report(messages.ATTEMPT, caller, number, digest)
    try:
        adapter.append({"writer": caller, "number": number, "digest": digest, "payload": payload})
    except OSError as error:
        kind = (
            messages.REFUSED
            if _NOTHING_WRITTEN in "".join(getattr(error, "__notes__", ()))
            else messages.UNSURE
        )
        reporter.report(kind, caller, number, digest, error.errno or errno.EIO)
    else:
        reporter.report(messages.ACKNOWLEDGED, caller, number, digest)


def prepare(way: str = "") -> None:
    """Make this process die with its parent, dump its stacks when aborted, and break its engine."""
    faulthandler.enable(file=2, all_threads=True)
    # Scenarios tear lines all the time: the library's warnings would fill the output.
    logging.getLogger("metrics_appender").addHandler(logging.NullHandler())
    die_with_parent()
    sabotage.apply(way)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_parent() -> None:
    """Undo `die_with_parent`; an alarm ends this process instead."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0)
    signal.alarm(300)


def await_start(reporter: Reporter, task: Task | FollowTask, go: Connection) -> None:
    """Report that this process is ready, and wait for the start of its next phase."""
    reporter.report(messages.READY, task.callers[0])
    os.read(go.fileno(), 1)


def limit_file_size(limit: int | None) -> None:
    """Set the soft RLIMIT_FSIZE; Python ignores SIGXFSZ, so a write beyond it fails with EFBIG."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if limit is None else limit, hard))


def count_descriptors() -> int:
    """Return how many descriptors this process has open, 0 without /proc."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return 0


def append_in_pool(adapter: Adapter, seed: int, caller: int, count: int, largest: int) -> list[str]:
    """Append lines in a pool's worker with a pickled adapter; return the digests of all lines."""
    digests = []
    for number in range(count):
        payload = payloads.make(seed, caller, number, largest)
        digests.append(payloads.digest(payload))
        adapter.append(
            {"writer": caller, "number": number, "digest": digests[-1], "payload": payload}
        )
    return digests
