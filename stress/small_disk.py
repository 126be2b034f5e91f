"""A small loop-mounted file system, which can be filled, broken and mounted again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLOCK_BYTES: Final = 1 << 16
_IMAGE_NAME: Final = "disk.img"
_ROOMY: Final = 16


class FileSystem(NamedTuple):
    """The command that makes a file system of one kind, and the size of its image."""

    make: tuple[str, ...]
    image_bytes: int


FILE_SYSTEMS: Final = {
    "ext4": FileSystem(("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096"), 256 << 20),
    "xfs": FileSystem(("mkfs.xfs", "-q", "-f"), 320 << 20),  # it refuses less than 300 MB
    "btrfs": FileSystem(("mkfs.btrfs", "-q", "-f"), 512 << 20),
}


class CannotMountError(Exception):
    """This machine, or this user, cannot mount a file as a disk."""


@contextlib.contextmanager
def mounted(
    directory: Path,
    file_system: str = "ext4",
    *,
    make_options: Sequence[str] = (),
    mount_options: str = "loop",
    is_roomy: bool = False,
) -> Iterator[Path]:
    """Mount a new, small file system below the directory, and unmount it at the end in any case.

    `is_roomy` makes it sixteen times as large, for a scenario that must not fill it. The image is
    removed, unless an assertion failed: then it is evidence.
    """
    kind = FILE_SYSTEMS[file_system]
    _require_tools(kind.make[0], "mount", "umount")
    image, place = directory / _IMAGE_NAME, directory / "disk"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(kind.image_bytes * (_ROOMY if is_roomy else 1))
    is_evidence = False
    try:
        _run(*kind.make, *make_options, str(image))
        mount(place, mount_options)
        try:
            yield place
        except AssertionError as fault:
            is_evidence = True
            fault.add_note(f"the disk's image is kept: {image}")
            raise
        finally:
            _unmount_at_any_rate(place)
    finally:
        if not is_evidence:
            image.unlink()


def mount(place: Path, options: str = "loop") -> None:
    """Mount the image beside the mount point; with `loop`, the unmount detaches its device too."""
    _run("mount", "-o", options, str(place.parent / _IMAGE_NAME), str(place))


def unmount(place: Path) -> None:
    """Unmount; raise where a process still has a file open there."""
    subprocess.run(["umount", str(place)], check=True)


def remove_images(directory: Path) -> None:
    """Remove all images below the directory that were kept as evidence."""
    for image in directory.rglob(_IMAGE_NAME):
        image.unlink()


def device_of(place: Path) -> str:
    """Return the name of the loop device that is mounted there."""
    number = os.stat(place).st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
    assert device.startswith("loop"), f"{place} lies on {device}, which is no loop device"
    return device


def fill(directory: Path, leave_bytes: int) -> Path:
    """Fill the disk with one file, all but `leave_bytes`, and return that file."""
    ballast = directory / "ballast"
    with open(ballast, "wb") as file:
        while (room := _room(directory) - leave_bytes) > 0:
            try:
                os.posix_fallocate(
                    file.fileno(), file.seek(0, os.SEEK_END), max(room // 2, _BLOCK_BYTES)
                )
            except OSError:
                break  # not all of what statvfs(3) reports as free can be allocated
    return ballast


def _room(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def _require_tools(*tools: str) -> None:
    if os.name != "posix" or os.geteuid() != 0:
        raise CannotMountError("only root can mount")
    for tool in tools:
        if shutil.which(tool) is None:
            raise CannotMountError(f"{tool} is not installed")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMountError(f"{' '.join(command)}: {done.stderr.strip()}")


def _unmount_at_any_rate(place: Path) -> None:
    """Unmount; detach the mount point where a process still uses the file system.

    Without a check whether it is mounted: that fails on a disk that was shut down.
    """
    if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
