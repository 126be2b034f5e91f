"""SIGKILL storms: writers are killed at random moments, and other writers go on after them."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_appender import AppendLog

from . import torn_tails, verifier
from .adapters import ADAPTERS, FILE_NAME
from .profile import DURABILITIES
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from random import Random

    from metrics_appender.append_log import Durability

    from .profile import Profile
    from .worker_group import Worker

# Large lines, so that many a kill falls in the middle of a write.
LARGEST_LINE = 1 << 18
THREADS = 3


def kill_in_storms(directory: Path, profile: Profile, durability: Durability) -> int:
    """Write, break, recover, append more, reopen and read all; return the killed writers."""
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
    with WorkerGroup() as group:
        _start(group, task, profile.few(8))
        until = time.monotonic() + profile.seconds
        while time.monotonic() < until or len(planted) < 5:
            group.listen(chance.uniform(0, 0.1))
            planted.extend(_kill_some(group, path, chance))
            _start(group, task, profile.few(8) - len(group.living()))
        group.kill(group.living())
        planted.append(torn_tails.plant(path, group, chance))
        _append_more(group, replace(task, phases=(Phase(least=5),)))
        group.verify([path])
        verifier.require_flawless(
            verifier.verify_torn(group.history, Path(path + ".torn").read_bytes(), planted)
        )
        _read_again(path, group)
        return sum(worker.is_killed for worker in group.workers)


def _start(group: WorkerGroup, task: Task, count: int) -> None:
    callers = [group.new_callers(THREADS) for _ in range(count)]
    adapters = [tuple(ADAPTERS)[first % len(ADAPTERS)] for first, *_ in callers]
    group.start_phase(
        [
            group.start(append_lines, replace(task, callers=own, adapter=adapter))
            for own, adapter in zip(callers, adapters, strict=True)
        ]
    )


def _kill_some(group: WorkerGroup, path: str, chance: Random) -> list[bytes]:
    """Kill one writer, some, or all at once; leave and return a torn tail now and then."""
    living: list[Worker] = group.living()
    count = chance.choice([1, 2, len(living)])
    group.kill(chance.sample(living, min(count, len(living))))
    return [torn_tails.plant(path, group, chance)] if chance.random() < 0.5 else []


def _append_more(group: WorkerGroup, task: Task) -> None:
    last = [
        group.start(append_lines, replace(task, callers=group.new_callers(1))) for _ in range(2)
    ]
    group.start_phase(last)
    group.finish()
    assert not group.history.count_refused()


def _read_again(path: str, group: WorkerGroup) -> None:
    """Check that the library's own reader agrees with the verifier."""
    count = sum(1 for _ in AppendLog(path).iter_records())
    acknowledged = group.history.count_acknowledged()
    assert acknowledged <= count <= acknowledged + len(group.history.pending)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_killed_writers_take_nothing_acknowledged_with_them(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Acknowledged lines stay, pending ones are whole or not there, torn ones are quarantined."""
    assert kill_in_storms(tmp_path, profile, durability) >= 5
