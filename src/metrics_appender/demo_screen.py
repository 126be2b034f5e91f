"""The demo's screen: what is about to happen, a bar while it does, and what the files hold afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import demo
from .demo_check import LONG_FILE, TORN_SUFFIX, Findings, Tally, check
from .demo_worker import KINDS, SKILL_NAME

if TYPE_CHECKING:
    from rich.console import Console

_MOST_PROBLEMS: Final = 5
_MEGABYTE: Final = 1_000_000


def play(console: Console, directory: str, processes: int, records: int) -> bool:
    """Run the demo in an empty directory and show it; return whether all was well."""
    console.print(
        f'\n{processes} processes append five kinds of records for "{SKILL_NAME}", each to be\n'
        "on disk when its append returns. One of them is killed in the middle of a write.\n",
        highlight=False,
    )
    outcome = _run_with_bar(console, directory, processes, records)
    findings = check(directory, outcome.told)
    problems = [*outcome.failures, *findings.problems]
    _show_kills(console, outcome.kills, findings)
    console.print(_table_of(findings, outcome.seconds))
    _show_verdict(console, findings, problems)
    return not problems


def _run_with_bar(console: Console, directory: str, processes: int, records: int) -> demo.Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("acknowledged", total=demo.records_in_all(processes, records))
        return demo.run(directory, processes, records, lambda: progress.advance(bar))


def _show_kills(console: Console, kills: list[demo.Kill], findings: Findings) -> None:
    console.print()
    for kill in kills:
        whole = f"{kill.characters / _MEGABYTE:,.0f} MB"
        if not kill.is_torn:
            console.print(f"SIGKILL to worker {kill.writer} (pid {kill.pid}) came too late to tear its line of {whole}; tried again with a longer one.")
            continue
        torn = findings.set_aside.get(LONG_FILE, 0) / _MEGABYTE
        console.print(
            f"SIGKILL to worker {kill.writer} (pid {kill.pid}) tore its line of {whole} after {torn:,.1f} MB.\n"
            f"The next append put the torn bytes aside, in {LONG_FILE}{TORN_SUFFIX}.",
            highlight=False,
        )


def _table_of(findings: Findings, seconds: float) -> Table:
    table = Table(box=SIMPLE_HEAD, show_footer=True, padding=(0, 1))
    whole = Tally()
    for tally in findings.tallies.values():
        whole += tally
    table.add_column("kind", footer="all")
    for title in ("acknowledged", "found", "torn", "lost", "appends/s"):
        pass
    return table


def _show_verdict(console: Console, findings: Findings, problems: list[str]) -> None: ...
