"""Following under rotation.

Each follower is given exactly the acknowledged lines, also the killed one that goes on from its
cursor.
"""

from __future__ import annotations

import fcntl
import gzip
import math
import os
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from metrics_appender import AppendLog, Rotation

from . import verifier
from .crew import Crew
from .doors import FILE_NAME
from .following import Errand, follow_and_note, noted_lines, noted_marks
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from .crew import Worker
    from .profile import Profile

FOLLOWERS = 4
KILLED_FOLLOWERS = 2
LEAST_KILLS = 4
LEAST_ROTATIONS = 10
SEGMENT_BYTES = 200_000


class Post:
    """A follower that is begun anew whenever it is killed."""

    def __init__(self, crew: Crew, errand: Errand) -> None:
        """Start it."""
        self._crew = crew
        self.errand = errand
        self.worker = self._start()

    def _start(self) -> Worker:
        self.worker = self._crew.start(
            follow_and_note, replace(self.errand, callers=self._crew.new_callers(1))
        )
        self._crew.let_go([self.worker])
        return self.worker

    def strike(self) -> bool:
        """Kill it, whatever it does, and begin it anew.

        Only once it has noted a cursor to go on from.
        """
        if not os.path.exists(self.errand.notes) or not os.path.getsize(self.errand.notes):
            return False
        self._crew.kill([self.worker])
        self._start()
        return True


def follow_under_rotation(
    directory: Path,
    profile: Profile,
    rotation: Rotation | None,
    rotate: Callable[[str, Random], int],
) -> int:
    """Rotate under writers, kill followers and some writers now and then, judge what each follower noted; return the rotations."""
    path = str(directory / FILE_NAME)
    chance = profile.chance("following")
    task = Task(
        path,
        (0,),
        profile.seed,
        phases=(Phase(seconds=math.inf),),
        sabotage=profile.sabotage,
        rotation=rotation,
        largest=1 << 12,
    )
    rotations = kills = 0
    with Crew() as crew:
        last_caller = crew.new_callers(1)
        notes = [str(directory / f"notes-{number}") for number in range(FOLLOWERS)]
        errand = Errand(path, (0,), "", last_caller[0], notify=True, sabotage=profile.sabotage)
        posts = [
            Post(crew, replace(errand, notes=name, notify=index % 2 == 0))
            for index, name in enumerate(notes)
        ]
        doors = [("log", "metrics")[index % 2] for index in range(profile.few(2))]
        writers = [
            crew.start(append_lines, replace(task, callers=crew.new_callers(1), door=door))
            for door in doors
        ]
        crew.let_go(writers)
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or kills < LEAST_KILLS or rotations < LEAST_ROTATIONS:
            crew.attend(chance.uniform(0, 0.05))
            rotations += rotate(path, chance)
            if chance.random() < 0.2:
                kills += chance.choice(posts[:KILLED_FOLLOWERS]).strike()
            if chance.random() < 0.1 and len(writers) > 2:
                crew.kill([writers.pop()])
        crew.enough(writers)
        crew.wait_until(
            lambda: all(worker.is_over() for worker in writers), "the end of the writers"
        )
        last = crew.start(append_lines, replace(task, callers=last_caller, phases=(Phase(),)))
        crew.let_go([last])
        crew.finish()
        assert crew.claims.count_acknowledged() > 0
        for name in notes:
            verifier.require_flawless(verifier.judge(crew.claims, [noted_lines(name)]))
        sequences = [noted_marks(name) for name in notes]
        assert all(sequence == sequences[0] for sequence in sequences), (
            "followers were given the lines in different orders"
        )
    return rotations


def _rename(path: str, chance: Random) -> int:
    """Rename as logrotate does, and compress what was renamed once nobody writes to it."""
    if not os.path.exists(path):
        return 0
    names = [
        name
        for number in range(1, len(os.listdir(os.path.dirname(path))))
        for name in (f"{path}.{number}", f"{path}.{number}.gz")
    ]
    for name in reversed([name for name in names if os.path.exists(name)]):
        stem, _, ending = name.removeprefix(f"{path}.").partition(".")
        os.rename(name, f"{path}.{int(stem) + 1}" + (f".{ending}" if ending else ""))
    os.rename(path, f"{path}.1")
    if chance.random() < 0.3:
        _compress(f"{path}.1")
    return 1


def _compress(path: str) -> None:
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        fcntl.flock(plain, fcntl.LOCK_EX)
        shutil.copyfileobj(plain, packed)
    shutil.copystat(path, f"{path}.gz")
    os.unlink(path)


def _seal(path: str, chance: Random) -> int:
    return AppendLog(path).rotate() is not None if chance.random() < 0.3 else 0


# Files renamed and compressed by another program; segments sealed by the writers and by hand, and
# compressed in the background.
WAYS = ("renaming", "sealing")


def follow_through(directory: Path, profile: Profile, way: str) -> int:
    """Follow through one way of rotation."""
    if way == "renaming":
        return follow_under_rotation(directory, profile, None, _rename)
    return follow_under_rotation(
        directory, profile, Rotation(max_bytes=SEGMENT_BYTES, compress="gzip"), _seal
    )


@pytest.mark.parametrize("way", WAYS)
def test_followers_get_every_line_once(tmp_path: Path, profile: Profile, way: str) -> None:
    """Through rotations, kills of writers and kills of followers.

    Which go on from their cursors.
    """
    assert follow_through(tmp_path, profile, way) >= LEAST_ROTATIONS
