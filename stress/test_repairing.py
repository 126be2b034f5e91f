"""Repair while a file is written and damaged and repairers are killed: no good line is lost."""

from __future__ import annotations

import io
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_appender import check, repair

from . import verifier
from .adapters import FILE_NAME
from .repairing import KEPT, Vandal, follow_all_the_while, repair_all_the_while
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from random import Random

    from .profile import Profile
    from .worker_group import Worker

REPAIRERS = 2
LEAST_STRIKES = 30
LARGEST_LINE = 1 << 14


def repair_under_writers(directory: Path, profile: Profile, *, is_rough: bool) -> int:
    """Damage and repair a file while it is written, if rough with kills; return the repairs."""
    path = str(directory / FILE_NAME)
    chance = profile.chance("repairing")
    task = Task(
        path,
        (0,),
        profile.seed,
        "fsync",
        largest=LARGEST_LINE,
        phases=(Phase(seconds=math.inf),),
        sabotage=profile.sabotage,
    )
    with WorkerGroup() as group:
        writers = [
            group.start(
                append_lines,
                replace(task, callers=group.new_callers(1), adapter=("log", "metrics")[index % 2]),
            )
            for index in range(profile.few(8))
        ]
        group.start_phase(writers)
        group.wait_until(
            lambda: len(group.history.acknowledged) == len(writers), "a line of every caller"
        )
        vandal = Vandal(path, group, chance, is_rough=is_rough)
        follower = group.start(follow_all_the_while, replace(task, callers=group.new_callers(1)))
        repairers = [_start_repairer(group, task) for _ in range(REPAIRERS)]
        group.start_phase([follower, *repairers])
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or len(vandal.bad) + len(vandal.glued) < LEAST_STRIKES:
            group.listen(chance.uniform(0, 0.05))
            vandal.damage()
            if is_rough and chance.random() < 0.3:
                repairers = _kill_one(group, task, repairers, chance)
        group.end_phase(repairers)
        group.wait_for_phase(1, repairers)
        group.end_phase(writers)
        group.wait_for_phase(1, writers)
        group.end_phase([follower])
        group.finish()
        repaired = sum(worker.counts[0] for worker in repairers) + len(
            repair(path, keep=KEPT).changes
        )
        _verify(group, path, vandal, is_rough=is_rough)
        assert follower.counts[0] >= sum(
            len(group.history.acknowledged[worker.leader]) for worker in writers
        )
        return repaired


def _start_repairer(group: WorkerGroup, task: Task) -> Worker:
    return group.start(repair_all_the_while, replace(task, callers=group.new_callers(1)))


def _kill_one(
    group: WorkerGroup, task: Task, repairers: list[Worker], chance: Random
) -> list[Worker]:
    victim = chance.choice(repairers)
    group.kill([victim])
    successor = _start_repairer(group, task)
    group.start_phase([successor])
    return [*(worker for worker in repairers if worker is not victim), successor]


def _verify(group: WorkerGroup, path: str, vandal: Vandal, *, is_rough: bool) -> None:
    """Check that acknowledged lines are there in order and all damage was quarantined."""
    content = Path(path).read_bytes()
    aside = Path(f"{path}.torn").read_bytes() if Path(f"{path}.torn").exists() else b""
    lines = [line.strip(b" ") + b"\n" for line in content.split(b"\n")[:-1]]
    verifier.require_flawless(
        verifier.verify(
            group.history, [io.BytesIO(b"".join(line for line in lines if line != b"\n"))]
        )
    )
    assert content.endswith(b"\n")
    for line in vandal.bad:
        assert line in aside, f"lost: {line[:80]!r} was not quarantined"
    if is_rough:  # a killed repairer may leave objects in `.torn` only
        whole = {part + b"}" for line in vandal.glued for part in line.split(b"}")[:-1]}
        assert not [
            part
            for part in whole
            if part.replace(b" ", b"") not in (content + aside).replace(b" ", b"")
        ]
    report = check(path)
    assert {kind for file in report.files for kind in file.fault_counts} <= set(KEPT)


@pytest.mark.parametrize("is_rough", [False, True], ids=["gentle", "killed"])
def test_a_repair_under_writers_costs_no_line(
    tmp_path: Path, profile: Profile, is_rough: bool
) -> None:
    """Every acknowledged line is there and is read once; damage is split or quarantined."""
    assert repair_under_writers(tmp_path, profile, is_rough=is_rough) > 0
