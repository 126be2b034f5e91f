"""A full disk.

Errors that are true, no piece of a line, and appends that go on when there is room again.
"""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import small_disk as disks
from .crew import Crew
from .doors import DOORS, FILE_NAME
from .profile import DURABILITIES
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from metrics_appender.append_log import Durability

    from .profile import Profile

THREADS = 2
LEFT_BYTES = 2 << 20
LEAST_REFUSALS = 100


def fill_the_disk(directory: Path, profile: Profile, durability: Durability) -> int:
    """Append until the disk is full, and on; make room, and append on.

    Return how many appends were refused.
    """
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
    with Crew() as crew:
        for index in range(profile.few(16)):
            crew.start(
                append_lines,
                replace(
                    task, callers=crew.new_callers(THREADS), door=tuple(DOORS)[index % len(DOORS)]
                ),
            )
        crew.let_go()
        crew.wait_until(
            lambda: crew.claims.count_refused() >= LEAST_REFUSALS, "the disk to be full"
        )
        crew.enough(crew.workers)
        crew.wait_for_phase(1)
        errors = {
            refusal.error
            for refused in crew.claims.refused.values()
            for refusal in refused.values()
        }
        assert errors == {errno.ENOSPC}
        refused = crew.claims.count_refused()
        ballast.unlink()
        crew.let_go()
        crew.finish()
        assert crew.claims.count_refused() == refused, "refused although there is room again"
        assert not crew.claims.unsure, "an error did not say that nothing was written"
        crew.judge([path])
        assert not Path(path + ".torn").exists(), "a piece of a refused line was left in the file"
        return refused


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_full_disk_refuses_whole_lines(
    small_disk: Path, profile: Profile, durability: Durability
) -> None:
    """Every refusal is ENOSPC, says that nothing was written, and is right about it."""
    assert fill_the_disk(small_disk, profile, durability) >= LEAST_REFUSALS
