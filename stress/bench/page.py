"""The results as Markdown, written into a page between two lines that mark where they stand.

First a summary for each durability, which puts this library beside its own bare system calls; then
every figure, and how each contender was configured.
"""

from __future__ import annotations

import statistics
import textwrap
from typing import TYPE_CHECKING, Final

from .contenders import (
    BARE,
    BARE_FSYNC,
    CALLS_OF_FSYNC,
    CALLS_OF_GROUP,
    CALLS_OF_OS,
    FSYNC,
    GROUP,
    OS,
)
from .figures import short
from .results import evenness_of, longest_of, rate_of
from .rows import COLUMNS, cells, configurations, describe_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .contender import Contender
    from .results import Entry, RaceResult, Results, Run

BEGIN: Final = "<!-- the results begin: `python -m stress.bench --page` writes them -->"
END: Final = "<!-- the results end -->"
_DURABILITIES: Final = (
    ("fsync", (FSYNC, CALLS_OF_FSYNC, BARE_FSYNC)),
    ("group", (GROUP, CALLS_OF_GROUP, BARE_FSYNC)),
    ("os", (OS, CALLS_OF_OS, BARE)),
)
_NO_FIGURE: Final = "-"
_COLUMNS: Final = 100


class PageError(Exception):
    """A page that cannot take the results; the text says why."""


def write_page(page: Path, results: Results) -> None:
    """Put the results in place of those that stand in the page; `PageError` without its marks."""
    before, after = read_page(page)
    page.write_text(f"{before}{BEGIN}\n\n{to_markdown(results)}\n{END}{after}", encoding="utf-8")


def read_page(page: Path) -> tuple[str, str]:
    """Return what stands in front of the results, and behind them."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise PageError(f"{page}: {error.strerror}") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PageError(f"{page}: the lines {BEGIN!r} and {END!r} are to mark the results' place")
    return before, after


def to_markdown(results: Results) -> str:
    """Return all the tables."""
    parts = [textwrap.fill(f"{describe_run(results)}.", _COLUMNS, break_on_hyphens=False)]
    for durability, contenders in _DURABILITIES:
        races = [race for race in results.races if _is_row(race, contenders)]
        if races:
            parts.append(f'### Processes that append with `"{durability}"`')
            parts.append(_summary(durability, races, contenders))
    parts += ["### Every figure", _every_figure(results)]
    parts += ["### How each contender is configured", _table(*_configuration_rows(results))]
    return "\n\n".join(parts) + "\n"


def _is_row(race: RaceResult, contenders: Sequence[Contender]) -> bool:
    """Whether this library ran in a race beside the calls of the same durability."""
    return all(_find(race, contender) for contender in contenders[:2])


def _summary(durability: str, races: Iterable[RaceResult], contenders: Sequence[Contender]) -> str:
    head = (
        "",
        f'`"{durability}"`, x',
        "its calls, x",
        "a second",
        "slowest/fastest: ours, calls, bare loop",
        "longest wait, ms: ours, calls, bare loop",
    )
    return _table(head, *(_summary_row(race, contenders) for race in races))


def _summary_row(race: RaceResult, contenders: Sequence[Contender]) -> tuple[str, ...]:
    entries = [_find(race, contender) for contender in contenders]
    ours, calls = (entry for entry in entries[:2] if entry)
    return (
        race.name,
        short(statistics.median(race.ratios(ours, rate_of))),
        short(statistics.median(race.ratios(calls, rate_of))),
        f"{statistics.median(map(rate_of, ours.runs)):,.0f}",
        ", ".join(_median(entry, evenness_of, "{:.2f}") for entry in entries),
        ", ".join(_median(entry, lambda run: 1000 * longest_of(run)) for entry in entries),
    )


def _median(entry: Entry | None, of: Callable[[Run], float], form: str = "") -> str:
    if entry is None:
        return _NO_FIGURE
    figure = statistics.median(map(of, entry.runs))
    return form.format(figure) if form else short(figure)


def _find(race: RaceResult, contender: Contender) -> Entry | None:
    """Return a contender's entry, if it ran."""
    return next(
        (entry for entry in race.entries if entry.contender == contender.name and entry.runs), None
    )


def _every_figure(results: Results) -> str:
    rows: list[Sequence[str]] = [COLUMNS]
    for race in results.races:
        rows.append([f"**{race.name}**", *[""] * (len(COLUMNS) - 1)])
        rows += [list(cells(race, entry)) for entry in race.entries]
    return _table(*rows)


def _configuration_rows(results: Results) -> Iterator[Sequence[str]]:
    yield "contender", "configuration"
    yield from configurations(results).items()


def _table(head: Sequence[str], *rows: Sequence[str]) -> str:
    return "\n".join(map(_line, (head, ["---"] * len(head), *rows)))


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
