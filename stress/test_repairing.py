"""Repair while writers write, vandals damage, and repairers are killed.

Nothing good is lost, moved or read twice.
"""

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
from .crew import Crew
from .doors import FILE_NAME
from .repairing import KEPT, Vandal, follow_all_the_while, repair_all_the_while
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from random import Random

    from .crew import Worker
    from .profile import Profile

REPAIRERS = 2
LEAST_STRIKES = 30
LARGEST_LINE = 1 << 14


def repair_under_writers(directory: Path, profile: Profile, *, is_rough: bool) -> int:
    """Damage and repair a file while it is written; kill repairers now and then if rough.

    Return how many faults were repaired.
    """
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
    with Crew() as crew:
        writers = [
            crew.start(
                append_lines,
                replace(task, callers=crew.new_callers(1), door=("log", "metrics")[index % 2]),
            )
            for index in range(profile.few(8))
        ]
        crew.let_go(writers)
        crew.wait_until(
            lambda: len(crew.claims.acknowledged) == len(writers), "a line of every caller"
        )
        vandal = Vandal(path, crew, chance, is_rough=is_rough)
        follower = crew.start(follow_all_the_while, replace(task, callers=crew.new_callers(1)))
        repairers = [_start_repairer(crew, task) for _ in range(REPAIRERS)]
        crew.let_go([follower, *repairers])
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or len(vandal.bad) + len(vandal.glued) < LEAST_STRIKES:
            crew.attend(chance.uniform(0, 0.05))
            vandal.strike()
            if is_rough and chance.random() < 0.3:
                repairers = _kill_one(crew, task, repairers, chance)
        crew.enough(repairers)
        crew.wait_for_phase(1, repairers)
        crew.enough(writers)
        crew.wait_for_phase(1, writers)
        crew.enough([follower])
        crew.finish()
        repaired = sum(worker.counts[0] for worker in repairers) + len(
            repair(path, keep=KEPT).changes
        )
        _judge(crew, path, vandal, is_rough=is_rough)
        assert follower.counts[0] >= sum(
            len(crew.claims.acknowledged[worker.leader]) for worker in writers
        )
        return repaired


def _start_repairer(crew: Crew, task: Task) -> Worker:
    return crew.start(repair_all_the_while, replace(task, callers=crew.new_callers(1)))


def _kill_one(crew: Crew, task: Task, repairers: list[Worker], chance: Random) -> list[Worker]:
    victim = chance.choice(repairers)
    crew.kill([victim])
    successor = _start_repairer(crew, task)
    crew.let_go([successor])
    return [*(worker for worker in repairers if worker is not victim), successor]


def _judge(crew: Crew, path: str, vandal: Vandal, *, is_rough: bool) -> None:
    """The file holds what was acknowledged, in order; what was damaged is aside; a check agrees."""
    content = Path(path).read_bytes()
    aside = Path(f"{path}.torn").read_bytes() if Path(f"{path}.torn").exists() else b""
    lines = [line.strip(b" ") + b"\n" for line in content.split(b"\n")[:-1]]
    verifier.require_flawless(
        verifier.judge(crew.claims, [io.BytesIO(b"".join(line for line in lines if line != b"\n"))])
    )
    assert content.endswith(b"\n")
    for line in vandal.bad:
        assert line in aside, f"lost: {line[:80]!r} was not put aside"
    if is_rough:  # a repairer that was killed may leave objects in `.torn` only
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
    """Every acknowledged line is there once and was read once.

    What was glued has lines of its own, the rest is put aside.
    """
    assert repair_under_writers(tmp_path, profile, is_rough=is_rough) > 0
