"""SIGKILL storms: writers die in the middle of whatever they do, and others go on after them."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_appender import AppendLog

from . import torn_tails, verifier
from .crew import Crew
from .doors import DOORS, FILE_NAME
from .profile import DURABILITIES
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from random import Random

    from metrics_appender.append_log import Durability

    from .crew import Worker
    from .profile import Profile

# Large lines, so that many a kill falls in the middle of a write.
LARGEST_LINE = 1 << 18
THREADS = 3


def kill_in_storms(directory: Path, profile: Profile, durability: Durability) -> int:
    """Write, break, recover, append more, reopen and read all.

    Return how many writers were killed.
    """
    path = str(directory / FILE_NAME)
    chance = profile.chance("kill storm")
    endless = (Phase(seconds=math.inf),)
    task = Task(
        path,
        (0,),
        profile.seed,
        durability,
        largest=LARGEST_LINE,
        phases=endless,
        sabotage=profile.sabotage,
    )
    planted: list[bytes] = []
    with Crew() as crew:
        _start(crew, task, profile.few(8))
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or len(planted) < 5:
            crew.attend(chance.uniform(0, 0.1))
            planted.extend(_strike(crew, path, chance))
            _start(crew, task, profile.few(8) - len(crew.living()))
        crew.kill(crew.living())
        planted.append(torn_tails.plant(path, crew, chance))
        _append_more(crew, replace(task, phases=(Phase(least=5),)))
        crew.judge([path])
        verifier.require_flawless(
            verifier.judge_torn(crew.claims, Path(path + ".torn").read_bytes(), planted)
        )
        _read_again(path, crew)
        return sum(worker.is_killed for worker in crew.workers)


def _start(crew: Crew, task: Task, count: int) -> None:
    callers = [crew.new_callers(THREADS) for _ in range(count)]
    doors = [tuple(DOORS)[first % len(DOORS)] for first, *_ in callers]
    crew.let_go(
        [
            crew.start(append_lines, replace(task, callers=own, door=door))
            for own, door in zip(callers, doors, strict=True)
        ]
    )


def _strike(crew: Crew, path: str, chance: Random) -> list[bytes]:
    """Kill one writer, some, or all at once; leave a torn tail behind now and then."""
    living: list[Worker] = crew.living()
    count = chance.choice([1, 2, len(living)])
    crew.kill(chance.sample(living, min(count, len(living))))
    return [torn_tails.plant(path, crew, chance)] if chance.random() < 0.5 else []


def _append_more(crew: Crew, task: Task) -> None:
    last = [crew.start(append_lines, replace(task, callers=crew.new_callers(1))) for _ in range(2)]
    crew.let_go(last)
    crew.finish()
    assert not crew.claims.count_refused()


def _read_again(path: str, crew: Crew) -> None:
    """The library's own reader has to agree with the judge, who has counted already."""
    count = sum(1 for _ in AppendLog(path).iter_records())
    acknowledged = crew.claims.count_acknowledged()
    assert acknowledged <= count <= acknowledged + len(crew.claims.pending)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_killed_writers_take_nothing_acknowledged_with_them(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """What was acknowledged stays, what was under way is whole or not there, what was torn is kept aside."""
    assert kill_in_storms(tmp_path, profile, durability) >= 5
