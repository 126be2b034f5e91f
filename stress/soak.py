"""The soak: scenario after scenario with new seeds, until the time is up or one fails."""

from __future__ import annotations

import itertools
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from . import power
from . import small_disk as disks
from .adapters import ADAPTERS
from .profile import DURABILITIES, START_METHODS, Profile
from .test_failing_disk import (
    lose_the_disk,
    pass_the_quota,
    run_out_of_inodes,
    write_to_a_read_only_disk,
)
from .test_file_size_limit import pass_the_limit
from .test_following import WAYS, follow_through
from .test_forks import fork_under_threads, outlive_parents
from .test_full_disk import fill_the_disk
from .test_kill_storm import kill_in_storms
from .test_many_writers import write_with_many
from .test_pools import append_from_pool
from .test_power_cut import DURABLE, cut_power
from .test_readers import read_all_the_while
from .test_repairing import repair_under_writers
from .test_rotating import rotate_and_kill
from .test_rotating_power_cut import cut_rotations
from .test_rotation import rotate_under_writers
from .test_stopped_holder import wait_for_stopped_holder
from .test_threads import write_with_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .worker_group import StartMethod

    Scenario = Callable[[Path, Profile, Random], object]

_SEEDS: Final = 1_000_000_000
_START_METHODS: Final = cast("tuple[StartMethod, ...]", START_METHODS)


def _any_durability(scenario: Callable[..., object]) -> Scenario:
    return lambda directory, profile, chance: scenario(
        directory, profile, chance.choice(DURABILITIES)
    )


def _on_a_disk(scenario: Callable[..., object], *, is_roomy: bool = False) -> Scenario:
    def run(directory: Path, profile: Profile, chance: Random) -> object:
        with disks.mounted(
            directory, chance.choice(list(disks.FILE_SYSTEMS)), is_roomy=is_roomy
        ) as place:
            return scenario(place, profile, chance.choice(DURABILITIES))

    return run


def _storm_on_a_disk(directory: Path, profile: Profile, chance: Random) -> object:
    # Not for long, and with room: a storm that filled its disk would fail for that reason.
    return _on_a_disk(kill_in_storms, is_roomy=True)(
        directory, replace(profile, seconds=min(profile.seconds, 1.5)), chance
    )


def _lose_a_disk(directory: Path, profile: Profile, chance: Random) -> object:
    file_system, way = chance.choice(
        [("ext4", "shut down"), ("xfs", "shut down"), ("ext4", "turn read-only")]
    )
    return lose_the_disk(directory, profile, chance.choice(DURABLE), file_system, way)


SCENARIOS: Final[dict[str, Scenario]] = {
    "many writers": lambda directory, profile, chance: write_with_many(
        directory, profile, chance.choice(DURABILITIES), chance.choice(_START_METHODS)
    ),
    "pools": lambda directory, profile, chance: append_from_pool(
        directory, profile, chance.choice(START_METHODS), chance.choice(sorted(ADAPTERS))
    ),
    "stopped holder": lambda directory, profile, chance: wait_for_stopped_holder(
        directory, profile, chance.choice(DURABILITIES), is_rotated=chance.random() < 0.5
    ),
    "threads": _any_durability(write_with_threads),
    "readers": _any_durability(read_all_the_while),
    "rotation": _any_durability(rotate_under_writers),
    "rotating": _any_durability(rotate_and_kill),
    "following": lambda directory, profile, chance: follow_through(
        directory, profile, chance.choice(WAYS)
    ),
    "repair": lambda directory, profile, chance: repair_under_writers(
        directory, profile, is_rough=chance.random() < 0.5
    ),
    "forks": _any_durability(fork_under_threads),
    "killed parents": _any_durability(outlive_parents),
    "kill storm": _any_durability(kill_in_storms),
    "kill storm on a disk of its own": _storm_on_a_disk,
    "file size limit": _any_durability(pass_the_limit),
    "full disk": _on_a_disk(fill_the_disk),
    "no inodes": _any_durability(run_out_of_inodes),
    "quota": _any_durability(pass_the_quota),
    "read-only disk": _any_durability(write_to_a_read_only_disk),
    "lost disk": _lose_a_disk,
    "power cut": lambda directory, profile, chance: cut_power(
        directory, profile, chance.choice(DURABLE), chance.choice(power.FILE_SYSTEMS)
    ),
    "power cut in a rotation": lambda directory, profile, chance: cut_rotations(
        directory, profile, chance.choice(DURABLE), chance.choice(power.FILE_SYSTEMS)
    ),
}


def soak(hours: float, seed: int | None = None, rounds: int | None = None) -> int:
    """Run rounds until the hours are over, or so many; return how many failed: 0, or 1, the last.

    The seed is that of the first round, and decides all that can be decided about it; each further
    round draws a new one.
    """
    # As in the workers: see `writers.prepare`.
    logging.getLogger("metrics_appender").addHandler(logging.NullHandler())
    started = time.monotonic()
    for number in itertools.count(1):
        drawn = random.SystemRandom().randrange(_SEEDS) if seed is None or number > 1 else seed
        if not run_round(number, drawn):
            return 1
        if number == rounds or time.monotonic() - started >= hours * 3600:
            return 0
    return 0


def run_round(number: int, seed: int) -> bool:
    """Run the round of a seed in a new directory, print its outcome; return whether it passed."""
    chance = random.Random(seed)
    name = chance.choice(sorted(SCENARIOS))
    profile = Profile(
        chance.choice([8, 16, 64]), chance.uniform(0.5, 5.0), seed, cuts=chance.randint(3, 20)
    )
    directory = Path(tempfile.mkdtemp(prefix="stress-"))
    started = time.monotonic()
    try:
        outcome: object = SCENARIOS[name](directory, profile, chance)
    except disks.CannotMountError as error:
        outcome = f"skipped: {error}"
    except Exception:  # noqa: BLE001 - the seed is printed for any error
        traceback.print_exc()
        print(f"round {number}: {name}: FAULT with seed {seed}; its files: {directory}")
        print(f"repeat with: {sys.executable} -m stress soak --seed {seed} --rounds 1", flush=True)
        return False
    shutil.rmtree(directory)
    took = f"{time.monotonic() - started:.1f} s"
    print(
        f"{time.strftime('%H:%M:%S')} round {number}: {name}, seed {seed}, {took}: {outcome}",
        flush=True,
    )
    return True
