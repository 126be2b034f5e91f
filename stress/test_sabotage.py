"""Each scenario fails when the engine of its workers is broken on purpose."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .broken import expect_failure
from .test_file_size_limit import pass_the_limit
from .test_forks import outlive_parents
from .test_full_disk import fill_the_disk
from .test_kill_storm import kill_in_storms
from .test_many_writers import write_with_many
from .test_pools import append_from_pool
from .test_readers import read_all_the_while
from .test_repairing import repair_under_writers
from .test_rotating import rotate_and_kill
from .test_rotation import rotate_under_writers
from .test_stopped_holder import wait_for_stopped_holder
from .test_threads import write_with_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .profile import Profile

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the scenarios that fail are those of Linux"
)

WRITE = partial(write_with_many, durability="os")


@pytest.fixture
def small(profile: Profile) -> Profile:
    """Few processes, for a short time."""
    return replace(profile, processes=8, seconds=min(profile.seconds, 1.0))


def test_every_way_finds_what_it_breaks() -> None:
    """No way to break the engine fails itself, which a scenario would report as a failure too."""
    code = "from stress import sabotage\nfor way in sabotage.WAYS: sabotage.apply(way)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)


@pytest.mark.parametrize(
    ("way", "complaint"),
    [
        ("drop", "lost: "),
        ("double", "doubled: "),
        ("tear", "broken: |lost: "),
        ("alter", "altered: "),
        ("reorder", "reordered: |lost: "),
        ("no lock", "broken: |lost: "),
    ],
)
def test_the_verifier_catches_writers_that(
    tmp_path: Path, small: Profile, way: str, complaint: str
) -> None:
    """Writers that lose, double, tear, alter or reorder lines, or take no lock, are caught."""
    expect_failure(WRITE, tmp_path, small, way, complaint)


@pytest.mark.parametrize(
    ("scenario", "way", "complaint"),
    [
        (partial(write_with_threads, durability="fsync"), "drop", "lost: "),
        (partial(append_from_pool, start_method="spawn", adapter_name="log"), "drop", "lost: "),
        (partial(kill_in_storms, durability="fsync"), "no recovery", "broken: "),
        (partial(pass_the_limit, durability="os"), "no cut", "broken: |torn: |left in the file"),
        (
            partial(rotate_under_writers, durability="fsync"),
            "no name check",
            "after they had been rotated",
        ),
        (partial(rotate_and_kill, durability="os"), "no base", "in no segment|ended with 1"),
        (
            partial(rotate_and_kill, durability="os"),
            "no recovery",
            r"broken: |ended with 1|holds \d+ bytes",
        ),
        (partial(wait_for_stopped_holder, durability="fsync"), "no withdrawal", "refused: "),
        (partial(outlive_parents, durability="fsync"), "no reset after fork", "kept the lock"),
        (partial(read_all_the_while, durability="os"), "no recovery", "ended with 1"),
        (partial(repair_under_writers, is_rough=False), "no lock", "broken: |lost: |ended with 1"),
        (partial(repair_under_writers, is_rough=True), "no quarantine", "lost: "),
    ],
    ids=lambda value: value.func.__name__ if isinstance(value, partial) else None,
)
def test_every_scenario_can_fail(
    scenario: Callable[..., Any], tmp_path: Path, small: Profile, way: str, complaint: str
) -> None:
    """Each scenario fails with a broken engine: one that never fails would prove nothing."""
    expect_failure(scenario, tmp_path, small, way, complaint)


def test_the_full_disk_can_fail(small_disk: Path, small: Profile) -> None:
    """The scenario of a full disk fails with a broken engine."""
    expect_failure(
        partial(fill_the_disk, durability="fsync"),
        small_disk,
        small,
        "no cut",
        "broken: |torn: |left in the file",
    )
