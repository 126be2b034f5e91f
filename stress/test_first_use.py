"""First use: whatever the library makes when it is first needed, many threads need it at the same moment."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .crew import Crew
from .doors import DOORS, FILE_NAME, SKILL
from .first_use import append_first, append_first_metrics
from .writers import Task

if TYPE_CHECKING:
    from pathlib import Path

    from .profile import Profile

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="asks for a fork server that has never appended"
)

THREADS = 16


def use_first_in_threads(directory: Path, profile: Profile, door: str) -> int:
    """Start processes that have never appended, and have all their threads begin at once.

    Return how many lines they did.
    """
    path = str(directory / FILE_NAME)
    # The fork server imports the library, and never uses it: what it forks is new, and cheap.
    with Crew("forkserver") as crew:
        task = Task(
            path,
            (0,),
            profile.seed,
            durability="os",
            door=door,
            largest=100,
            sabotage=profile.sabotage,
        )
        for _ in range(profile.few(4)):
            crew.start(append_first, replace(task, callers=crew.new_callers(THREADS)))
        crew.let_go()
        crew.finish()
        assert not crew.claims.count_refused()
        assert len(crew.claims.acknowledged) == profile.few(4) * THREADS
        crew.judge([path])
        return crew.claims.count_acknowledged()


def measure_first_in_threads(directory: Path, profile: Profile) -> int:
    """The same with a metric of each kind; return how many lines they did."""
    count = 0
    with Crew("forkserver") as crew:
        task = Task(
            str(directory / FILE_NAME),
            (0,),
            profile.seed,
            durability="os",
            sabotage=profile.sabotage,
        )
        callers = [crew.new_callers(THREADS) for _ in range(profile.processes)]
        for group in callers:
            crew.start(append_first_metrics, replace(task, callers=group))
        crew.let_go()
        crew.finish()
    for kind in ("outcomes", "performance", "fidelity"):
        lines = (directory / f"{SKILL}_{kind}.json").read_bytes().splitlines()
        assert sorted(int(json.loads(line)["execution_id"]) for line in lines) == [
            caller for group in callers for caller in group
        ]
        count += len(lines)
    return count


@pytest.mark.parametrize("door", sorted(DOORS))
def test_threads_may_all_be_the_first(tmp_path: Path, profile: Profile, door: str) -> None:
    """No process crashes, and no line is lost, when many threads make the first append."""
    assert use_first_in_threads(tmp_path, profile, door) == profile.few(4) * THREADS


def test_threads_may_all_be_the_first_to_measure(tmp_path: Path, profile: Profile) -> None:
    """The same for the typed methods, each of which makes its kind of record on first use."""
    assert measure_first_in_threads(tmp_path, profile) == profile.processes * THREADS * 3
