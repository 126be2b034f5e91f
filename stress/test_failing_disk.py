"""Disks that fail: full, no inodes, no quota, read-only, gone; true errors, then appends go on."""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import power, torn_tails, verifier
from . import small_disk as disks
from .adapters import FILE_NAME
from .broken import expect_failure
from .profile import DURABILITIES
from .test_full_disk import LEAST_REFUSALS, fill_the_disk
from .test_power_cut import DURABLE
from .worker_group import WorkerGroup
from .writers import Phase, Task, append_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from metrics_appender.append_log import Durability

    from .profile import Profile
    from .worker_group import Worker

THREADS = 2
QUOTA = "8M"
FIRST_SUBVOLUME = "0/256"
LEAST_LINES = 20
# Of each thread: so many that threads of a process append at the same time.
READ_ONLY_APPENDS = 60
# After a shutdown ext4 says EIO, and EROFS once its journal has given up; after an error on its
# disk, the other way round.
_GONE = {errno.EIO, errno.EROFS}
# Phases: until the disk has failed, then after it works again.
PHASES = (Phase(seconds=math.inf), Phase(least=3))


def run_out_of_inodes(directory: Path, profile: Profile, durability: Durability) -> int:
    """Append where no file can be made: only new and torn logs fail; return the refusals."""
    with disks.mounted(directory, make_options=("-N", "64")) as place, WorkerGroup() as group:
        well, torn, new = (str(place / name) for name in ("well", "torn", "new"))
        Path(well).touch()
        planted = torn_tails.plant(torn, group, profile.chance("inodes"))
        fillers = _take_all_inodes(place)
        task = Task(well, (0,), profile.seed, durability, phases=PHASES, sabotage=profile.sabotage)
        healthy = _start(group, task, 2)
        waiting = [
            worker for path in (torn, new) for worker in _start(group, replace(task, path=path), 2)
        ]
        group.start_phase()
        group.wait_until(
            lambda: _are_refused(group, waiting) and _have_appended(group, healthy),
            "files that cannot be made",
        )
        group.end_phase(group.workers)
        group.wait_for_phase(1)
        _check_refusals(group, {errno.ENOSPC}, only=waiting)
        assert not Path(new).exists()
        assert Path(torn).read_bytes() == planted, (
            "a file was changed although its torn bytes could not be quarantined"
        )
        for filler in fillers:
            filler.unlink()
        refused = _go_on(group)
        group.verify([well, torn, new])
        verifier.require_flawless(
            verifier.verify_torn(group.history, Path(torn + ".torn").read_bytes(), [planted])
        )
        return refused


def _take_all_inodes(place: Path) -> list[Path]:
    fillers: list[Path] = []
    try:
        for number in itertools.count():
            (place / f"filler.{number}").touch(exist_ok=False)
            fillers.append(place / f"filler.{number}")
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop ends in no other way
    return fillers


def pass_the_quota(directory: Path, profile: Profile, durability: Durability) -> int:
    """Append past a quota of btrfs; raise it, and append on; return the failed appends.

    At its quota btrfs may refuse to cut a file back as well, for that takes a new block: then the
    error says that the line may be there, and the next append that finds room removes what is left
    of it. The refused cut leaves zeros in the page cache where those bytes are, so the file is
    verified after it was mounted again.
    """
    with disks.mounted(directory, "btrfs") as place, WorkerGroup() as group:
        limited = place / "limited"
        path = str(limited / FILE_NAME)
        _run_btrfs("quota", "enable", str(place))
        _run_btrfs("subvolume", "create", str(limited))
        # Set at the mount point, which has no limit: a subvolume at its limit does not even accept
        # a higher one.
        _run_btrfs("qgroup", "limit", QUOTA, FIRST_SUBVOLUME, str(place))
        task = Task(
            path,
            (0,),
            profile.seed,
            durability,
            largest=1 << 16,
            phases=PHASES,
            sabotage=profile.sabotage,
        )
        _start(group, task, profile.few(16))
        group.start_phase()
        group.wait_until(lambda: _count_failed(group) >= LEAST_REFUSALS, "the quota to be used up")
        group.end_phase(group.workers)
        group.wait_for_phase(1)
        _check_refusals(group, {errno.EDQUOT}, may_be_there=True)
        _run_btrfs("qgroup", "limit", "none", FIRST_SUBVOLUME, str(place))
        _go_on(group, may_be_there=True)
        power.remount(place)
        group.verify([path])
        return _count_failed(group)


