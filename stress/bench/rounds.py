"""Rounds: in each, every contender of a race takes its turn.

In the next they begin with another.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from stress.small_disk import CannotMountError

from .measure import TurnError
from .results import Entry, Goal, RaceResult, Run

if TYPE_CHECKING:
    from collections.abc import Callable


class Racer(NamedTuple):
    """A contender's entry, and how it takes one turn."""

    entry: Entry
    turn: Callable[[], Run]


class Race(NamedTuple):
    """The contenders of the same rounds, the baseline first, and what must be reached."""

    name: str
    racers: tuple[Racer, ...]
    goals: tuple[Goal, ...] = ()

    def only(self, text: str) -> Race:
        """Return the race of those whose name holds a text, and of those they are compared with.

        It has no racers where no name does.
        """
        wanted = {
            racer.entry.contender
            for racer in self.racers
            if text in f"{self.name}: {racer.entry.contender}"
        }
        needed = {goal.against for goal in self.goals if goal.contender in wanted}
        racers = [
            racer
            for racer in self.racers
            if racer.entry.is_baseline or racer.entry.contender in wanted | needed
        ]
        return self._replace(
            racers=tuple(racers) if wanted else (),
            goals=tuple(goal for goal in self.goals if goal.contender in wanted),
        )


def run_rounds(race: Race, count: int, show: Callable[[str], None]) -> RaceResult:
    """Run so many rounds.

    A contender that fails keeps the reason, takes no further turn, and the others go on.
    """
    runs: dict[str, list[Run]] = {racer.entry.contender: [] for racer in race.racers}
    failures: dict[str, str] = {racer.entry.contender: racer.entry.failure for racer in race.racers}
    for number in range(count):
        first = number % len(race.racers)
        for racer in race.racers[first:] + race.racers[:first]:
            name = racer.entry.contender
            if not failures[name]:
                show(f"{race.name}, round {number + 1} of {count}: {name}")
                try:
                    runs[name].append(racer.turn())
                except (TurnError, CannotMountError) as error:
                    failures[name] = str(error).strip()
    return RaceResult(
        race.name, tuple(_entry(racer.entry, runs, failures) for racer in race.racers), race.goals
    )


def _entry(entry: Entry, runs: dict[str, list[Run]], failures: dict[str, str]) -> Entry:
    failure = failures[entry.contender]
    return dataclasses.replace(
        entry, runs=() if failure else tuple(runs[entry.contender]), failure=failure
    )
