"""Rotation by others: the file is renamed, made anew and unlinked under its writers."""

from __future__ import annotations

import fcntl
import math
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import pytest

from . import verifier
from .adapters import ADAPTERS, FILE_NAME
from .profile import DURABILITIES
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from metrics_appender.append_log import Durability

    from .profile import Profile

THREADS = 2
LEAST_ROTATIONS = 10


class Rotated(NamedTuple):
    """A file that lost its name and gets no more lines; open, so that it can still be read."""

    file: BinaryIO
    size: int


def rotate_under_writers(directory: Path, profile: Profile, durability: Durability) -> int:
    """Rotate the file away under its writers again and again; return how often."""
    path = str(directory / FILE_NAME)
    chance = profile.chance("rotation")
    task = Task(
        path,
        (0,),
        profile.seed,
        durability,
        phases=(Phase(seconds=math.inf),),
        sabotage=profile.sabotage,
    )
    files: list[Rotated] = []
    with WorkerGroup() as group:
        try:
            for index in range(profile.few(8)):
                group.start(
                    append_lines,
                    replace(
                        task,
                        callers=group.new_callers(THREADS),
                        adapter=tuple(ADAPTERS)[index % len(ADAPTERS)],
                    ),
                )
            group.start_phase()
            until = time.monotonic() + profile.seconds
            while time.monotonic() < until or len(files) < LEAST_ROTATIONS:
                group.listen(chance.uniform(0, 0.05))
                files.extend(_take_away(path, len(files) + 1, chance))
            group.wait_until(
                lambda: len(group.history.acknowledged) == len(group.workers) * THREADS,
                "a line of every caller",
            )
            group.end_phase(group.workers)
            group.finish()
            assert not group.history.count_refused()
            files.extend(_take_away(path, len(files) + 1, chance))
            grown = [
                rotated
                for rotated in files
                if os.fstat(rotated.file.fileno()).st_size != rotated.size
            ]
            assert not grown, f"{len(grown)} files were written to after they had been rotated away"
            verifier.require_flawless(
                verifier.verify(group.history, [rotated.file for rotated in files])
            )
        finally:
            for rotated in files:
                rotated.file.close()
    return len(files)


def _take_away(path: str, number: int, chance: Random) -> list[Rotated]:
    """Rename or unlink the file if it is there, and wait for the writer that holds its lock.

    Then it is final, as compressing it needs: a writer that gets its lock later has to notice that
    it has lost its name.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the scenario, once it is verified
    except FileNotFoundError:
        return []
    _lose_name(
        path,
        f"{path}.{number}",
        chance.choice(["rename", "rename and create", "link and unlink", "unlink"]),
    )
    fcntl.flock(file, fcntl.LOCK_EX)
    size = os.fstat(file.fileno()).st_size
    fcntl.flock(file, fcntl.LOCK_UN)
    return [Rotated(file, size)]


def _lose_name(path: str, aside: str, way: str) -> None:
    if way.startswith("rename"):
        os.rename(path, aside)
    else:
        if way.startswith("link"):
            os.link(path, aside)
        os.unlink(path)
    if way.endswith("create"):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


@pytest.mark.parametrize("durability", DURABILITIES)
def test_rotated_files_hold_every_line_once(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """All files together hold every acknowledged line once, in order from file to file."""
    assert rotate_under_writers(tmp_path, profile, durability) >= LEAST_ROTATIONS
