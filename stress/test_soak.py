"""The soak goes on while all is well, ends at the first fault, and says how to repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import soak
from .__main__ import main

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from .profile import Profile


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Replace the scenarios by two, one of which fails; list name, seed, processes as they run."""
    played: list[tuple[str, int, int]] = []

    def go_well(directory: Path, profile: Profile, chance: Random) -> int:
        played.append(("well", profile.seed, profile.processes))
        return 1

    def fail(directory: Path, profile: Profile, chance: Random) -> int:
        played.append(("fail", profile.seed, profile.processes))
        directory.rmdir()
        raise AssertionError("1 faults, the first of them: lost")

    monkeypatch.setattr(soak, "SCENARIOS", {"well": go_well, "fail": fail})
    return played


def test_a_soak_ends_at_the_first_fault_with_its_seed(
    played: list[tuple[str, int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints a line for each round, and at the end the command that repeats the last one."""
    assert soak.soak(hours=1.0) == 1
    *well, (name, seed, processes) = played
    assert name == "fail"
    assert all(name == "well" for name, *_ in well)
    printed = capsys.readouterr().out
    assert printed.count(": well, seed ") == len(well)
    assert f"-m stress soak --seed {seed} --rounds 1" in printed
    played.clear()
    assert soak.soak(hours=1.0, seed=seed, rounds=1) == 1
    assert played == [("fail", seed, processes)]


def test_a_soak_ends_when_its_time_is_up(
    played: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round in progress is finished."""
    monkeypatch.delitem(soak.SCENARIOS, "fail")
    assert soak.soak(hours=0.0) == 0
    assert len(played) == 1
    assert soak.soak(hours=1.0, rounds=3) == 0
    assert len(played) == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "--rounds: 0: pass a whole number of 1 or more"),
        (["--hours", "-1"], "--hours: -1: pass a number above 0"),
        (["--hours", "nan"], "--hours: nan: pass a number above 0"),
    ],
)
def test_a_soak_that_would_not_end_or_begin_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    """Wrong options are refused with status 2 and the values that are right."""
    monkeypatch.setattr("sys.argv", ["stress", "soak", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err
