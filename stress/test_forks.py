"""Forks in mid-append under threads, with children that append or outlive their parent."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .adapters import FILE_NAME
from .forking import append_and_be_killed, append_while_forking
from .profile import DURABILITIES
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .profile import Profile

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="asks for the parent's death by prctl"
)

THREADS = 4
# Without a process that keeps the lock, waiting for it takes less than a hundredth of that.
LOCK_TIMEOUT = 5.0
LEAST_DEATHS = 10


def fork_under_threads(directory: Path, profile: Profile, durability: Durability) -> int:
    """Fork while threads append, again and again; return how many children appended."""
    path = str(directory / FILE_NAME)
    phases = (Phase(least=8, seconds=profile.seconds),)
    task = Task(path, (0,), profile.seed, durability, phases=phases, sabotage=profile.sabotage)
    with WorkerGroup() as group:
        for index in range(profile.few(32)):
            group.start(
                append_while_forking,
                replace(
                    task, callers=group.new_callers(THREADS), adapter=("log", "metrics")[index % 2]
                ),
            )
        group.start_phase()
        group.finish()
        assert not group.history.count_refused()
        assert not group.history.pending
        group.verify([path])
        return sum(worker.counts[0] for worker in group.workers)


def outlive_parents(directory: Path, profile: Profile, durability: Durability) -> int:
    """Let children kill their parents in mid-append and live on; return the living children."""
    path = str(directory / FILE_NAME)
    task = Task(
        path,
        (0,),
        profile.seed,
        durability,
        lock_timeout=LOCK_TIMEOUT,
        largest=1 << 18,
        sabotage=profile.sabotage,
    )
    with WorkerGroup() as group:
        for count in range(1, max(LEAST_DEATHS, profile.few(4)) + 1):
            parent = group.start(
                append_and_be_killed, replace(task, callers=group.new_callers(THREADS))
            )
            parent.is_killed = True
            group.start_phase([parent])
            group.wait_for_orphans(count)
            assert not group.history.count_refused(), "a child kept the lock of its dead parent"
        last = group.start(
            append_lines, replace(task, callers=group.new_callers(1), phases=(Phase(least=5),))
        )
        group.start_phase([last])
        group.finish()
        for pid in group.orphans:
            os.kill(pid, 0)  # raises for a child that has ended, which would prove nothing
        assert not group.history.count_refused(), "a child kept the lock of its dead parent"
        group.verify([path])
        return len(group.orphans)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_children_forked_under_threads_append_like_anyone(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Parents and children lose and mix no line, and neither waits for a lock of the other."""
    assert fork_under_threads(tmp_path, profile, durability) >= 16


@pytest.mark.parametrize("durability", DURABILITIES)
def test_children_do_not_keep_the_lock_of_a_killed_parent(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Other processes append within their timeout although children of the killed live on."""
    assert outlive_parents(tmp_path, profile, durability) >= LEAST_DEATHS