def _count_failed(group: WorkerGroup) -> int:
    return group.history.count_refused() + sum(map(len, group.history.unsure.values()))


def _run_btrfs(*arguments: str) -> None:
    if shutil.which("btrfs") is None:
        raise disks.CannotMountError("btrfs is not installed")
    done = subprocess.run(["btrfs", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"btrfs {' '.join(arguments)}: {done.stderr}"


def write_to_a_read_only_disk(directory: Path, profile: Profile, durability: Durability) -> int:
    """Remount read-only between appends, and read-write again; return the refusals."""
    with disks.mounted(directory) as place, WorkerGroup() as group:
        path = str(place / FILE_NAME)
        phases = (Phase(least=10), Phase(least=READ_ONLY_APPENDS), Phase(least=10))
        _start(
            group,
            Task(path, (0,), profile.seed, durability, phases=phases, sabotage=profile.sabotage),
            profile.few(16),
        )
        for count, options in enumerate(("remount,rw", "remount,ro", "remount,rw"), 1):
            subprocess.run(["mount", "-o", options, str(place)], check=True)
            group.start_phase()
            group.wait_for_phase(count)
            assert group.history.count_refused() == (count > 1) * READ_ONLY_APPENDS * THREADS * len(
                group.workers
            )
        group.finish()
        _check_refusals(group, {errno.EROFS})
        group.verify([path])
        return group.history.count_refused()


def lose_the_disk(
    directory: Path, profile: Profile, durability: Durability, file_system: str, way: str
) -> int:
    """Break the file system under the writers, and mount it again; return the refusals.

    `way` is "shut down", by the kernel's call, or "turn read-only", as ext4 does by itself after an
    error on its disk. Lines acknowledged before that are there. Lines refused with "nothing was
    written" are not: an append that cannot cut its line back says that it may be there.
    """
    options = "loop,errors=remount-ro" if way == "turn read-only" else "loop"
    with (
        disks.mounted(directory, file_system, mount_options=options) as place,
        WorkerGroup() as group,
    ):
        path = str(place / FILE_NAME)
        task = Task(
            path,
            (0,),
            profile.seed,
            durability,
            largest=1 << 16,
            phases=PHASES,
            sabotage=profile.sabotage,
        )
        writers = _start(group, task, profile.few(16))
        group.start_phase()
        group.wait_until(lambda: _have_appended(group, writers), "some lines of each process")
        known = power.cut(group, place, power.shut_down if way == "shut down" else _report_an_error)
        group.wait_until(lambda: _are_refused(group, writers), "refusals by each process")
        group.end_phase(writers)
        group.wait_for_phase(1)
        power.doubt_late_claims(group.history, known)
        _check_refusals(group, _GONE, may_be_there=True)
        power.remount(place)
        refused = _go_on(group, may_be_there=True)
        group.verify([path])
        return refused


def _report_an_error(place: Path) -> None:
    """Trigger an error in ext4, which then turns read-only at once, open files or not."""
    Path(f"/sys/fs/ext4/{disks.device_of(place)}/trigger_fs_error").write_text("stress")


def _start(group: WorkerGroup, task: Task, count: int) -> list[Worker]:
    return [
        group.start(
            append_lines,
            replace(task, callers=group.new_callers(THREADS), adapter=_adapter(task.path, index)),
        )
        for index in range(count)
    ]


def _adapter(path: str, index: int) -> str:
    return "metrics" if path.endswith(FILE_NAME) and index % 2 else "log"


def _have_appended(group: WorkerGroup, workers: list[Worker]) -> bool:
    return all(len(group.history.acknowledged[worker.leader]) >= LEAST_LINES for worker in workers)


def _are_refused(group: WorkerGroup, workers: list[Worker]) -> bool:
    return all(len(group.history.refused[worker.leader]) >= LEAST_LINES for worker in workers)


def _check_refusals(
    group: WorkerGroup,
    expected: set[int],
    only: list[Worker] | None = None,
    *,
    may_be_there: bool = False,
) -> None:
    """Check that errors have the expected errnos and files, and are sure unless `may_be_there`."""
    refused = {caller: refusals for caller, refusals in group.history.refused.items() if refusals}
    found = {refusal.error for refusals in refused.values() for refusal in refusals.values()}
    assert found or group.history.unsure, "nothing was refused"
    assert found <= expected, (
        f"refused for {[errno.errorcode.get(error, error) for error in found]}"
    )
    if only is not None:
        callers = {
            caller for worker in only for caller in range(worker.leader, worker.leader + THREADS)
        }
        assert set(refused) <= callers, "refused where nothing is in the way"
    assert may_be_there or not group.history.unsure, "an error did not say that nothing was written"


def _go_on(group: WorkerGroup, *, may_be_there: bool = False) -> int:
    """Let the same writers append again, without an error; return the refusals before that."""
    refused = group.history.count_refused()
    failed = _count_failed(group)
    group.start_phase()
    group.finish()
    assert _count_failed(group) == failed, "refused or unsure although the disk works again"
    assert may_be_there or failed == refused
    return refused


@contextlib.contextmanager
def a_disk() -> Iterator[None]:
    """Skip the test where no disk can be mounted."""
    try:
        yield
    except disks.CannotMountError as error:
        pytest.skip(f"no disk to break: {error}")


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("scenario", [run_out_of_inodes, pass_the_quota, write_to_a_read_only_disk])
def test_a_disk_that_refuses_is_written_to_again(
    tmp_path: Path, profile: Profile, scenario: Callable[..., int], durability: Durability
) -> None:
    """Every refusal has its errno and is right that nothing was written; appends go on later."""
    with a_disk():
        assert scenario(tmp_path, profile, durability) >= LEAST_LINES


@pytest.mark.parametrize("file_system", ["xfs", "btrfs"])
def test_other_full_disks_refuse_whole_lines(
    tmp_path: Path, profile: Profile, file_system: str
) -> None:
    """As on ext4: ENOSPC, nothing written, and appends go on when there is room."""
    with a_disk(), disks.mounted(tmp_path, file_system) as place:
        assert fill_the_disk(place, profile, "fsync") >= LEAST_REFUSALS


@pytest.mark.parametrize("durability", DURABLE)
@pytest.mark.parametrize(
    ("file_system", "way"),
    [("ext4", "shut down"), ("xfs", "shut down"), ("ext4", "turn read-only")],
)
def test_a_disk_that_went_away_is_written_to_again(
    tmp_path: Path, profile: Profile, file_system: str, way: str, durability: Durability
) -> None:
    """Acknowledged lines are there when the disk is back, and the same writers go on."""
    with a_disk():
        assert lose_the_disk(tmp_path, profile, durability, file_system, way) >= LEAST_LINES


@pytest.mark.parametrize(
    ("scenario", "way", "complaint"),
    [
        (partial(run_out_of_inodes, durability="fsync"), "no withdrawal", "refused: "),
        (partial(pass_the_quota, durability="os"), "no cut", "broken: |torn: "),
        (partial(write_to_a_read_only_disk, durability="os"), "no withdrawal", "refused: "),
        (
            partial(lose_the_disk, durability="fsync", file_system="ext4", way="shut down"),
            "no sync",
            "lost: ",
        ),
    ],
    ids=lambda value: value.func.__name__ if isinstance(value, partial) else None,
)
def test_a_failing_disk_can_fail(
    scenario: Callable[..., Any], tmp_path: Path, profile: Profile, way: str, complaint: str
) -> None:
    """Each scenario fails with an engine that is broken on purpose."""
    with a_disk():
        expect_failure(scenario, tmp_path, profile, way, complaint)
        disks.remove_images(tmp_path)
