"""A file size limit (RLIMIT_FSIZE) that cuts writes short in mid-line in some processes."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .adapters import FILE_NAME
from .profile import DURABILITIES
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from metrics_appender.append_log import Durability

    from .profile import Profile

THREADS = 3
LIMIT_BYTES = 300_000
LEAST_REFUSALS = 50


def pass_the_limit(directory: Path, profile: Profile, durability: Durability) -> int:
    """Append past the limit of some processes; lift it, and append on; return the refusals."""
    path = str(directory / FILE_NAME)
    limited = (Phase(seconds=math.inf, file_size_limit=LIMIT_BYTES), Phase(least=5))
    free = (Phase(least=20), Phase(least=5))
    task = Task(path, (0,), profile.seed, durability, phases=limited, sabotage=profile.sabotage)
    with WorkerGroup() as group:
        bound = [
            group.start(append_lines, replace(task, callers=group.new_callers(THREADS)))
            for _ in range(profile.few(16))
        ]
        unbound = group.start(
            append_lines, replace(task, callers=group.new_callers(1), phases=free)
        )
        group.start_phase(bound)
        # They reach the limit first, so that it falls within a line.
        group.wait_until(
            lambda: group.history.count_refused() >= LEAST_REFUSALS, "writers at the limit"
        )
        group.start_phase([unbound])
        group.wait_for_phase(1, [unbound])
        group.end_phase(bound)
        group.wait_for_phase(1)
        refused = group.history.count_refused()
        errors = {
            refusal.error
            for refusals in group.history.refused.values()
            for refusal in refusals.values()
        }
        assert errors == {errno.EFBIG}
        assert not group.history.refused.get(unbound.leader)
        group.start_phase()
        group.finish()
        assert group.history.count_refused() == refused, "refused although the limit was lifted"
        assert not group.history.unsure, "an error did not say that nothing was written"
        group.verify([path])
        assert not Path(path + ".torn").exists(), "a piece of a refused line was left in the file"
        return refused


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_file_size_limit_refuses_whole_lines(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Every refusal is EFBIG, in processes with the limit only, and leaves nothing in the file."""
    assert pass_the_limit(tmp_path, profile, durability) >= LEAST_REFUSALS
