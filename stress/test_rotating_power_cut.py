"""Power cuts in mid-rotation on real file systems: segments are whole, and no line is lost."""

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
from .adapters import FILE_NAME
from .broken import expect_failure
from .rotating import find_pieces, keep_up, open_pieces, rotate_often
from .test_power_cut import DURABLE, LONGEST_RUN_SECONDS
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_appender.append_log import Durability

    from .profile import Profile
    from .worker_group import Worker

SEGMENT_BYTES = 30_000


def cut_rotations(
    directory: Path, profile: Profile, durability: Durability, file_system: str
) -> int:
    """Cut the power under writers, rotation and compression; return the segments."""
    chance = profile.chance("rotating power cut")
    rotation = Rotation(max_bytes=SEGMENT_BYTES, compress="gzip")
    with disks.mounted(directory, file_system) as place, WorkerGroup() as group:
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
                group.start(append_lines, replace(task, callers=group.new_callers(1)))
                for _ in range(profile.few(16))
            ]
            others = [
                group.start(body, replace(task, callers=group.new_callers(1)))
                for body in (rotate_often, keep_up)
            ]
            group.start_phase([*writers, *others])
            group.wait_until(
                functools.partial(_have_all_begun, group, writers), "a line of each writer"
            )
            group.listen(chance.uniform(0, LONGEST_RUN_SECONDS))
            known = power.cut(group, place)
            group.kill(group.living())
            group.finish()
            power.doubt_late_claims(group.history, known)
            power.remount(place)
            verify(path, group)
            power.append_to_each(group, [path], task.seed)
            verify(path, group)
        return len(find_pieces(str(path)))


def _have_all_begun(group: WorkerGroup, writers: list[Worker]) -> bool:
    return all(group.history.acknowledged[worker.leader] for worker in writers)


def verify(path: Path, group: WorkerGroup) -> None:
    """Check segments against their names, and that all files hold the acknowledged lines."""
    with contextlib.ExitStack() as opened:
        *sealed, active = (
            open_pieces(str(path), opened)
            if path.exists()
            else [*open_pieces(str(path), opened), io.BytesIO()]
        )
        content = active.read()
        whole = io.BytesIO(content[: power.end_of_whole_lines(content)])
        verifier.require_flawless(verifier.verify(group.history, [*sealed, whole]))


@pytest.mark.parametrize("durability", DURABLE)
@pytest.mark.parametrize("file_system", power.FILE_SYSTEMS)
def test_a_power_cut_in_a_rotation_loses_nothing(
    tmp_path: Path, profile: Profile, file_system: str, durability: Durability
) -> None:
    """No step of sealing and compressing loses a line when the power fails in it."""
    try:
        segments = cut_rotations(tmp_path, profile, durability, file_system)
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to cut off: {error}")
    assert segments >= profile.cuts


@pytest.mark.parametrize("file_system", power.FILE_SYSTEMS)
def test_a_power_cut_shows_a_rotation_without_syncs(
    tmp_path: Path, profile: Profile, file_system: str
) -> None:
    """Without syncs, lines are lost or segments do not hold what their names say."""
    try:
        scenario = functools.partial(cut_rotations, durability="fsync", file_system=file_system)
        expect_failure(scenario, tmp_path, profile, "no sync", r"lost: |holds|in no segment")
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to cut off: {error}")
    disks.remove_images(tmp_path)
