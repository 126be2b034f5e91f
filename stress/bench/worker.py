"""One process of a turn.

Its threads or tasks append until the time is up, and each wait is kept.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import traceback
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from stress.writers import die_with_parent

from .record import record_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from .contender import Contender


class Shape(NamedTuple):
    """How many processes append at once, and how many threads or tasks in each.

    Only an asynchronous contender has tasks.
    """

    processes: int = 1
    threads: int = 1
    tasks: int = 1


class Tally(NamedTuple):
    """What one process did.

    Records whose append returned, of them those in time, the time, the waits of each call
    (seconds).
    """

    acknowledged: int
    counted: int
    seconds: float
    waits: array[float]


class Stage(NamedTuple):
    """What all processes of a turn have in common."""

    contender: Contender
    path: str
    prepared: Any
    shape: Shape
    seconds: float
    barrier: Barrier


def work(stage: Stage, process: int, sender: Connection) -> None:
    """Append, and send the tally; or how it failed, or nothing when another failed first."""
    die_with_parent()
    try:
        if stage.contender.open_async:
            with asyncio.Runner(loop_factory=stage.contender.make_loop) as runner:
                runner.run(_run_tasks(stage, process, sender))
        else:
            _run_threads(stage, process, sender)
    except threading.BrokenBarrierError:
        sender.send(None)
    except BaseException:  # noqa: BLE001 - the parent waits for a tally, and has to hear of it
        stage.barrier.abort()
        sender.send(traceback.format_exc())
    _await_kill()


def _report(
    sender: Connection, contender: Contender, seconds: float, waits: array[float], warm_up: int
) -> NoReturn:
    """Send the tally while all that appended is still open.

    What has not left the process by then is lost with it.
    """
    counted = len(waits) * contender.records_per_call
    sender.send(Tally(counted + warm_up * contender.records_per_call, counted, seconds, waits))
    _await_kill()


def _await_kill() -> NoReturn:
    while True:
        signal.pause()


class _Clock:
    """Starts one time for all threads of a process, once every thread of all has appended."""

    def __init__(self, stage: Stage, threads: int) -> None:
        """Take how many threads of this process are to come."""
        self._stage = stage
        self._gate = threading.Barrier(threads, action=self._begin)
        self.start = 0.0

    def wait(self) -> float:
        """Return when to end, once all have come; `BrokenBarrierError` if one has failed."""
        self._gate.wait()
        return self.start + self._stage.seconds

    def abort(self) -> None:
        """Let no thread of this process wait any longer."""
        self._gate.abort()

    def _begin(self) -> None:
        self._stage.barrier.wait()
        self.start = time.perf_counter()


def _run_threads(stage: Stage, process: int, sender: Connection) -> None:
    """Append once in each thread, meet the other processes, and append until the time is up.

    One of the threads is the caller. Imports and first appends are done before the clock starts.
    """
    contender = stage.contender
    assert contender.open is not None
    opened = [
        contender.open(stage.path, record_of(process), stage.prepared)
        for _ in range(stage.shape.threads if contender.is_per_thread else 1)
    ]
    appends = opened if contender.is_per_thread else opened * stage.shape.threads
    waits: array[float] = array("d")
    failures: list[Exception] = []
    clock = _Clock(stage, len(appends))
    threads = [
        threading.Thread(target=_append_until, args=(append, clock, waits, failures))
        for append in appends[1:]
    ]
    for thread in threads:
        thread.start()
    _append_until(appends[0], clock, waits, failures)
    for thread in threads:
        thread.join()
    if failures:
        # The cause, rather than what it did to the threads that waited at the barrier.
        raise min(failures, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    _report(sender, contender, time.perf_counter() - clock.start, waits, warm_up=len(appends))


def _append_until(
    append: Callable[[], object], clock: _Clock, waits: array[float], failures: list[Exception]
) -> None:
    own: list[float] = []
    try:
        append()
        end = clock.wait()
        now = time.perf_counter()
        while now < end:
            append()
            before, now = now, time.perf_counter()
            own.append(now - before)
    except Exception as error:  # noqa: BLE001 - reported by the thread that joins this one
        failures.append(error)
        clock.abort()
    waits.extend(own)


async def _run_tasks(stage: Stage, process: int, sender: Connection) -> None:
    contender = stage.contender
    assert contender.open_async is not None
    async with contender.open_async(stage.path, record_of(process)) as append:
        await append()
        waits: array[float] = array("d")
        stage.barrier.wait()
        start = time.perf_counter()
        await asyncio.gather(
            *(_await_until(append, start + stage.seconds, waits) for _ in range(stage.shape.tasks))
        )
        _report(sender, contender, time.perf_counter() - start, waits, warm_up=1)


async def _await_until(
    append: Callable[[], Awaitable[object]], end: float, waits: array[float]
) -> None:
    now = time.perf_counter()
    while now < end:
        await append()
        before, now = now, time.perf_counter()
        waits.append(now - before)
