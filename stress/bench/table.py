"""The results as a table: ratios first, and beside each what was to be reached."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from .figures import short
from .results import evenness_of, rate_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import Entry, RaceResult, Results, Verdict

_COLUMNS = (
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


def results_table(results: Results, *, is_markdown: bool = False) -> Table:
    """Return a section for each race, its baseline first.

    Every figure is the median of the rounds, faulty lines are their sum.
    """
    title = f"Medians of {results.rounds} rounds of {results.seconds:g} s, {results.date}; {results.machine}"
    table = Table(
        *_COLUMNS,
        title=title,
        title_justify="left",
        box=box.MARKDOWN if is_markdown else box.HEAVY_HEAD,
    )
    for race in results.races:
        if not is_markdown:
            table.add_section()
        table.add_row(f"**{race.name}**" if is_markdown else f"[bold]{race.name}")
        for entry in race.entries:
            table.add_row(*map(escape, _cells(race, entry)))
    return table


def configurations_table(results: Results, *, is_markdown: bool = False) -> Table:
    """Return how each contender was configured."""
    table = Table("contender", "configuration", box=box.MARKDOWN if is_markdown else box.HEAVY_HEAD)
    notes = {
        entry.contender: entry.note
        for race in results.races
        for entry in race.entries
        if entry.note
    }
    for contender, note in notes.items():
        table.add_row(escape(contender), escape(note))
    return table


def _cells(race: RaceResult, entry: Entry) -> Iterator[str]:
    yield entry.contender
    for promise in (entry.is_durable, entry.is_process_safe):
        yield "" if promise is None else "yes" if promise else "no"
    if not entry.runs:
        yield from [""] * (len(_COLUMNS) - 4)
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
    """Yield each goal with what came of it.

    Being ahead of peers is told in one word, being behind one with its figure.
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
