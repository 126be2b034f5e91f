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
    """Show the settings that repeat this run."""
    profile = profiles.from_environment()
    settings = {
        profiles.SEED: profile.seed,
        profiles.PROCESSES: profile.processes,
        profiles.SECONDS: f"{profile.seconds:g}",
        profiles.CUTS: profile.cuts,
    }
    return "stress: " + " ".join(f"{name}={value}" for name, value in settings.items())


@pytest.fixture
def profile() -> profiles.Profile:
    """The scale that the environment asks for."""
    return profiles.from_environment()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of a few megabytes; skips where none can be mounted."""
    try:
        with disks.mounted(tmp_path) as directory:
            yield directory
    except disks.CannotMountError as error:
        pytest.skip(f"no small disk to fill: {error}")
