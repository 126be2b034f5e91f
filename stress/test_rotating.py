"""Rotation by the library.

Writers seal, others rotate and compress, all of them are killed, and readers read through it.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender import AppendLog, Rotation
from metrics_appender.segment.cleaner import clean_segments

from . import torn_tails, verifier
from .crew import Crew
from .doors import FILE_NAME
from .profile import DURABILITIES
from .reading import read_all, read_last
from .rotating import find_pieces, keep_up, open_pieces, rotate_often
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from random import Random

    from metrics_appender.append_log import Durability

    from .crew import Worker
    from .profile import Profile

    Body = Callable[[Task, Connection, Connection], None]

SEGMENT_BYTES = 200_000
LEAST_SEGMENTS = 10


class Staff:
    """The processes that append, rotate and compress; whoever is killed is replaced."""

    def __init__(self, crew: Crew, task: Task, writers: int) -> None:
        """Start all of them.

        One writer of three knows nothing of rotation, and each comes through another door.
        """
        self._crew = crew
        self._posts: list[tuple[Body, Task]] = [
            (rotate_often, task),
            (keep_up, task),
            (keep_up, task),
        ]
        self._posts += [
            (
                append_lines,
                replace(
                    task,
                    door=("log", "metrics", "async log", "async metrics")[index % 4],
                    rotation=None if index % 3 == 0 else task.rotation,
                ),
            )
            for index in range(writers)
        ]
        self._holders: list[Worker] = [self._start(body, post) for body, post in self._posts]
        crew.let_go(self._holders)

    def _start(self, body: Body, task: Task) -> Worker:
        return self._crew.start(body, replace(task, callers=self._crew.new_callers(1)))

    def strike(self, chance: Random) -> int:
        """Kill some, whatever they do, and have others go on; return how many."""
        places = chance.sample(range(len(self._posts)), chance.choice([1, 1, 2, len(self._posts)]))
        self._crew.kill([self._holders[place] for place in places])
        fresh = [self._start(*self._posts[place]) for place in places]
        for place, worker in zip(places, fresh, strict=True):
            self._holders[place] = worker
        self._crew.let_go(fresh)
        return len(places)

    def dismiss(self) -> None:
        """Tell all that it is enough."""
        self._crew.enough(self._holders)


def rotate_and_kill(directory: Path, profile: Profile, durability: Durability) -> tuple[int, int]:
    """Rotate under writers, kill everybody now and then, read all the while.

    Return how many segments and kills there were.
    """
    path = str(directory / FILE_NAME)
    chance = profile.chance("rotating")
    rotation = Rotation(max_bytes=SEGMENT_BYTES, compress=chance.choice(["gzip", "zstd"]))
    task = Task(
        path,
        (0,),
        profile.seed,
        durability,
        phases=(Phase(seconds=math.inf),),
        sabotage=profile.sabotage,
        rotation=rotation,
    )
    planted: list[bytes] = []
    kills = 0
    with Crew() as crew:
        readers = [
            crew.start(body, replace(task, callers=crew.new_callers(1)))
            for body in (read_all, read_last, read_last)
        ]
        crew.let_go(readers)
        staff = Staff(crew, task, profile.few(8))
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or len(find_pieces(path)) < LEAST_SEGMENTS:
            crew.attend(chance.uniform(0, 0.1))
            if chance.random() < 0.3:
                planted.append(torn_tails.plant(path, crew, chance))
            kills += staff.strike(chance)
        staff.dismiss()
        crew.wait_until(
            lambda: all(worker.is_over() or worker in readers for worker in crew.workers),
            "the end of the writers",
        )
        crew.enough(readers)
        last = crew.start(
            append_lines, replace(task, callers=crew.new_callers(1), phases=(Phase(),))
        )
        crew.let_go([last])
        crew.finish()
        assert not crew.claims.count_refused()
        judge(path, crew, planted)
        clean_segments(path, rotation)
        judge(path, crew, planted)
        pieces = find_pieces(path)
        assert [piece.endings != ("",) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
        assert not [name for name in os.listdir(directory) if name.endswith(".tmp")]
    return len(pieces), kills


def judge(path: str, crew: Crew, planted: list[bytes]) -> None:
    """All files together hold what was claimed, and nothing else.

    The library's own reader agrees.
    """
    with contextlib.ExitStack() as opened:
        verifier.require_flawless(verifier.judge(crew.claims, open_pieces(path, opened)))
    torn = Path(path + ".torn")
    verifier.require_flawless(
        verifier.judge_torn(crew.claims, torn.read_bytes() if torn.exists() else b"", planted)
    )
    log = AppendLog(path)
    records = log.read()
    count = crew.claims.count_acknowledged()
    assert count <= len(records) <= count + len(crew.claims.pending)
    assert list(_tails(log, records)) == []


def _tails(log: AppendLog, records: list[dict[str, Any]]) -> Iterator[int]:
    for limit in (1, 10, 1000, len(records) - 1, len(records)):
        if log.read(limit) != records[-limit:]:
            yield limit


@pytest.mark.parametrize("durability", DURABILITIES)
def test_rotation_under_kills_keeps_every_line_once(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Segments, compressed and not.

    The active file hold every acknowledged line once, in its caller's order; no reader saw a gap.
    """
    segments, kills = rotate_and_kill(tmp_path, profile, durability)
    assert segments >= LEAST_SEGMENTS
    assert kills >= 5
