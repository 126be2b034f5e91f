"""Writer processes that fork while their threads append."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from . import messages, probe
from .writers import append_one, await_start, die_with_parent, outlive_parent, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from .adapters import Adapter
    from .messages import Reporter
    from .writers import Task

# Children are callers too, with numbers that `WorkerGroup.new_callers` never gives out.
_CHILDREN: Final = 1_000_000
_BATCH: Final = 4
_LINES: Final = 3
_MOST_TRIES: Final = 30


def append_while_forking(task: Task, outbox: Connection, go: Connection) -> None:
    """Append in threads while this thread forks children, which append with the same adapter."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    adapter = task.open_adapter()
    await_start(reporter, task, go)
    until = time.monotonic() + task.phases[0].seconds
    count = 0
    with _appending_threads(task, adapter, reporter):
        while count < task.phases[0].least or time.monotonic() < until:
            callers = [_CHILDREN * task.callers[0] + count + index for index in range(_BATCH)]
            pids = [
                _fork(partial(_append_some, task, adapter, reporter, caller)) for caller in callers
            ]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
            assert codes == [0] * _BATCH, f"children ended with {codes}"
            count += _BATCH
    reporter.report(
        messages.PHASE_OVER, task.callers[0], number=count, error=threading.active_count()
    )


def append_and_be_killed(task: Task, outbox: Connection, go: Connection) -> None:
    """Append in threads, fork, and be killed by the child, which lives on."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    adapter = task.open_adapter()
    await_start(reporter, task, go)
    with _appending_threads(task, adapter, reporter):
        for left in itertools.count(_MOST_TRIES, -1):
            os.waitpid(_fork(partial(_kill_parent, reporter, task, is_last_try=left <= 0)), 0)


@contextlib.contextmanager
def _appending_threads(task: Task, adapter: Adapter, reporter: Reporter) -> Iterator[None]:
    """Append in one thread per caller; the `with` begins when each has appended a line."""
    is_over = threading.Event()
    begun = threading.Barrier(len(task.callers) + 1)

    def call(caller: int) -> None:
        append_one(adapter, reporter, task, caller, 0)
        begun.wait()
        number = 1
        while not is_over.is_set():
            append_one(adapter, reporter, task, caller, number)
            number += 1

    with ThreadPoolExecutor(len(task.callers)) as threads:
        calls = [threads.submit(call, caller) for caller in task.callers]
        begun.wait()
        try:
            yield
        finally:
            is_over.set()
        for done in calls:
            done.result()


def _fork(body: Callable[[], None]) -> int:
    """Fork a child that runs `body` and ends without unwinding the stack; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - the child must never go on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


def _append_some(task: Task, adapter: Adapter, reporter: Reporter, caller: int) -> None:
    die_with_parent()
    for number in range(_LINES):
        append_one(adapter, reporter, task, caller, number)


def _kill_parent(reporter: Reporter, task: Task, *, is_last_try: bool) -> None:
    if not (probe.is_locked(task.path) or is_last_try):
        return  # the fork came between two appends, which proves little: the parent tries again
    os.kill(os.getppid(), signal.SIGKILL)
    outlive_parent()
    reporter.report(messages.ORPHAN, task.callers[0], number=os.getpid())
    signal.pause()
