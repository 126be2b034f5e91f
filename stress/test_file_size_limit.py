"""A file size limit (RLIMIT_FSIZE).

Writes are cut short within a line, in some of the processes only.
"""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .crew import Crew
from .doors import FILE_NAME
from .profile import DURABILITIES
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from metrics_appender.append_log import Durability

    from .profile import Profile

THREADS = 3
LIMIT_BYTES = 300_000
LEAST_REFUSALS = 50


def pass_the_limit(directory: Path, profile: Profile, durability: Durability) -> int:
    """Append past the limit of some; lift it, and append on.

    Return how many appends were refused.
    """
    path = str(directory / FILE_NAME)
    limited = (Phase(seconds=math.inf, file_size_limit=LIMIT_BYTES), Phase(least=5))
    free = (Phase(least=20), Phase(least=5))
    task = Task(path, (0,), profile.seed, durability, phases=limited, sabotage=profile.sabotage)
    with Crew() as crew:
        bound = [
            crew.start(append_lines, replace(task, callers=crew.new_callers(THREADS)))
            for _ in range(profile.few(16))
        ]
        unbound = crew.start(append_lines, replace(task, callers=crew.new_callers(1), phases=free))
        crew.let_go(bound)
        # They come to the limit first, so that it falls within a line.
        crew.wait_until(
            lambda: crew.claims.count_refused() >= LEAST_REFUSALS, "writers at the limit"
        )
        crew.let_go([unbound])
        crew.wait_for_phase(1, [unbound])
        crew.enough(bound)
        crew.wait_for_phase(1)
        refused = crew.claims.count_refused()
        errors = {
            refusal.error
            for refusals in crew.claims.refused.values()
            for refusal in refusals.values()
        }
        assert errors == {errno.EFBIG}
        assert not crew.claims.refused.get(unbound.leader)
        crew.let_go()
        crew.finish()
        assert crew.claims.count_refused() == refused, "refused although the limit was lifted"
        assert not crew.claims.unsure, "an error did not say that nothing was written"
        crew.judge([path])
        assert not Path(path + ".torn").exists(), "a piece of a refused line was left in the file"
        return refused


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_file_size_limit_refuses_whole_lines(
    tmp_path: Path, profile: Profile, durability: Durability
) -> None:
    """Every refusal is EFBIG, concerns those who have the limit, and leaves nothing in the file."""
    assert pass_the_limit(tmp_path, profile, durability) >= LEAST_REFUSALS
