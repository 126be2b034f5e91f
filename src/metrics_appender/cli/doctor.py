"""The command `doctor`: check a directory, and show the result as a table or as JSON."""

import json
import os
from typing import Annotated, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..doctor import check_filesystem
from ..doctor.report import FilesystemReport
from ..records.naming import default_directory
from .failures import describe
from .signals import held_signals
from .table import show_table

_DO_NOT_USE = 2
_STYLES = {"ok": "green", "limit": "yellow", "unfit": "bold red"}
_WORST = ("ok", "limit", "unfit")


def doctor(
    directory: Annotated[
        str | None,  # for a Path, Typer would call stat(2), which hangs on a dead mount
        typer.Argument(
            metavar="DIR",
            help="The directory; else that of the metrics, or the nearest one above it that "
            "is there.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON instead of the table.")
    ] = False,
) -> None:
    """Check whether DIR's file system keeps the promise.

    Names the file system and how it is mounted, then tries it with real processes: locks under
    contention, a killed holder, a rename, the time of syncs. Takes a few seconds, and leaves
    nothing behind. Ends with status 0 (works), 1 (works with limits) or 2 (do not use).
    """
    with held_signals() as signals, signals.delivered():
        report = _check(directory)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        show_report(Console(), report)
    raise typer.Exit(report.exit_status)


def show_report(console: Console, report: FilesystemReport) -> None:
    """Print the directory, its mount, a row for each check, and the verdict."""
    console.print()
    console.print(Text(report.directory, style="bold"), soft_wrap=True)
    mounted = f" ({report.source}), mounted on {report.mount_point}" if report.mount_point else ""
    console.print(Text(f"file system: {report.file_system}{mounted}"), soft_wrap=True)
    console.print(Text(f"mount options: {', '.join(report.mount_options) or 'not known'}"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("check", "", "found"):
        table.add_column(title, overflow="fold")
    rows = [
        (
            check.name.replace("_", " "),
            Text(check.status, style=_STYLES[check.status]),
            check.message,
        )
        for check in report.checks
    ]
    for name, status, message in rows:
        table.add_row(name, status, Text(message))
    show_table(
        console,
        table,
        (Text.assemble(f"{name}: ", status, f", {message}") for name, status, message in rows),
    )
    worst = _WORST[report.exit_status]
    reasons = ", ".join(
        check.name.replace("_", " ") for check in report.checks if check.status == worst
    )
    if worst == "ok":
        reasons = "what is acknowledged here is kept, as far as trying can tell"
    console.print(Text.assemble((f"Verdict: {report.verdict}", _STYLES[worst]), f" ({reasons})."))
    console.print()


def _check(directory: str | None) -> FilesystemReport:
    try:
        return (
            check_filesystem(directory)
            if directory is not None
            else _check_nearest(default_directory())
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        if error.filename != os.path.abspath(directory or default_directory()):
            _refuse(error)
        raise typer.BadParameter(f"{error.filename}: {error.strerror}", param_hint="DIR") from None
    except OSError as error:
        _refuse(error)


def _check_nearest(directory: str) -> FilesystemReport:
    """Check the directory, or the nearest existing one above it, in which it will be made."""
    while True:
        try:
            return check_filesystem(directory)
        except FileNotFoundError as error:
            if error.filename != directory or directory == os.path.dirname(directory):
                raise
            directory = os.path.dirname(directory)


def _refuse(error: OSError) -> NoReturn:
    typer.echo(f"metrics-appender: not checked: {describe(error)}", err=True)
    raise typer.Exit(_DO_NOT_USE)
