"""Showing the demo: what it does, a progress bar, and what the files hold afterwards."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..demo import run as demo
from ..demo.check import LONG_FILE, TORN_SUFFIX, Findings, Tally, check
from ..demo.worker import SKILL_NAME
from .table import show_table

if TYPE_CHECKING:
    from rich.console import Console

_TITLES: Final = ("acknowledged", "found", "torn", "lost", "appends per second")
_MOST_PROBLEMS: Final = 5
_MEGABYTE: Final = 1_000_000


def play(console: Console, directory: str, processes: int, records: int) -> bool:
    """Run the demo in an empty directory and show it; return whether no problem was found."""
    console.print(
        f'\n{processes} processes append five kinds of records for "{SKILL_NAME}", each to be\n'
        "on disk when its append returns. One of them is killed in the middle of a write.\n",
        highlight=False,
    )
    result = _run_with_bar(console, directory, processes, records)
    findings = check(directory, result.workers)
    problems = [*result.failures, *findings.problems]
    _show_kills(console, result.kills, findings)
    _show_tallies(console, findings.tallies, result.seconds)
    _show_verdict(console, findings, problems)
    return not problems


def _run_with_bar(console: Console, directory: str, processes: int, records: int) -> demo.RunResult:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        expected = demo.total_records(processes, records)
        bar = progress.add_task("acknowledged", total=expected)
        result = demo.run(directory, processes, records, lambda: progress.advance(bar))
        # Where the first kill came too late, a further worker has appended a few more.
        acknowledged = sum(worker.acknowledged for worker in result.workers)
        progress.update(bar, total=max(expected, acknowledged))
    return result


def _show_kills(console: Console, kills: list[demo.Kill], findings: Findings) -> None:
    console.print()
    torn_bytes = findings.quarantined.get(LONG_FILE, 0)
    for kill in kills:
        hit = f"SIGKILL to worker {kill.writer} (process {kill.pid})"
        length = f"{kill.characters / _MEGABYTE:,.0f} MB"
        if kill.is_torn and torn_bytes:
            console.print(
                f"{hit} tore its line of {length} after {torn_bytes / _MEGABYTE:,.1f} MB.",
                highlight=False,
            )
            console.print(
                f"The next append put the torn bytes aside:\n  {LONG_FILE}{TORN_SUFFIX}",
                highlight=False,
            )
        else:
            console.print(f"{hit} came too late to tear its line of {length}.", highlight=False)


def _show_tallies(console: Console, tallies: dict[str, Tally], seconds: float) -> None:
    whole = Tally(*(sum(column) for column in zip(*map(astuple, tallies.values()), strict=True)))
    table = Table(box=SIMPLE, show_footer=True, footer_style="bold")
    table.add_column("kind", footer="all")
    for title, total in zip(_TITLES, _cells_of(whole, seconds), strict=True):
        table.add_column(title, footer=total, justify="right")
    for kind, tally in tallies.items():
        table.add_row(kind, *_cells_of(tally, seconds))
    rows = [(kind, _cells_of(tally, seconds)) for kind, tally in (*tallies.items(), ("all", whole))]
    show_table(
        console,
        table,
        (
            f"{kind}: {', '.join(map(' '.join, zip(cells, _TITLES, strict=True)))}"
            for kind, cells in rows
        ),
    )


def _cells_of(tally: Tally, seconds: float) -> list[str]:
    counts = [f"{count:,}" for count in (tally.acknowledged, tally.found, tally.torn, tally.lost)]
    return [*counts, f"{tally.acknowledged / seconds:,.0f}"]


def _show_verdict(console: Console, findings: Findings, problems: list[str]) -> None:
    if findings.unacknowledged:
        console.print(
            f"Beside these, {findings.unacknowledged} of a killed worker: whole, but not "
            "acknowledged in time.",
            highlight=False,
        )
    if not problems:
        console.print(
            "[bold green]All well:[/] every acknowledged record is there once, whole, in its "
            "writer's order.\n"
        )
        return
    console.print(f"[bold red]Amiss:[/] {len(problems)} findings.", highlight=False)
    for problem in problems[:_MOST_PROBLEMS]:
        console.print(Text(f"  {problem}"))
    if len(problems) > _MOST_PROBLEMS:
        console.print(f"  and {len(problems) - _MOST_PROBLEMS} more", highlight=False)
