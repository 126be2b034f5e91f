"""Writer processes whose threads all make the first append of the process at the same moment."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from metrics_appender import MetricsAppender

from . import messages
from .adapters import SKILL
from .writers import append_one, await_start, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .adapters import Adapter
    from .writers import Task

# So short that the interpreter switches threads wherever it can: each process has only one first
# append in which a race can show.
_SWITCH_SECONDS: Final = 1e-6


class _AllAtOnce:
    """Holds every append back until all callers have begun theirs."""

    def __init__(self, adapter: Adapter, count: int) -> None:
        self._adapter = adapter
        self._barrier = threading.Barrier(count)

    def append(self, fields: dict[str, Any]) -> None:
        self._barrier.wait()
        self._adapter.append(fields)

    def close(self) -> None:
        self._adapter.close()


def append_first(task: Task, outbox: Connection, go: Connection) -> None:
    """Append one line per caller, all at once, in a process that has never appended before."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    adapter = _AllAtOnce(task.open_adapter(), len(task.callers))
    await_start(reporter, task, go)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with ThreadPoolExecutor(len(task.callers)) as threads:
        list(
            threads.map(lambda caller: append_one(adapter, reporter, task, caller, 0), task.callers)
        )
    reporter.report(messages.PHASE_OVER, task.callers[0])
    adapter.close()


def append_first_metrics(task: Task, outbox: Connection, go: Connection) -> None:
    """Append a metric of each kind per caller, all at once, in a process that never appended."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    metrics = MetricsAppender(
        os.path.dirname(task.path), durability=task.durability, lock_timeout=task.lock_timeout
    )
    barrier = threading.Barrier(len(task.callers))

    def call(caller: int) -> None:
        barrier.wait()
        metrics.append_outcome_metric(SKILL, str(caller), "retry", None, True, 0.5, "", "stress")
        metrics.append_performance_metric(SKILL, str(caller), 25, "stress")
        metrics.append_fidelity_metric(SKILL, str(caller), 0.5, 1, 1, {"pattern": True}, "stress")

    await_start(reporter, task, go)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with ThreadPoolExecutor(len(task.callers)) as threads:
        list(threads.map(call, task.callers))
    reporter.report(messages.PHASE_OVER, task.callers[0])
