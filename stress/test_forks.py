"""Forks under threads.

In the middle of appends, with children that append, and children that outlive their parent.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .crew import Crew
from .doors import FILE_NAME
from .forking import append_and_be_killed, append_while_forking
from .profile import DURABILITIES
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .profile import Profile

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="asks for the parent's death by prctl"
)

THREADS = 4
# A lock that nobody keeps takes not a hundredth of it.
LOCK_TIMEOUT = 5.0
LEAST_DEATHS = 10


def fork_under_threads(directory: Path, profile: Profile, durability: Durability) -> int:
    """Fork while threads append, again and again; return how many children appended."""
    path = str(directory / FILE_NAME)
    phases = (Phase(least=8, seconds=profile.seconds),)
    task = Task(path, (0,), profile.seed, durability, phases=phases, sabotage=profile.sabotage)
    with Crew() as crew:
        for index in range(profile.few(32)):
            crew.start(
                append_while_forking,
                replace(
                    task, callers=crew.new_callers(THREADS), door=("log", "metrics")[index % 2]
                ),
            )
        crew.let_go()
        crew.finish()
        assert not crew.claims.count_refused()
        assert not crew.claims.pending
        crew.judge([path])
        return sum(worker.counts[0] for worker in crew.workers)


def outlive_parents(directory: Path, profile: Profile, durability: Durability) -> int:
    """Kill parents in mid-append by children that live on, one after another.

    Return how many children lived at the end.
    """
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
    with Crew() as crew:
        for count in range(1, max(LEAST_DEATHS, profile.few(4)) + 1):
            parent = crew.start(
                append_and_be_killed, replace(task, callers=crew.new_callers(THREADS))
            )
            parent.is_killed = True
            crew.let_go([parent])
            crew.wait_for_strangers(count)
            assert not crew.claims.count_refused(), "a child kept the lock of its dead parent"
        last = crew.start(
            append_lines, replace(task, callers=crew.new_callers(1), phases=(Phase(least=5),))
        )
        crew.let_go([last])
        crew.finish()
        for pid in crew.strangers:
            os.kill(pid, 0)  # raises for one that is not there: it would have proven nothing
        assert not crew.claims.count_refused(), "a child kept the lock of its dead parent"
        crew.judge([path])
        return len(crew.strangers)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_children_forked_under_threads_append_like_anyone(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Parents and children lose nothing, mix nothing, and neither hangs in the other's lock."""
    assert fork_under_threads(tmp_path, profile, durability) >= 16


@pytest.mark.parametrize("durability", DURABILITIES)
def test_children_do_not_keep_the_lock_of_a_killed_parent(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Others append within their timeout although children of the killed live on."""
    assert outlive_parents(tmp_path, profile, durability) >= LEAST_DEATHS
