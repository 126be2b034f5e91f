"""Following under rotation: each follower gets each line once, even when killed on the way."""

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
from .adapters import FILE_NAME
from .following import FollowTask, follow_and_note, noted_lines, noted_marks
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from .profile import Profile
    from .worker_group import Worker

FOLLOWERS = 4
KILLED_FOLLOWERS = 2
LEAST_KILLS = 4
LEAST_ROTATIONS = 10
SEGMENT_BYTES = 200_000


class RestartedFollower:
    """A follower that is started again whenever it is killed."""

    def __init__(self, group: WorkerGroup, task: FollowTask) -> None:
        """Start it."""
        self._group = group
        self.task = task
        self.worker = self._start()

    def _start(self) -> Worker:
        self.worker = self._group.start(
            follow_and_note, replace(self.task, callers=self._group.new_callers(1))
        )
        self._group.start_phase([self.worker])
        return self.worker

    def kill(self) -> bool:
        """Kill it and start it again, unless it has not noted a cursor yet."""
        if not os.path.exists(self.task.notes) or not os.path.getsize(self.task.notes):
            return False
        self._group.kill([self.worker])
        self._start()
        return True


def follow_under_rotation(
    directory: Path,
    profile: Profile,
    rotation: Rotation | None,
    rotate: Callable[[str, Random], int],
) -> int:
    """Rotate under writers, kill followers and writers, verify all notes; return the rotations."""
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
    with WorkerGroup() as group:
        last_caller = group.new_callers(1)
        notes = [str(directory / f"notes-{number}") for number in range(FOLLOWERS)]
        following = FollowTask(
            path, (0,), "", last_caller[0], notify=True, sabotage=profile.sabotage
        )
        followers = [
            RestartedFollower(group, replace(following, notes=name, notify=index % 2 == 0))
            for index, name in enumerate(notes)
        ]
        adapters = [("log", "metrics")[index % 2] for index in range(profile.few(2))]
        writers = [
            group.start(append_lines, replace(task, callers=group.new_callers(1), adapter=adapter))
            for adapter in adapters
        ]
        group.start_phase(writers)
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or kills < LEAST_KILLS or rotations < LEAST_ROTATIONS:
            group.listen(chance.uniform(0, 0.05))
            rotations += rotate(path, chance)
            if chance.random() < 0.2:
                kills += chance.choice(followers[:KILLED_FOLLOWERS]).kill()
            if chance.random() < 0.1 and len(writers) > 2:
                group.kill([writers.pop()])
        group.end_phase(writers)
        group.wait_until(
            lambda: all(worker.is_over() for worker in writers), "the end of the writers"
        )
        last = group.start(append_lines, replace(task, callers=last_caller, phases=(Phase(),)))
        group.start_phase([last])
        group.finish()
        assert group.history.count_acknowledged() > 0
        for name in notes:
            verifier.require_flawless(verifier.verify(group.history, [noted_lines(name)]))
        sequences = [noted_marks(name) for name in notes]
        assert all(sequence == sequences[0] for sequence in sequences), (
            "followers got the lines in different orders"
        )
    return rotations


def _rename(path: str, chance: Random) -> int:
    """Rename as logrotate does, and now and then compress the file once no writer holds it."""
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


# Files renamed and compressed by another program; segments sealed by the writers and by `rotate`,
# and compressed in the background.
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
    """Rotations and kills skip and repeat no line of a follower that resumes from its cursor."""
    assert follow_through(tmp_path, profile, way) >= LEAST_ROTATIONS
