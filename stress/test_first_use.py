"""First use: many threads need at the same moment what the library makes on first need."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .adapters import ADAPTERS, FILE_NAME, SKILL
from .first_use import append_first, append_first_metrics
from .worker_group import WorkerGroup
from .writers import Task

if TYPE_CHECKING:
    from pathlib import Path

    from .profile import Profile

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="asks for a fork server that has never appended"
)

THREADS = 16


def use_first_in_threads(directory: Path, profile: Profile, adapter: str) -> int:
    """Let all threads of new processes make their first append at once; return the lines."""
    path = str(directory / FILE_NAME)
    # The fork server imports the library and never uses it: its children are new, and cheap.
    with WorkerGroup("forkserver") as group:
        task = Task(
            path,
            (0,),
            profile.seed,
            durability="os",
            adapter=adapter,
            largest=100,
            sabotage=profile.sabotage,
        )
        for _ in range(profile.few(4)):
            group.start(append_first, replace(task, callers=group.new_callers(THREADS)))
        group.start_phase()
        group.finish()
        assert not group.history.count_refused()
        assert len(group.history.acknowledged) == profile.few(4) * THREADS
        group.verify([path])
        return group.history.count_acknowledged()


def measure_first_in_threads(directory: Path, profile: Profile) -> int:
    """Do the same with a metric of each kind; return the lines."""
    count = 0
    with WorkerGroup("forkserver") as group:
        task = Task(
            str(directory / FILE_NAME),
            (0,),
            profile.seed,
            durability="os",
            sabotage=profile.sabotage,
        )
        callers = [group.new_callers(THREADS) for _ in range(profile.processes)]
        for own in callers:
            group.start(append_first_metrics, replace(task, callers=own))
        group.start_phase()
        group.finish()
    for kind in ("outcomes", "performance", "fidelity"):
        lines = (directory / f"{SKILL}_{kind}.json").read_bytes().splitlines()
        assert sorted(int(json.loads(line)["execution_id"]) for line in lines) == [
            caller for own in callers for caller in own
        ]
        count += len(lines)
    return count


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_threads_may_all_be_the_first(tmp_path: Path, profile: Profile, adapter: str) -> None:
    """No process crashes, and no line is lost, when many threads make the first append."""
    assert use_first_in_threads(tmp_path, profile, adapter) == profile.few(4) * THREADS


def test_threads_may_all_be_the_first_to_measure(tmp_path: Path, profile: Profile) -> None:
    """The same holds for the typed methods, each of which makes its record type on first use."""
    assert measure_first_in_threads(tmp_path, profile) == profile.processes * THREADS * 3
