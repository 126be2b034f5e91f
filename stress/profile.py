"""The scale of the scenarios: processes, seconds, and the seed of all random choices."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_appender.append_log import Durability

# They differ in what survives a power cut. With each of them, processes tear, mix, lose and double
# no line.
DURABILITIES: Final[tuple[Durability, ...]] = ("fsync", "group", "os")
START_METHODS: Final = ("fork", "forkserver", "spawn") if sys.platform == "linux" else ("spawn",)
# Far beyond what any step takes on a busy machine: it only turns a hang into a failure that shows
# what hangs.
HANG_SECONDS: Final = 120.0

PROCESSES: Final = "STRESS_PROCESSES"
SECONDS: Final = "STRESS_SECONDS"
SEED: Final = "STRESS_SEED"
CUTS: Final = "STRESS_CUTS"


@dataclass(frozen=True, slots=True)
class Profile:
    """The scale of one run.

    `processes` is the number of writers of the largest scenario, of which others take a part;
    `seconds` is how long a timed scenario goes on at least; `cuts` is how often the power is cut on
    one file system; `sabotage` names a way to break the engine in the workers (see `sabotage`). The
    seed decides what is written and when processes are killed; the scheduler's choices cannot be
    repeated.
    """

    processes: int = 64
    seconds: float = 3.0
    seed: int = 0
    cuts: int = 10
    sabotage: str = ""

    def few(self, share: int) -> int:
        """Return a part of the processes, two at least."""
        return max(2, self.processes // share)

    def chance(self, name: str) -> random.Random:
        """Return the random numbers of one part of a scenario: the same for the same seed."""
        return random.Random(f"{self.seed}/{name}")


def from_environment(environ: Mapping[str, str] = os.environ) -> Profile:
    """Return the profile that `STRESS_PROCESSES`, `_SECONDS`, `_SEED` and `_CUTS` ask for."""
    usual = Profile()
    return Profile(
        processes=int(environ.get(PROCESSES) or usual.processes),
        seconds=float(environ.get(SECONDS) or usual.seconds),
        seed=int(environ.get(SEED) or usual.seed),
        cuts=int(environ.get(CUTS) or usual.cuts),
    )
