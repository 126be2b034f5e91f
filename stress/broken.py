"""Checks that a scenario fails when the engine of its workers is broken on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .profile import Profile

_MOST_ATTEMPTS = 3


def expect_failure(
    scenario: Callable[..., Any], directory: Path, profile: Profile, way: str, complaint: str
) -> None:
    """Run a scenario whose workers are broken in one way, up to three times.

    Where the scenario passes by chance, it runs again with another seed.
    """

    def try_some_times() -> None:
        for attempt in range(_MOST_ATTEMPTS):
            place = directory / str(attempt)
            place.mkdir()
            scenario(place, replace(profile, sabotage=way, seed=profile.seed + attempt))

    with pytest.raises(AssertionError, match=complaint):
        try_some_times()
