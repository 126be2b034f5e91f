"""The command `metrics-appender` with all of its subcommands."""

import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..demo.run import MIN_PROCESSES, MIN_RECORDS
from . import demo as demo_screen
from .append import append_app
from .check import check, repair
from .doctor import doctor
from .failures import PlainErrors, fail
from .read import read
from .rotate import rotate
from .signals import held_signals
from .streams import open_streams

app = typer.Typer(
    cls=PlainErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"metrics-appender {importlib.metadata.version('metrics-appender')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Append metrics to NDJSON files from many processes at once, and read them back.

    Every command ends with status 0 or with one that its own help lists; with 2 where its arguments
    are wrong, 74 where standard output cannot be written, 141 where the reader of standard output
    has gone, 130 or 143 where SIGINT or SIGTERM has ended it.
    """


@app.command()
def demo(
    processes: Annotated[
        int, typer.Option(min=MIN_PROCESSES, help="How many worker processes.")
    ] = 8,
    records: Annotated[
        int, typer.Option(min=MIN_RECORDS, help="How many records each of them appends.")
    ] = 200,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Keep the files there, in an empty or new directory.", file_okay=False
        ),
    ] = None,
) -> None:
    """Append from many processes, kill one in mid-write, check it all.

    Every file is compared with the appends that were acknowledged.
    Ends with status 1 if anything is amiss. Without --dir the files are removed afterwards.
    """
    console = Console()
    with held_signals() as signals:
        if directory is None:
            with (
                tempfile.TemporaryDirectory(prefix="metrics-appender-demo-") as made,
                signals.delivered(),
            ):
                is_well = demo_screen.play(console, made, processes, records)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            if os.listdir(directory):
                fail(
                    f"{directory}: not empty; pass a new directory, for the check has to know "
                    "every line there"
                )
            with signals.delivered():
                is_well = demo_screen.play(console, str(directory), processes, records)
            typer.echo(f"The files are in {directory}")
    if not is_well:
        raise typer.Exit(1)


app.add_typer(append_app, name="append")
app.command()(doctor)
app.command()(read)
app.command()(rotate)
app.command()(check)
app.command()(repair)


def run() -> None:
    """Run the command line of this process."""
    open_streams()
    app()
