"""Rotation by the library: processes seal, compress, read and are killed, and lose no line."""

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
from .adapters import FILE_NAME
from .profile import DURABILITIES
from .reading import read_all, read_last
from .rotating import find_pieces, keep_up, open_pieces, rotate_often
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from random import Random

    from metrics_appender.append_log import Durability

    from .profile import Profile
    from .worker_group import Worker

    Body = Callable[[Task, Connection, Connection], None]

SEGMENT_BYTES = 200_000
LEAST_SEGMENTS = 10


class RestartedWorkers:
    """Processes that append, rotate and compress, each of which is replaced when it is killed."""

    def __init__(self, group: WorkerGroup, task: Task, writers: int) -> None:
        """Start all of them; one writer of three has no rotation, and the adapters take turns."""
        self._group = group
        self._jobs: list[tuple[Body, Task]] = [
            (rotate_often, task),
            (keep_up, task),
            (keep_up, task),
        ]
        self._jobs += [
            (
                append_lines,
                replace(
                    task,
                    adapter=("log", "metrics", "async log", "async metrics")[index % 4],
                    rotation=None if index % 3 == 0 else task.rotation,
                ),
            )
            for index in range(writers)
        ]
        self._workers: list[Worker] = [self._start(*job) for job in self._jobs]
        group.start_phase(self._workers)

    def _start(self, body: Body, task: Task) -> Worker:
        return self._group.start(body, replace(task, callers=self._group.new_callers(1)))

    def kill(self, chance: Random) -> int:
        """Kill some and start others in their stead; return how many."""
        killed = chance.sample(range(len(self._jobs)), chance.choice([1, 1, 2, len(self._jobs)]))
        self._group.kill([self._workers[index] for index in killed])
        fresh = [self._start(*self._jobs[index]) for index in killed]
        for index, worker in zip(killed, fresh, strict=True):
            self._workers[index] = worker
        self._group.start_phase(fresh)
        return len(killed)

    def end(self) -> None:
        """Ask all of them to end."""
        self._group.end_phase(self._workers)


def rotate_and_kill(directory: Path, profile: Profile, durability: Durability) -> tuple[int, int]:
    """Rotate and read under writers, and kill processes; return the segments and the kills."""
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
    with WorkerGroup() as group:
        readers = [
            group.start(body, replace(task, callers=group.new_callers(1)))
            for body in (read_all, read_last, read_last)
        ]
        group.start_phase(readers)
        restarted = RestartedWorkers(group, task, profile.few(8))
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or len(find_pieces(path)) < LEAST_SEGMENTS:
            group.listen(chance.uniform(0, 0.1))
            if chance.random() < 0.3:
                planted.append(torn_tails.plant(path, group, chance))
            kills += restarted.kill(chance)
        restarted.end()
        group.wait_until(
            lambda: all(worker.is_over() or worker in readers for worker in group.workers),
            "the end of the writers",
        )
        group.end_phase(readers)
        last = group.start(
            append_lines, replace(task, callers=group.new_callers(1), phases=(Phase(),))
        )
        group.start_phase([last])
        group.finish()
        assert not group.history.count_refused()
        verify(path, group, planted)
        clean_segments(path, rotation)
        verify(path, group, planted)
        pieces = find_pieces(path)
        assert [piece.endings != ("",) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
        assert not [name for name in os.listdir(directory) if name.endswith(".tmp")]
    return len(pieces), kills


def verify(path: str, group: WorkerGroup, planted: list[bytes]) -> None:
    """Check that all files hold the acknowledged lines, and that the library's reader agrees."""
    with contextlib.ExitStack() as opened:
        verifier.require_flawless(verifier.verify(group.history, open_pieces(path, opened)))
    torn = Path(path + ".torn")
    verifier.require_flawless(
        verifier.verify_torn(group.history, torn.read_bytes() if torn.exists() else b"", planted)
    )
    log = AppendLog(path)
    records = log.read()
    count = group.history.count_acknowledged()
    assert count <= len(records) <= count + len(group.history.pending)
    assert list(_tails(log, records)) == []


def _tails(log: AppendLog, records: list[dict[str, Any]]) -> Iterator[int]:
    for limit in (1, 10, 1000, len(records) - 1, len(records)):
        if log.read(limit) != records[-limit:]:
            yield limit


@pytest.mark.parametrize("durability", DURABILITIES)
def test_rotation_under_kills_keeps_every_line_once(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Segments and active file hold every acknowledged line once, in order; no reader saw a gap."""
    segments, kills = rotate_and_kill(tmp_path, profile, durability)
    assert segments >= LEAST_SEGMENTS
    assert kills >= 5
