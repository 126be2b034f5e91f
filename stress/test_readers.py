"""Readers that read all the while.

Whole lines only, in order, without a gap, whatever happens at the end of the file.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from . import torn_tails
from .crew import Crew
from .doors import DOORS, FILE_NAME
from .profile import DURABILITIES
from .reading import read_all, read_last, read_raw
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .profile import Profile

# Beyond the blocks of 16 KiB in which the end is read, so that lines begin and end at every place
# of one.
LARGEST_LINE = 100_000


def read_all_the_while(directory: Path, profile: Profile, durability: Durability) -> list[int]:
    """Read in three ways while writers append and tails are torn.

    Return how often each reader read.
    """
    path = str(directory / FILE_NAME)
    chance = profile.chance("readers")
    phases = (Phase(least=20, seconds=profile.seconds),)
    task = Task(
        path,
        (0,),
        profile.seed,
        durability,
        largest=LARGEST_LINE,
        phases=phases,
        sabotage=profile.sabotage,
    )
    with Crew() as crew:
        readers = [
            crew.start(body, replace(task, callers=crew.new_callers(1)))
            for body in (read_all, read_last, read_raw)
        ]
        doors = [tuple(DOORS)[index % len(DOORS)] for index in range(profile.few(16))]
        writers = [
            crew.start(append_lines, replace(task, callers=crew.new_callers(1), door=door))
            for door in doors
        ]
        crew.let_go()
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until:
            crew.attend(chance.uniform(0, 0.1))
            torn_tails.plant(path, crew, chance)
        crew.wait_for_phase(1, writers)
        crew.enough(readers)
        last = crew.start(
            append_lines, replace(task, callers=crew.new_callers(1), phases=(Phase(),))
        )
        crew.let_go([last])
        crew.finish()
        crew.judge([path])
        return [reader.counts[0] for reader in readers]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_readers_see_whole_lines_only(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """No reader ever saw a part of a line, a gap, or an older file than before."""
    assert min(read_all_the_while(tmp_path, profile, durability)) >= 2
