"""How hard the scenarios push: processes, seconds, and the seed all chance comes from."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_appender.append_log import Durability

# What is promised to survive differs; that no line is torn, mixed, lost or doubled by processes
# does not.
DURABILITIES: Final[tuple[Durability, ...]] = ("fsync", "group", "os")
START_METHODS: Final = ("fork", "forkserver", "spawn") if sys.platform == "linux" else ("spawn",)
# Far beyond what anything takes on a busy machine: it only turns a hang into a failure that says
# what hangs.
HANG_SECONDS: Final = 120.0

PROCESSES: Final = "STRESS_PROCESSES"
SECONDS: Final = "STRESS_SECONDS"
SEED: Final = "STRESS_SEED"
CUTS: Final = "STRESS_CUTS"


@dataclass(frozen=True, slots=True)
class Profile:
    """The scale of one run.

    `processes` are the writers of the widest scenario, others take a part of them; `seconds` is how
    long a timed scenario goes on at least; `cuts` is how often the power is cut on one file system;
    `sabotage` names a way to break the engine in the workers (see `sabotage`). The seed decides
    what is written and which moments are aimed at; what the scheduler makes of it no seed can bring
    back.
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
        """Return the dice of one part of a scenario: the same for the same seed."""
        return random.Random(f"{self.seed}/{name}")


def from_environment(environ: Mapping[str, str] = os.environ) -> Profile:
    """Return the profile the environment asks for.

    `STRESS_PROCESSES`, `STRESS_SECONDS`, `STRESS_SEED`, `STRESS_CUTS`.
    """
    usual = Profile()
    return Profile(
        processes=int(environ.get(PROCESSES) or usual.processes),
        seconds=float(environ.get(SECONDS) or usual.seconds),
        seed=int(environ.get(SEED) or usual.seed),
        cuts=int(environ.get(CUTS) or usual.cuts),
    )
