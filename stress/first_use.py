"""Writer processes whose threads all make the first append of the process at the same moment."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from metrics_appender import MetricsAppender

from . import claims
from .doors import SKILL
from .writers import append_one, await_go, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .doors import Door
    from .writers import Task

# So short that the interpreter changes threads wherever it can: once in a process is little time to
# be unlucky in.
_SWITCH_SECONDS: Final = 1e-6


class _AllAtOnce:
    """Holds every append back until all callers are there."""

    def __init__(self, door: Door, count: int) -> None:
        self._door = door
        self._barrier = threading.Barrier(count)

    def append(self, fields: dict[str, Any]) -> None:
        self._barrier.wait()
        self._door.append(fields)

    def close(self) -> None:
        self._door.close()


def append_first(task: Task, outbox: Connection, go: Connection) -> None:
    """Append one line a caller, all at once, in a process that has never appended before."""
    prepare(task.sabotage)
    voice = claims.Voice(outbox)
    door = _AllAtOnce(task.open_door(), len(task.callers))
    await_go(voice, task, go)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with ThreadPoolExecutor(len(task.callers)) as threads:
        list(threads.map(lambda caller: append_one(door, voice, task, caller, 0), task.callers))
    voice.say(claims.PHASE_OVER, task.callers[0])
    door.close()


def append_first_metrics(task: Task, outbox: Connection, go: Connection) -> None:
    """Append a metric of each kind for every caller, all callers at once, in a process that has never appended before."""
    prepare(task.sabotage)
    voice = claims.Voice(outbox)
    metrics = MetricsAppender(
        os.path.dirname(task.path), durability=task.durability, lock_timeout=task.lock_timeout
    )
    barrier = threading.Barrier(len(task.callers))

    def call(caller: int) -> None:
        barrier.wait()
        metrics.append_outcome_metric(SKILL, str(caller), "retry", None, True, 0.5, "", "stress")
        metrics.append_performance_metric(SKILL, str(caller), 25, "stress")
        metrics.append_fidelity_metric(SKILL, str(caller), 0.5, 1, 1, {"pattern": True}, "stress")

    await_go(voice, task, go)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with ThreadPoolExecutor(len(task.callers)) as threads:
        list(threads.map(call, task.callers))
    voice.say(claims.PHASE_OVER, task.callers[0])
