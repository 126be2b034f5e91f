"""Power cuts in the middle of rotations, on real file systems.

Segments are whole or not there yet, and no line is lost.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from metrics_appender import Rotation

from . import power, verifier
from . import small_disk as disks
from .broken import expect_failure
from .crew import Crew
from .doors import FILE_NAME
from .rotating import find_pieces, keep_up, open_pieces, rotate_often
from .test_power_cut import DURABLE, LONGEST_RUN_SECONDS
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .crew import Worker
    from .profile import Profile

SEGMENT_BYTES = 30_000


def cut_rotations(
    directory: Path, profile: Profile, durability: Durability, file_system: str
) -> int:
    """Cut the power under writers, rotators and compressors, again and again.

    Return how many segments there were.
    """
    chance = profile.chance("rotating power cut")
    rotation = Rotation(max_bytes=SEGMENT_BYTES, compress="gzip")
    with disks.mounted(directory, file_system) as place, Crew() as crew:
        path = place / FILE_NAME
        task = Task(
            str(path),
            (0,),
            profile.seed,
            durability,
            phases=(Phase(seconds=math.inf),),
            sabotage=profile.sabotage,
            rotation=rotation,
        )
        for _ in range(profile.cuts):
            writers = [
                crew.start(append_lines, replace(task, callers=crew.new_callers(1)))
                for _ in range(profile.few(16))
            ]
            others = [
                crew.start(body, replace(task, callers=crew.new_callers(1)))
                for body in (rotate_often, keep_up)
            ]
            crew.let_go([*writers, *others])
            crew.wait_until(
                functools.partial(_have_all_begun, crew, writers), "a line of each writer"
            )
            crew.attend(chance.uniform(0, LONGEST_RUN_SECONDS))
            known = power.cut(crew, place)
            crew.kill(crew.living())
            crew.finish()
            power.doubt_late_claims(crew.claims, known)
            power.remount(place)
            judge(path, crew)
            power.append_to_each(crew, [path], task.seed)
            judge(path, crew)
        return len(find_pieces(str(path)))


def _have_all_begun(crew: Crew, writers: list[Worker]) -> bool:
    return all(crew.claims.acknowledged[worker.leader] for worker in writers)


def judge(path: Path, crew: Crew) -> None:
    """Segments follow each other without a hole and hold what their names say.

    All files, less a torn tail, hold what was claimed.
    """
    with contextlib.ExitStack() as opened:
        *sealed, active = (
            open_pieces(str(path), opened)
            if path.exists()
            else [*open_pieces(str(path), opened), io.BytesIO()]
        )
        content = active.read()
        whole = io.BytesIO(content[: power.end_of_whole_lines(content)])
        verifier.require_flawless(verifier.judge(crew.claims, [*sealed, whole]))


@pytest.mark.parametrize("durability", DURABLE)
@pytest.mark.parametrize("file_system", power.FILE_SYSTEMS)
def test_a_power_cut_in_a_rotation_loses_nothing(
    tmp_path: Path, profile: Profile, file_system: str, durability: Durability
) -> None:
    """Whatever of sealing and compressing was under way."""
    try:
        segments = cut_rotations(tmp_path, profile, durability, file_system)
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to cut off: {error}")
    assert segments >= profile.cuts


@pytest.mark.parametrize("file_system", power.FILE_SYSTEMS)
def test_a_power_cut_shows_a_rotation_without_syncs(
    tmp_path: Path, profile: Profile, file_system: str
) -> None:
    """Lines are lost then, or segments are not what their names say."""
    try:
        scenario = functools.partial(cut_rotations, durability="fsync", file_system=file_system)
        expect_failure(scenario, tmp_path, profile, "no sync", r"lost: |holds|in no segment")
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to cut off: {error}")
    disks.remove_images(tmp_path)
