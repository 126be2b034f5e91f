"""A holder of the lock that is stopped.

The others give up in time, for good, and leave nothing behind.
"""

from __future__ import annotations

import errno
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import probe
from .crew import Crew, Worker
from .doors import FILE_NAME
from .profile import DURABILITIES
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from metrics_appender.append_log import Durability

    from .profile import Profile

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="asks /proc whether a process is stopped"
)

THREADS = 3
LOCK_TIMEOUT = 0.25


def wait_for_stopped_holder(
    directory: Path, profile: Profile, durability: Durability, *, is_rotated: bool = False
) -> int:
    """Stop a writer that holds the lock, let others time out, perhaps rotate, wake it.

    Return how many appends timed out.
    """
    path = str(directory / FILE_NAME)
    paths = [path]
    with Crew() as crew:
        task = Task(
            path,
            crew.new_callers(1),
            profile.seed,
            durability,
            phases=(Phase(seconds=math.inf),),
            sabotage=profile.sabotage,
        )
        holder = crew.start(append_lines, task)
        crew.let_go()
        stop_while_holding(crew, holder, path)
        waiting = _start_waiting(crew, task, profile.few(32))
        timed_out = _time_out_twice(crew, waiting, holder)
        if is_rotated:
            os.rename(path, path + ".1")
            paths.insert(0, path + ".1")
            # The old file is still held, and concerns nobody any more; an append may need its
            # deadline to find out.
            _go_on(crew, waiting, 3)
        else:
            crew.let_go(waiting)
        os.kill(holder.pid, signal.SIGCONT)
        crew.wait_for_phase(3, waiting)
        _go_on(crew, waiting, 4)
        crew.enough([holder])
        crew.finish()
        crew.judge(paths)
        return timed_out


def stop_while_holding(crew: Crew, holder: Worker, path: str) -> None:
    """Stop the only writer of a file in the middle of an append."""
    tries = 0
    while not _is_caught(holder, path):
        os.kill(holder.pid, signal.SIGCONT)
        tries += 1
        assert tries < 10_000, f"stopped {tries} times, never with the lock: does it lock at all?"
        crew.attend(0.001)


def _is_caught(holder: Worker, path: str) -> bool:
    os.kill(holder.pid, signal.SIGSTOP)
    while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()
    return probe.is_locked(path)


def _start_waiting(crew: Crew, task: Task, count: int) -> list[Worker]:
    phases = (Phase(least=2), Phase(least=3), Phase(least=8), Phase(least=8))
    impatient = replace(task, lock_timeout=LOCK_TIMEOUT, phases=phases)
    return [
        crew.start(append_lines, replace(impatient, callers=crew.new_callers(THREADS)))
        for _ in range(count)
    ]


def _time_out_twice(crew: Crew, waiting: list[Worker], holder: Worker) -> int:
    """Every append times out.

    The second time leaves no more threads and descriptors than the first.
    """
    for count in (1, 2):
        crew.let_go(waiting)
        crew.wait_for_phase(count, waiting)
    refusals = [refusal for refused in crew.claims.refused.values() for refusal in refused.values()]
    assert len(refusals) == len(waiting) * THREADS * 5
    assert {refusal.error for refusal in refusals} == {errno.ETIMEDOUT}
    assert set(crew.claims.acknowledged) <= {holder.leader}
    for worker in waiting:
        assert worker.threads[1] <= worker.threads[0] <= 2, f"threads pile up: {worker.threads}"
        assert worker.counts[1] <= worker.counts[0], f"descriptors pile up: {worker.counts}"
    return len(refusals)


def _go_on(crew: Crew, waiting: list[Worker], phase: int) -> None:
    """With nobody in the way, every process gets lines acknowledged."""
    before = {worker.leader: len(crew.claims.acknowledged[worker.leader]) for worker in waiting}
    crew.let_go(waiting)
    crew.wait_for_phase(phase, waiting)
    for leader, count in before.items():
        assert len(crew.claims.acknowledged[leader]) > count, (
            f"caller {leader} got nothing acknowledged in phase {phase}"
        )


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("is_rotated", [False, True], ids=["stays", "rotated"])
def test_lines_that_timed_out_never_appear(
    tmp_path: Path, profile: Profile, durability: Durability, is_rotated: bool
) -> None:
    """A line that raised `LockTimeoutError` is in no file, not even after the holder woke up."""
    assert wait_for_stopped_holder(tmp_path, profile, durability, is_rotated=is_rotated) > 0
