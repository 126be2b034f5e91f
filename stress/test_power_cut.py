"""Power cuts on real file systems: what was acknowledged before is there and whole after."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from . import power
from . import small_disk as disks
from .broken import expect_failure
from .power_writers import append_after_torn_tails, append_to_new_files
from .profile import DURABILITIES
from .test_kill_storm import kill_in_storms
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from metrics_appender.append_log import Durability

    from .profile import Profile

# "os" does not sync: its lines survive a crash of the process only, by design.
DURABLE = [durability for durability in DURABILITIES if durability != "os"]
THREADS = 2
# After so many cuts new files are begun, so that verifying them stays cheap.
CUTS_A_LIFE = 5
LONGEST_RUN_SECONDS = 0.15
# A storm that filled its disk would prove nothing more.
LONGEST_STORM_SECONDS = 3.0
# Large lines, so that many a cut falls between the blocks of one.
LARGEST_LINE = 1 << 18


class Figures(NamedTuple):
    """Counts of some cuts: lines acknowledged before and after they began, files, torn tails."""

    cuts: int = 0
    acknowledged: int = 0
    late: int = 0
    files: int = 0
    torn_tails: int = 0

    def plus(self, other: Figures) -> Figures:
        """Return the sum."""
        return Figures(*map(sum, zip(self, other, strict=True)))


def cut_power(
    directory: Path, profile: Profile, durability: Durability, file_system: str
) -> Figures:
    """Cut the power under writers again and again; any lost line is a fault."""
    chance = profile.chance("power cut")
    figures = Figures()
    with disks.mounted(directory, file_system) as place:
        while figures.cuts < profile.cuts:
            here = place / "life"
            here.mkdir()
            task = Task(
                str(here),
                (0,),
                profile.seed,
                durability,
                sabotage=profile.sabotage,
                phases=(Phase(seconds=math.inf),),
            )
            figures = figures.plus(
                _live_and_die(
                    place, task, profile, chance, min(CUTS_A_LIFE, profile.cuts - figures.cuts)
                )
            )
            shutil.rmtree(here)
    return figures


def _live_and_die(place: Path, task: Task, profile: Profile, chance: Random, cuts: int) -> Figures:
    here = place / "life"
    recoverers: list[int] = []
    whole: set[Path] = set()
    acknowledged = late = torn_tails = 0
    with WorkerGroup() as group:
        for _ in range(cuts):
            before = group.history.count_acknowledged()
            recoverers.append(_start(group, task, profile))
            group.listen(chance.uniform(0, LONGEST_RUN_SECONDS))
            known = power.cut(group, place)
            group.kill(group.living())
            group.finish()
            late += power.doubt_late_claims(group.history, known)
            acknowledged += group.history.count_acknowledged() - before
            power.remount(place)
            files = power.list_files(here)
            tails = power.verify_recovered(group.history, files)
            torn_tails += len(tails)
            # Files of an earlier cut that have no writer any more are verified again, but get no
            # more lines.
            power.append_to_each(
                group,
                [
                    path
                    for path in files
                    if path not in whole or path in tails or path.parent == here
                ],
                task.seed,
            )
            power.verify_after_append(group.history, tails, files)
            power.verify_pieces(group.history, recoverers, here / "recovered")
            whole.update(files)
    return Figures(cuts, acknowledged, late, len(files), torn_tails)


def _start(group: WorkerGroup, task: Task, profile: Profile) -> int:
    """Start writers to a growing file, to new files, and one to a torn file; return its caller."""
    grown = replace(task, path=f"{task.path}/grown", largest=LARGEST_LINE)
    adapters = [("log", "async log")[index % 2] for index in range(profile.few(16))]
    team = [
        group.start(
            append_lines, replace(grown, callers=group.new_callers(THREADS), adapter=adapter)
        )
        for adapter in adapters
    ]
    new = replace(task, path=f"{task.path}/new")
    team.append(group.start(append_to_new_files, replace(new, callers=group.new_callers(1))))
    recovered = group.start(
        append_after_torn_tails,
        replace(task, path=f"{task.path}/recovered", callers=group.new_callers(1)),
    )
    team.append(recovered)
    group.start_phase(team)
    group.wait_until(
        lambda: all(group.history.acknowledged[worker.leader] for worker in team),
        "a line of each writer",
    )
    return recovered.leader


@pytest.mark.parametrize("durability", DURABLE)
@pytest.mark.parametrize("file_system", power.FILE_SYSTEMS)
def test_acknowledged_lines_survive_a_power_cut(
    tmp_path: Path, profile: Profile, file_system: str, durability: Durability
) -> None:
    """So do the new files and directories of those lines, and the tails recovered before them."""
    try:
        figures = cut_power(tmp_path, profile, durability, file_system)
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to cut off: {error}")
    print(figures)
    assert figures.cuts == profile.cuts


@pytest.mark.parametrize(
    ("file_system", "durability", "way", "complaint"),
    [
        ("ext4", "fsync", "no sync", "lost: "),
        ("xfs", "fsync", "no sync", "lost: "),
        ("ext4", "os", "", "lost: "),
        ("xfs", "os", "", "lost: "),
        ("ext4", "fsync", "no recovery", "broken: |lost: "),
    ],
)
def test_a_power_cut_shows_what_is_not_durable(
    tmp_path: Path,
    profile: Profile,
    file_system: str,
    durability: Durability,
    way: str,
    complaint: str,
) -> None:
    """Without a sync before the acknowledgement, lines are lost: the cut is a real one."""
    try:
        expect_failure(
            partial(cut_power, durability=durability, file_system=file_system),
            tmp_path,
            profile,
            way,
            complaint,
        )
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to cut off: {error}")
    disks.remove_images(tmp_path)


def test_writers_are_killed_on_btrfs(tmp_path: Path, profile: Profile) -> None:
    """A kill storm loses nothing on btrfs, which has no shutdown call."""
    try:
        with disks.mounted(tmp_path, "btrfs") as place:
            assert (
                kill_in_storms(
                    place,
                    replace(profile, seconds=min(profile.seconds, LONGEST_STORM_SECONDS)),
                    "fsync",
                )
                >= 5
            )
    except disks.CannotMountError as error:
        pytest.skip(f"no btrfs to write to: {error}")
