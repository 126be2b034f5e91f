"""What was measured, as plain data: kept as JSON, shown as a table, drawn as a picture."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Quantity = Literal["rate", "even", "longest wait", "ms", "ms over"]
# This library; what one would take instead; what is measured to compare the two with.
Side = Literal["ours", "peer", "bare"]


@dataclass(frozen=True, slots=True)
class Waits:
    """How long single calls took, in seconds: the median, the 99th of a hundred, the longest."""

    p50: float
    p99: float
    longest: float


def waits_of(waits: Sequence[float]) -> Waits:
    """Return the three of some waits, one at least."""
    in_order = sorted(waits)
    last = len(in_order) - 1
    return Waits(in_order[last // 2], in_order[round(last * 0.99)], in_order[last])


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one contender.

    Records a second (or calls), the slowest process's count to the fastest's, waits, faulty lines.
    """

    rate: float
    evenness: float
    waits: Waits
    torn: int = 0
    lost: int = 0
    unacknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender's runs in one race, one a round; or why there are none.

    What does not write promises neither way: `None`.
    """

    contender: str
    note: str
    is_durable: bool | None
    is_process_safe: bool | None
    side: Side
    is_baseline: bool
    runs: tuple[Run, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a contender must reach: a quantity, as a ratio to another contender's in the same round.

    `rate` and `even` (slowest/fastest process) at least, `longest wait` at most. `even` against
    no contender is no ratio. `ms` is the median call's milliseconds, and `ms over` how many more
    than the baseline's, at most.
    """

    contender: str
    quantity: Quantity
    bound: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and the median over the rounds of what it is about."""

    goal: Goal
    measured: float

    @property
    def is_reached(self) -> bool:
        """Whether it is, to the last digit."""
        if self.goal.quantity in {"rate", "even"}:
            return self.measured >= self.goal.bound
        return self.measured <= self.goal.bound


@dataclass(frozen=True, slots=True)
class RaceResult:
    """The contenders that took turns in the same rounds, the baseline first.

    What was to be reached.
    """

    name: str
    entries: tuple[Entry, ...]
    goals: tuple[Goal, ...] = ()

    def ratios(self, entry: Entry, of: Callable[[Run], float], against: str = "") -> list[float]:
        """Return one contender's figure to another's (the baseline's) in each round, sorted."""
        other = self._entry(against) if against else self.entries[0]
        return sorted(
            of(mine) / of(theirs) for mine, theirs in zip(entry.runs, other.runs, strict=True)
        )

    def verdicts(self, entry: Entry) -> list[Verdict]:
        """Return how one contender stands to its goals.

        Nothing where one of the two did not run.
        """
        return [
            Verdict(goal, self._measured(entry, goal))
            for goal in self.goals
            if goal.contender == entry.contender
            and entry.runs
            and (not goal.against or self._entry(goal.against).runs)
        ]

    def _measured(self, entry: Entry, goal: Goal) -> float:
        if goal.quantity == "rate":
            return statistics.median(self.ratios(entry, rate_of, goal.against))
        if goal.quantity == "longest wait":
            return statistics.median(self.ratios(entry, longest_of, goal.against))
        if goal.quantity == "ms":
            return 1000 * statistics.median(run.waits.p50 for run in entry.runs)
        if goal.quantity == "ms over":
            pairs = zip(entry.runs, self.entries[0].runs, strict=True)
            return 1000 * statistics.median(
                mine.waits.p50 - theirs.waits.p50 for mine, theirs in pairs
            )
        if goal.against:
            return statistics.median(self.ratios(entry, evenness_of, goal.against))
        return statistics.median(map(evenness_of, entry.runs))

    def _entry(self, contender: str) -> Entry:
        return next(entry for entry in self.entries if entry.contender == contender)


def rate_of(run: Run) -> float:
    """Return records a second."""
    return run.rate


def longest_of(run: Run) -> float:
    """Return the longest wait."""
    return run.waits.longest


def evenness_of(run: Run) -> float:
    """Return slowest/fastest, and never zero, so that it can be divided by."""
    return max(run.evenness, 1e-4)


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run of the benchmark, and where it was."""

    machine: str
    date: str
    rounds: int
    seconds: float
    races: tuple[RaceResult, ...]


def encode_results(results: Results) -> bytes:
    """Return them as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def decode_results(data: bytes) -> Results:
    """Return what `encode_results` wrote; `msgspec.ValidationError` for anything else."""
    return msgspec.json.decode(data, type=Results)
