"""The profile of the run, its seed in the header, and a disk small enough to fill."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from . import profile as profiles
from . import small_disk as disks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed once, before xdist starts its workers, which inherit it."""
    os.environ.setdefault(profiles.SEED, str(random.randrange(1_000_000)))


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to run the same again."""
    profile = profiles.from_environment()
    scale = f"{profiles.PROCESSES}={profile.processes} {profiles.SECONDS}={profile.seconds:g} {profiles.CUTS}={profile.cuts}"
    return f"stress: {profiles.SEED}={profile.seed} {scale}"


@pytest.fixture
def profile() -> profiles.Profile:
    """Return the scale that the environment asks for."""
    return profiles.from_environment()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a mounted file system of a few megabytes, or skip where that cannot be."""
    try:
        with disks.mounted(tmp_path) as directory:
            yield directory
    except disks.CannotMountError as error:
        pytest.skip(f"no small disk to fill: {error}")
