"""Many threads in many processes, the threads of each with one appender."""

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

THREADS = 16


def write_with_threads(directory: Path, profile: Profile, durability: Durability) -> int:
    """Let threads of many processes append to one file, and one thread of another process."""
    path = str(directory / FILE_NAME)
    with WorkerGroup() as group:
        task = Task(
            path,
            (0,),
            profile.seed,
            durability,
            phases=(Phase(5, profile.seconds),),
            sabotage=profile.sabotage,
        )
        for index in range(profile.few(16)):
            group.start(
                append_lines,
                replace(
                    task,
                    callers=group.new_callers(THREADS),
                    adapter=tuple(ADAPTERS)[index % len(ADAPTERS)],
                ),
            )
        group.start(append_lines, replace(task, callers=group.new_callers(1)))
        group.start_phase()
        group.finish()
        assert not group.history.count_refused()
        assert len(group.history.acknowledged) == profile.few(16) * THREADS + 1
        group.verify([path])
        return group.history.count_acknowledged()


@pytest.mark.parametrize("durability", DURABILITIES)
def test_threads_of_many_processes_lose_and_mix_nothing(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Each thread's lines are there once, whole, in order; the lone thread is not starved."""
    write_with_threads(tmp_path, profile, durability)
