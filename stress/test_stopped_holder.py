"""A stopped process holds the lock: the others give up in time and leave nothing behind."""

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
from .adapters import FILE_NAME
from .profile import DURABILITIES
from .worker_group import Worker, WorkerGroup
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
    """Stop a writer that holds the lock until others time out; return how many appends did."""
    path = str(directory / FILE_NAME)
    paths = [path]
    with WorkerGroup() as group:
        task = Task(
            path,
            group.new_callers(1),
            profile.seed,
            durability,
            phases=(Phase(seconds=math.inf),),
            sabotage=profile.sabotage,
        )
        holder = group.start(append_lines, task)
        group.start_phase()
        stop_while_holding(group, holder, path)
        waiting = _start_waiting(group, task, profile.few(32))
        timed_out = _time_out_twice(group, waiting, holder)
        if is_rotated:
            os.rename(path, path + ".1")
            paths.insert(0, path + ".1")
            # The lock of the old file is still held, but no append needs it any more. An append may
            # find that out only at its deadline.
            _go_on(group, waiting, 3)
        else:
            group.start_phase(waiting)
        os.kill(holder.pid, signal.SIGCONT)
        group.wait_for_phase(3, waiting)
        _go_on(group, waiting, 4)
        group.end_phase([holder])
        group.finish()
        group.verify(paths)
        return timed_out


def stop_while_holding(group: WorkerGroup, holder: Worker, path: str) -> None:
    """Stop the only writer of a file in mid-append."""
    tries = 0
    while not _is_caught(holder, path):
        os.kill(holder.pid, signal.SIGCONT)
        tries += 1
        assert tries < 10_000, f"stopped {tries} times, never with the lock: does it lock at all?"
        group.listen(0.001)


def _is_caught(holder: Worker, path: str) -> bool:
    os.kill(holder.pid, signal.SIGSTOP)
    while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()
    return probe.is_locked(path)


def _start_waiting(group: WorkerGroup, task: Task, count: int) -> list[Worker]:
    phases = (Phase(least=2), Phase(least=3), Phase(least=8), Phase(least=8))
    impatient = replace(task, lock_timeout=LOCK_TIMEOUT, phases=phases)
    return [
        group.start(append_lines, replace(impatient, callers=group.new_callers(THREADS)))
        for _ in range(count)
    ]


def _time_out_twice(group: WorkerGroup, waiting: list[Worker], holder: Worker) -> int:
    """Let every append time out, twice, and check that threads and descriptors do not pile up."""
    for count in (1, 2):
        group.start_phase(waiting)
        group.wait_for_phase(count, waiting)
    refusals = [
        refusal for refused in group.history.refused.values() for refusal in refused.values()
    ]
    assert len(refusals) == len(waiting) * THREADS * 5
    assert {refusal.error for refusal in refusals} == {errno.ETIMEDOUT}
    assert set(group.history.acknowledged) <= {holder.leader}
    for worker in waiting:
        assert worker.threads[1] <= worker.threads[0] <= 2, f"threads pile up: {worker.threads}"
        assert worker.counts[1] <= worker.counts[0], f"descriptors pile up: {worker.counts}"
    return len(refusals)


def _go_on(group: WorkerGroup, waiting: list[Worker], phase: int) -> None:
    """Check that every process gets lines acknowledged when the lock is free."""
    before = {worker.leader: len(group.history.acknowledged[worker.leader]) for worker in waiting}
    group.start_phase(waiting)
    group.wait_for_phase(phase, waiting)
    for leader, count in before.items():
        assert len(group.history.acknowledged[leader]) > count, (
            f"caller {leader} got nothing acknowledged in phase {phase}"
        )


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("is_rotated", [False, True], ids=["stays", "rotated"])
def test_lines_that_timed_out_never_appear(
    tmp_path: Path, profile: Profile, durability: Durability, is_rotated: bool
) -> None:
    """A line that raised `LockTimeoutError` is in no file, not even after the holder goes on."""
    assert wait_for_stopped_holder(tmp_path, profile, durability, is_rotated=is_rotated) > 0
