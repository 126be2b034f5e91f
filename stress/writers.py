"""The processes that append: each line is announced before, and acknowledged after, over a pipe."""

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

from . import claims, payloads, sabotage
from .doors import DOORS
from .strict_door import StrictDoor

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import FrameType

    from metrics_appender import Rotation
    from metrics_appender.append_log import Durability

    from .claims import Voice
    from .doors import Door
    from .following import Errand

_NOTHING_WRITTEN: Final = "nothing was written"
_LOOK_SECONDS: Final = 0.1
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of appends, begun on a go.

    Every caller appends `least` lines, and goes on for `seconds`.

    `math.inf` seconds: until told that it is enough, by SIGTERM. `file_size_limit` (bytes) is
    RLIMIT_FSIZE.
    """

    least: int = 1
    seconds: float = 0.0
    file_size_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What one process is to do; each caller is a thread of its own when there are several."""

    path: str
    callers: tuple[int, ...]
    seed: int
    durability: Durability = "fsync"
    lock_timeout: float | None = 60.0
    door: str = "log"
    largest: int = 1 << 14
    phases: tuple[Phase, ...] = (Phase(),)
    sabotage: str = ""
    rotation: Rotation | None = None

    def open_door(self) -> Door:
        """Return what to append with; it looks at every error."""
        return StrictDoor(
            DOORS[self.door](self.path, self.durability, self.lock_timeout, self.rotation),
            self.path,
        )


class Enough:
    """How many endless phases were told to end."""

    def __init__(self) -> None:
        """Listen to SIGTERM."""
        self.told = 0
        signal.signal(signal.SIGTERM, self._tell)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self.told += 1


def append_lines(task: Task, outbox: Connection, go: Connection) -> None:
    """Append the task's lines, phase by phase: the body of a writer process."""
    prepare(task.sabotage)
    voice = claims.Voice(outbox)
    door = task.open_door()
    enough = Enough()
    next_numbers = dict.fromkeys(task.callers, 0)
    endless = 0
    for phase in task.phases:
        endless += math.isinf(phase.seconds)
        await_go(voice, task, go)
        limit_file_size(phase.file_size_limit)
        ends = _End(phase, enough, endless)
        next_numbers = _append_in_threads(task, door, voice, ends, next_numbers)
        voice.say(
            claims.PHASE_OVER,
            task.callers[0],
            number=count_descriptors(),
            error=threading.active_count(),
        )
    door.close()


class _End:
    """When a phase is over, for one caller after `done` lines."""

    def __init__(self, phase: Phase, enough: Enough, endless: int) -> None:
        self._phase = phase
        self._until = time.monotonic() + phase.seconds
        self._enough = enough
        self._endless = endless

    def is_near(self, done: int) -> bool:
        if math.isinf(self._until):
            return self._enough.told >= self._endless
        return done >= self._phase.least and time.monotonic() >= self._until


def _append_in_threads(
    task: Task, door: Door, voice: Voice, ends: _End, numbers: dict[int, int]
) -> dict[int, int]:
    def call(caller: int) -> int:
        number = numbers[caller]
        while not ends.is_near(number - numbers[caller]):
            append_one(door, voice, task, caller, number)
            number += 1
        return number

    if len(task.callers) == 1:
        return {caller: call(caller) for caller in task.callers}
    with ThreadPoolExecutor(len(task.callers)) as threads:
        calls = {caller: threads.submit(call, caller) for caller in task.callers}
        while wait(calls.values(), timeout=_LOOK_SECONDS).not_done:
            # Python's handler of a signal that came right before this thread slept runs when it is
            # awake again.
            pass
        return {caller: done.result() for caller, done in calls.items()}


def append_one(door: Door, voice: Voice, task: Task, caller: int, number: int) -> None:
    """Announce a line, append it, and say what came of it."""
    payload = payloads.make(task.seed, caller, number, task.largest)
    digest = payloads.digest(payload)
    voice.say(claims.ATTEMPT, caller, number, digest)
    try:
        door.append({"writer": caller, "number": number, "digest": digest, "payload": payload})
    except OSError as error:
        kind = (
            claims.REFUSED
            if _NOTHING_WRITTEN in "".join(getattr(error, "__notes__", ()))
            else claims.UNSURE
        )
        voice.say(kind, caller, number, digest, error.errno or errno.EIO)
    else:
        voice.say(claims.ACKNOWLEDGED, caller, number, digest)


def prepare(way: str = "") -> None:
    """Make a worker that dies with its parent, tells its stacks when aborted.

    Breaks its engine if asked to.
    """
    faulthandler.enable(file=2, all_threads=True)
    logging.getLogger("metrics_appender").addHandler(
        logging.NullHandler()
    )  # torn lines are what a scenario is about, not news
    die_with_parent()
    sabotage.commit(way)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, whatever the parent dies of."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_parent() -> None:
    """Undo that, with an alarm instead."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0)
    signal.alarm(300)


def await_go(voice: Voice, task: Task | Errand, go: Connection) -> None:
    """Say that all is ready, and wait for one go."""
    voice.say(claims.READY, task.callers[0])
    os.read(go.fileno(), 1)


def limit_file_size(limit: int | None) -> None:
    """Set the soft RLIMIT_FSIZE.

    Python ignores its SIGXFSZ, so a write beyond it fails with EFBIG.
    """
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if limit is None else limit, hard))


def count_descriptors() -> int:
    """Return how many descriptors this process has open, 0 where that cannot be told."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return 0


def append_in_pool(door: Door, seed: int, caller: int, count: int, largest: int) -> list[str]:
    """Append some lines in a pool's worker, through a door that came pickled.

    Return the digests of what was acknowledged.
    """
    digests = []
    for number in range(count):
        payload = payloads.make(seed, caller, number, largest)
        digests.append(payloads.digest(payload))
        door.append({"writer": caller, "number": number, "digest": digests[-1], "payload": payload})
    return digests
