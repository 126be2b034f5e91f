"""Power cuts on real file systems.

What was acknowledged before the cut is there and whole after the recovery.
"""

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
from .crew import Crew
from .power_writers import append_after_torn_tails, append_to_new_files
from .profile import DURABILITIES
from .test_kill_storm import kill_in_storms
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from metrics_appender.append_log import Durability

    from .profile import Profile

# One that does not sync survives the process only: that is what it is for.
DURABLE = [durability for durability in DURABILITIES if durability != "os"]
THREADS = 2
# Files live through so many cuts; then new ones are begun, so that judging them stays cheap.
CUTS_A_LIFE = 5
LONGEST_RUN_SECONDS = 0.15
# A storm that fills its disk would prove nothing more.
LONGEST_STORM_SECONDS = 3.0
# Large lines, so that many a cut falls between the blocks of one.
LARGEST_LINE = 1 << 18


class Figures(NamedTuple):
    """What some cuts came to.

    Lines acknowledged before, lines acknowledged after they began, files, torn tails.
    """

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
    """Cut the power under writers again and again, on one file system.

    All lost lines are faults.
    """
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
    menders: list[int] = []
    whole: set[Path] = set()
    acknowledged = late = torn_tails = 0
    with Crew() as crew:
        for _ in range(cuts):
            before = crew.claims.count_acknowledged()
            menders.append(_start(crew, task, profile))
            crew.attend(chance.uniform(0, LONGEST_RUN_SECONDS))
            known = power.cut(crew, place)
            crew.kill(crew.living())
            crew.finish()
            late += power.doubt_late_claims(crew.claims, known)
            acknowledged += crew.claims.count_acknowledged() - before
            power.remount(place)
            files = power.list_files(here)
            tails = power.judge_recovered(crew.claims, files)
            torn_tails += len(tails)
            # Files of an earlier cut that nobody writes to any more are judged again, but need no
            # more lines.
            power.append_to_each(
                crew,
                [
                    path
                    for path in files
                    if path not in whole or path in tails or path.parent == here
                ],
                task.seed,
            )
            power.judge_mended(crew.claims, tails, files)
            power.judge_pieces(crew.claims, menders, here / "mended")
            whole.update(files)
    return Figures(cuts, acknowledged, late, len(files), torn_tails)


def _start(crew: Crew, task: Task, profile: Profile) -> int:
    """Start writers to a file that grows, to new files.

    One to a file that is torn all the time; return this one's number.
    """
    grown = replace(task, path=f"{task.path}/grown", largest=LARGEST_LINE)
    doors = [("log", "async log")[index % 2] for index in range(profile.few(16))]
    team = [
        crew.start(append_lines, replace(grown, callers=crew.new_callers(THREADS), door=door))
        for door in doors
    ]
    new = replace(task, path=f"{task.path}/new")
    team.append(crew.start(append_to_new_files, replace(new, callers=crew.new_callers(1))))
    mended = crew.start(
        append_after_torn_tails,
        replace(task, path=f"{task.path}/mended", callers=crew.new_callers(1)),
    )
    team.append(mended)
    crew.let_go(team)
    crew.wait_until(
        lambda: all(crew.claims.acknowledged[worker.leader] for worker in team),
        "a line of each writer",
    )
    return mended.leader


@pytest.mark.parametrize("durability", DURABLE)
@pytest.mark.parametrize("file_system", power.FILE_SYSTEMS)
def test_acknowledged_lines_survive_a_power_cut(
    tmp_path: Path, profile: Profile, file_system: str, durability: Durability
) -> None:
    """Lines, the files and directories they were the first of.

    The tails that were mended before them.
    """
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
        ("ext4", "fsync", "no mend", "broken: |lost: "),
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
    """Without a sync before the acknowledgement lines are lost: the cut is a real one."""
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
    """It has no shutdown call, so the kill storm is its share."""
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
