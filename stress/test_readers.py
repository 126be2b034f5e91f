"""Readers beside writers: whole lines only, in order, without a gap, even with torn tails."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from . import torn_tails
from .adapters import ADAPTERS, FILE_NAME
from .profile import DURABILITIES
from .reading import read_all, read_last, read_raw
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .profile import Profile

# Longer than the blocks of 16 KiB in which the end is read, so that lines begin and end anywhere in
# one.
LARGEST_LINE = 100_000


def read_all_the_while(directory: Path, profile: Profile, durability: Durability) -> list[int]:
    """Read in three ways while writers append and tails are torn; return each reader's reads."""
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
    with WorkerGroup() as group:
        readers = [
            group.start(body, replace(task, callers=group.new_callers(1)))
            for body in (read_all, read_last, read_raw)
        ]
        adapters = [tuple(ADAPTERS)[index % len(ADAPTERS)] for index in range(profile.few(16))]
        writers = [
            group.start(append_lines, replace(task, callers=group.new_callers(1), adapter=adapter))
            for adapter in adapters
        ]
        group.start_phase()
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until:
            group.listen(chance.uniform(0, 0.1))
            torn_tails.plant(path, group, chance)
        group.wait_for_phase(1, writers)
        group.end_phase(readers)
        last = group.start(
            append_lines, replace(task, callers=group.new_callers(1), phases=(Phase(),))
        )
        group.start_phase([last])
        group.finish()
        group.verify([path])
        return [reader.counts[0] for reader in readers]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_readers_see_whole_lines_only(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """No reader ever sees a part of a line, a gap, or an older file than before."""
    assert min(read_all_the_while(tmp_path, profile, durability)) >= 2
