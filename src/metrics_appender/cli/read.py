"""The command `read`: show the records of a log and, with `-f`, those appended later."""

import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..append_log import AppendLog
from ..errors import InvalidRecordError
from ..read.follower import Follower
from ..read.skipped import OnError, SkippedLines
from ..records.ndjson import encode_line
from ..segment.segments import list_segments
from . import filters
from .failures import describe
from .json_text import json_text
from .table import show_records

_INTERRUPTED = 130  # as a shell reports a program that SIGINT ended


def read(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The NDJSON file.", dir_okay=False, show_default=False),
    ],
    number: Annotated[
        int | None,
        typer.Option(
            "-n", min=0, help="Only this many of the last records; else all.", show_default=False
        ),
    ] = None,
    is_followed: Annotated[
        bool,
        typer.Option(
            "-f", "--follow", help="Go on with what is appended, through rotations, for ever."
        ),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(help="Only those from this span on (90s, 15m, 2h, 7d) or instant (ISO 8601)."),
    ] = None,
    skill: Annotated[str | None, typer.Option(help="Only those of this skill.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="Only those with this value; may be given several times."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON on a terminal too.")] = False,
    skips: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Skip lines that are not JSON objects, and print how many."
        ),
    ] = False,
) -> None:
    """Show the records of FILE and of its sealed segments, oldest first.

    A table on a terminal, NDJSON in a pipe and with -f. A line without its newline is not a record
    yet. A whole line that is not a JSON object ends the command with status 1, and is named by its
    number. With -f, FILE need not exist yet, -n is with how many of the last lines to begin, and
    Ctrl-C ends the command.
    """
    is_wanted = filters.make_filter(since, skill, where or ())
    log = AppendLog(file)
    if is_followed:
        _follow(log.path, number, is_wanted, "skip" if skips else "raise")
        return
    if not file.exists() and not list_segments(log.path):
        message = f"File '{file}' does not exist."
        raise typer.BadParameter(message, param_hint="FILE")
    skipped = SkippedLines()
    records = _select(log, number, is_wanted, skipped if skips else "raise")
    if sys.stdout.isatty() and not as_json:
        show_records(Console(), records)
    else:
        for record in records:
            sys.stdout.buffer.write(_line_of(record))
        sys.stdout.buffer.flush()
    if skipped.first is not None:
        lines = "line skipped, it is" if skipped.count == 1 else "lines skipped, the first"
        typer.echo(
            f"metrics-appender: {skipped.count} corrupt {lines}: {describe(skipped.first)}",
            err=True,
        )


def _select(
    log: AppendLog, number: int | None, is_wanted: filters.Filter | None, on_error: OnError
) -> Iterable[dict[str, Any]]:
    if is_wanted is None:
        return (
            log.iter_records(on_error=on_error)
            if number is None
            else log.read(number, on_error=on_error)
        )
    found = filter(is_wanted, log.iter_records(on_error=on_error))
    return found if number is None else deque(found, maxlen=number)


def _follow(
    path: str, number: int | None, is_wanted: filters.Filter | None, on_error: OnError
) -> None:
    start = "beginning" if number is None else "end"
    try:
        with Follower(path, start, last=number or 0, on_error=on_error) as follower:
            for record, _ in follower:
                if is_wanted is None or is_wanted(record):
                    sys.stdout.buffer.write(_line_of(record))
                    sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def _line_of(record: dict[str, Any]) -> bytes:
    try:
        return encode_line(record)
    except InvalidRecordError:
        # Another program wrote what this library refuses: a lone surrogate, or a number that is
        # too large for a float.
        return json_text(record) + b"\n"
