"""The shell's door: the command `metrics-appender` with `demo`, `append`, `read`, `rotate`, `check`, `repair` and `doctor`."""

import importlib.metadata
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..append_log import AppendLog
from ..demo.run import FEWEST_PROCESSES, FEWEST_RECORDS
from ..errors import InvalidRecordError
from ..ndjson import encode_line
from ..segments import list_segments
from ..skipped import OnError, SkippedLines
from . import demo as demo_screen
from .append import append_app
from .check import check, repair
from .doctor import doctor
from .failures import PlainErrors, describe, fail
from .rotate import rotate
from .table import show_records

app = typer.Typer(cls=PlainErrors, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"metrics-appender {importlib.metadata.version('metrics-appender')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,  # noqa: ARG001 - its callback shows it
) -> None:
    """Append metrics to NDJSON files from many processes at once, and read them back."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold what is no text, and a terminal may know fewer letters than a record holds.
        sys.stdout.reconfigure(errors="backslashreplace")


@app.command()
def demo(
    processes: Annotated[int, typer.Option(min=FEWEST_PROCESSES, help="How many worker processes.")] = 8,
    records: Annotated[int, typer.Option(min=FEWEST_RECORDS, help="How many records each of them appends.")] = 200,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep the files there, in an empty or new directory.", file_okay=False)
    ] = None,
) -> None:
    """Append from many processes, kill one in mid-write, check all files.

    Every file is checked against what the processes were told was durable.
    Ends with status 1 if anything is amiss. Without --dir the files are removed afterwards.
    """
    console = Console()
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="metrics-appender-demo-") as made:
            is_well = demo_screen.play(console, made, processes, records)
    else:
        directory.mkdir(parents=True, exist_ok=True)
        if os.listdir(directory):
            fail(f"{directory}: not empty; pass a new directory, for the check has to know every line there")
        is_well = demo_screen.play(console, str(directory), processes, records)
        typer.echo(f"The files are in {directory}")
    if not is_well:
        raise typer.Exit(1)


app.add_typer(append_app, name="append")
app.command()(doctor)
app.command()(rotate)
app.command()(check)
app.command()(repair)


@app.command()
def read(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The NDJSON file.", dir_okay=False, show_default=False)],
    number: Annotated[int | None, typer.Option("-n", min=0, help="Only the last so many records; else all.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON on a terminal too.")] = False,
    skips: Annotated[bool, typer.Option("--skip-corrupt", help="Pass over lines that are no JSON object, and say how many.")] = False,
) -> None:
    """Show the records of FILE, oldest first, its sealed segments included.

    A table on a terminal, NDJSON in a pipe. A line that is not ended yet is no record yet. A whole line that is no JSON object ends it with
    status 1, and is named by its number.
    """
    log = AppendLog(file)
    if not file.exists() and not list_segments(log.path):
        message = f"File '{file}' does not exist."
        raise typer.BadParameter(message, param_hint="FILE")
    skipped = SkippedLines()
    on_error: OnError = skipped if skips else "raise"
    if sys.stdout.isatty() and not as_json:
        show_records(Console(), log.read(number, on_error=on_error))
    else:
        for record in log.iter_records(on_error=on_error) if number is None else log.read(number, on_error=on_error):
            sys.stdout.buffer.write(_line_of(record))
        sys.stdout.buffer.flush()
    if skipped.first is not None:
        typer.echo(f"metrics-appender: {skipped.count} corrupt lines skipped, the first: {describe(skipped.first)}", err=True)


def _line_of(record: dict[str, Any]) -> bytes:
    try:
        return encode_line(record)
    except InvalidRecordError:
        # Another program's line, with what this library would not write: an escaped lone surrogate.
        return json.dumps(record).encode() + b"\n"
