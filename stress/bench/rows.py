"""The rows that every table of the results has: a contender's figures, and its goals beside them.

Every figure is the median of the rounds; faulty lines are their sum.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from .figures import short
from .results import evenness_of, rate_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import Entry, RaceResult, Results, Verdict

COLUMNS: Final = (
    "contender",
    "durable",
    "for processes",
    "rate, x",
    "range",
    "a second",
    "slowest/fastest",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "torn/lost/unack.",
    "to reach",
)


def describe_run(results: Results) -> str:
    """Return one line that says how, when and where the results were measured."""
    rounds = f"Medians of {results.rounds} rounds of {results.seconds:g} s"
    return f"{rounds}, {results.date}; {results.machine}"


def configurations(results: Results) -> dict[str, str]:
    """Return how each contender was configured, by its name."""
    return {
        entry.contender: entry.note
        for race in results.races
        for entry in race.entries
        if entry.note
    }


def cells(race: RaceResult, entry: Entry) -> Iterator[str]:
    """Yield a contender's figures in the order of `COLUMNS`."""
    yield entry.contender
    for promise in (entry.is_durable, entry.is_process_safe):
        yield "" if promise is None else "yes" if promise else "no"
    if not entry.runs:
        yield from [""] * (len(COLUMNS) - 4)
        yield f"did not run: {entry.failure.splitlines()[-1]}"
        return
    ratios = race.ratios(entry, rate_of)
    yield short(statistics.median(ratios))
    yield f"{short(ratios[0])}-{short(ratios[-1])}"
    yield f"{statistics.median(map(rate_of, entry.runs)):,.0f}"
    yield f"{statistics.median(map(evenness_of, entry.runs)):.2f}"
    for wait in ("p50", "p99", "longest"):
        yield short(1000 * statistics.median(getattr(run.waits, wait) for run in entry.runs))
    yield "/".join(
        str(sum(getattr(run, kind) for run in entry.runs))
        for kind in ("torn", "lost", "unacknowledged")
    )
    yield "; ".join(_outcomes(race.verdicts(entry)))


def _outcomes(verdicts: list[Verdict]) -> Iterator[str]:
    """Yield each goal with its outcome.

    The peers that are behind are only counted; a peer that is ahead is named, with the figure.
    """
    ahead: dict[str, int] = {}
    for verdict in verdicts:
        goal = verdict.goal
        if goal.against and goal.bound == 1 and verdict.is_reached:
            ahead[goal.quantity] = ahead.get(goal.quantity, 0) + 1
        else:
            against = f" x {goal.against}" if goal.against else ""
            mark = "reached" if verdict.is_reached else "MISSED"
            yield f"{goal.quantity} {goal.bound:.3g}{against}: {short(verdict.measured)} {mark}"
    for quantity, count in ahead.items():
        yield f"{quantity}: ahead of {count} peers"
