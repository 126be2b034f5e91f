"""The results as a table on a terminal: ratios first, and beside each what was to be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from .rows import COLUMNS, cells, configurations, describe_run

if TYPE_CHECKING:
    from .results import Results


def results_table(results: Results) -> Table:
    """Return a section for each race, its baseline first."""
    table = Table(*COLUMNS, title=describe_run(results), title_justify="left", box=box.HEAVY_HEAD)
    for race in results.races:
        table.add_section()
        table.add_row(f"[bold]{race.name}")
        for entry in race.entries:
            table.add_row(*map(escape, cells(race, entry)))
    return table


def configurations_table(results: Results) -> Table:
    """Return how each contender was configured."""
    table = Table("contender", "configuration", box=box.HEAVY_HEAD)
    for contender, note in configurations(results).items():
        table.add_row(escape(contender), escape(note))
    return table
