"""A full disk: true errors, no piece of a line, and appends go on when there is room again."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import small_disk as disks
from .adapters import ADAPTERS, FILE_NAME
from .profile import DURABILITIES
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from metrics_appender.append_log import Durability

    from .profile import Profile

THREADS = 2
LEFT_BYTES = 2 << 20
LEAST_REFUSALS = 100


def fill_the_disk(directory: Path, profile: Profile, durability: Durability) -> int:
    """Append until the disk is full, and on; make room, and append on; return the refusals."""
    path = str(directory / FILE_NAME)
    ballast = disks.fill(directory, LEFT_BYTES)
    phases = (Phase(seconds=math.inf), Phase(least=3))
    task = Task(
        path,
        (0,),
        profile.seed,
        durability,
        largest=1 << 16,
        phases=phases,
        sabotage=profile.sabotage,
    )
    with WorkerGroup() as group:
        for index in range(profile.few(16)):
            group.start(
                append_lines,
                replace(
                    task,
                    callers=group.new_callers(THREADS),
                    adapter=tuple(ADAPTERS)[index % len(ADAPTERS)],
                ),
            )
        group.start_phase()
        group.wait_until(
            lambda: group.history.count_refused() >= LEAST_REFUSALS, "the disk to be full"
        )
        group.end_phase(group.workers)
        group.wait_for_phase(1)
        errors = {
            refusal.error
            for refused in group.history.refused.values()
            for refusal in refused.values()
        }
        assert errors == {errno.ENOSPC}
        refused = group.history.count_refused()
        ballast.unlink()
        group.start_phase()
        group.finish()
        assert group.history.count_refused() == refused, "refused although there is room again"
        assert not group.history.unsure, "an error did not say that nothing was written"
        group.verify([path])
        assert not Path(path + ".torn").exists(), "a piece of a refused line was left in the file"
        return refused


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_full_disk_refuses_whole_lines(
    small_disk: Path, profile: Profile, durability: Durability
) -> None:
    """Every refusal is ENOSPC, and is right that nothing was written."""
    assert fill_the_disk(small_disk, profile, durability) >= LEAST_REFUSALS
