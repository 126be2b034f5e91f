"""Many writers on one file: every start method and adapter, lines of 0 B to 1 MB."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from .adapters import ADAPTERS, FILE_NAME
from .profile import DURABILITIES
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .profile import Profile
    from .worker_group import StartMethod

LARGEST_LINE = 1_000_000


def write_with_many(
    directory: Path, profile: Profile, durability: Durability, start_method: StartMethod = "fork"
) -> int:
    """Let all processes append to one file at once, with all adapters; return the lines."""
    path = str(directory / FILE_NAME)
    with WorkerGroup(start_method) as group:
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
            group.start(
                append_lines,
                replace(
                    task,
                    callers=group.new_callers(1),
                    adapter=tuple(ADAPTERS)[index % len(ADAPTERS)],
                ),
            )
        group.start_phase()
        group.finish()
        assert not group.history.count_refused()
        assert len(group.history.acknowledged) == profile.processes
        group.verify([path])
        return group.history.count_acknowledged()


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
    """The same holds for writers that inherit nothing."""
    processes = profile.processes if start_method == "spawn" else profile.few(2)
    write_with_many(tmp_path, replace(profile, processes=processes), "fsync", start_method)
