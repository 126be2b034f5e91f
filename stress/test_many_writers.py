"""Many writers on one file.

Forked and spawned, lines of 0 B to 1 MB, every awkward character, every door.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .crew import Crew
from .doors import DOORS, FILE_NAME
from .profile import DURABILITIES
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .crew import StartMethod
    from .profile import Profile

LARGEST_LINE = 1_000_000


def write_with_many(
    directory: Path, profile: Profile, durability: Durability, start_method: StartMethod = "fork"
) -> int:
    """Let all processes append to one file at once, each through the next door.

    Return how many lines they did.
    """
    path = str(directory / FILE_NAME)
    with Crew(start_method) as crew:
        phases = (Phase(least=4, seconds=profile.seconds),)
        task = Task(
            path,
            (0,),
            profile.seed,
            durability,
            largest=LARGEST_LINE,
            phases=phases,
            sabotage=profile.sabotage,
        )
        for index in range(profile.processes):
            crew.start(
                append_lines,
                replace(task, callers=crew.new_callers(1), door=tuple(DOORS)[index % len(DOORS)]),
            )
        crew.let_go()
        crew.finish()
        assert not crew.claims.count_refused()
        assert len(crew.claims.acknowledged) == profile.processes
        crew.judge([path])
        return crew.claims.count_acknowledged()


@pytest.mark.parametrize("durability", DURABILITIES)
def test_many_forked_writers_lose_and_mix_nothing(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Every line of every forked writer is there once, whole, in its order."""
    write_with_many(tmp_path, profile, durability, "fork")


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_many_fresh_writers_lose_and_mix_nothing(
    tmp_path: Path, profile: Profile, start_method: StartMethod
) -> None:
    """The same for writers that inherit nothing."""
    processes = profile.processes if start_method == "spawn" else profile.few(2)
    write_with_many(tmp_path, replace(profile, processes=processes), "fsync", start_method)
