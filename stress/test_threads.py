"""Threads times processes.

Every thread a caller of its own, all threads of a process through one appender.
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

    from .profile import Profile

THREADS = 16


def write_with_threads(directory: Path, profile: Profile, durability: Durability) -> int:
    """Let processes of many threads append to one file, a lone thread of another process among them."""
    path = str(directory / FILE_NAME)
    with Crew() as crew:
        task = Task(
            path,
            (0,),
            profile.seed,
            durability,
            phases=(Phase(5, profile.seconds),),
            sabotage=profile.sabotage,
        )
        for index in range(profile.few(16)):
            crew.start(
                append_lines,
                replace(
                    task, callers=crew.new_callers(THREADS), door=tuple(DOORS)[index % len(DOORS)]
                ),
            )
        crew.start(append_lines, replace(task, callers=crew.new_callers(1)))
        crew.let_go()
        crew.finish()
        assert not crew.claims.count_refused()
        assert len(crew.claims.acknowledged) == profile.few(16) * THREADS + 1
        crew.judge([path])
        return crew.claims.count_acknowledged()


@pytest.mark.parametrize("durability", DURABILITIES)
def test_threads_of_many_processes_lose_and_mix_nothing(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Every thread's lines are there once, whole, in its order.

    The lone one was not starved out.
    """
    write_with_threads(tmp_path, profile, durability)
