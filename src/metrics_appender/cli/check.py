"""The commands `check` and `repair`: report what is wrong in files, and repair it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..append_log import DEFAULT_LOCK_TIMEOUT
from ..check import check as check_path
from ..errors import InvalidRecordError
from ..records.instants import iso_utc
from ..records.naming import default_directory
from ..repair import repair as repair_path
from .failures import describe
from .options import LockTimeout  # noqa: TC001 - Typer reads it
from .progress import progress_bar

if TYPE_CHECKING:
    from ..check.report import CheckReport, FileReport

_CANNOT = 2
_MOST_SHOWN = 20


def check(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="DIR|FILE",
            help="What to read; else the directory of the metrics.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON instead of the table.")
    ] = False,
) -> None:
    """Read everything, change nothing, and report what is wrong.

    Finds torn tails, NUL bytes, lines that are not JSON objects, objects glued into one line,
    records that break their schema, and events whose id already stands in the log. Sealed
    segments are read too, compressed or not. In a directory: the files of skills, *.ndjson and
    *.jsonl. Ends with status 0 (clean), 1 (faults) or 2 (something cannot be read).
    """
    path = default_directory() if path is None else path
    try:
        with progress_bar("checking") as progress:
            report = check_path(path, progress=progress)
    except OSError as error:
        _refuse("checked", error)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        _show(report)
    raise typer.Exit(report.exit_status)


def repair(
    path: Annotated[
        str, typer.Argument(metavar="FILE|DIR", help="What to repair.", show_default=False)
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, and show what would be done.")
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Leave faults of this kind as they are (schema, say); may be given several times.",
        ),
    ] = None,
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """Move what `check` finds wrong to FILE.torn, or to lines of its own.

    Glued objects get a line each. No byte is deleted, and every good line keeps its place. Writers
    may write meanwhile. Ends with status 0 (nothing is wrong any more), 1 (something was left, or a
    dry run found something) or 2 (a log could not be repaired).
    """
    try:
        with progress_bar("reading") as progress:
            report = repair_path(
                path,
                dry_run=dry_run,
                keep=keep or (),  # type: ignore[arg-type]  # checked there
                lock_timeout=lock_timeout,
                progress=progress,
            )
    except InvalidRecordError:
        from ..repair.repair_all import KEEPABLE

        message = f"pass one of {', '.join(KEEPABLE)}"
        raise typer.BadParameter(message, param_hint="--keep") from None
    except OSError as error:
        _refuse("repaired", error)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        for change in report.changes:
            typer.echo(str(change))
        left = sum(change.action == "left" for change in report.changes)
        done = "to repair (dry run: nothing was changed)" if dry_run else "repaired"
        failed = f", {_number(len(report.errors), 'log')} not repaired" if report.errors else ""
        kept = f", {left:,} left" if left else ""
        typer.echo(f"{_number(len(report.changes) - left, 'fault')} {done}{kept}{failed}")
        for failure in report.errors:
            typer.echo(f"metrics-appender: not repaired: {failure}", err=True)
    raise typer.Exit(report.exit_status)


def _show(report: CheckReport) -> None:
    for file in report.files:
        _show_file(file)
    faults = report.faults
    for fault in faults[:_MOST_SHOWN]:
        typer.echo(f"{fault}: {fault.excerpt}")
    count = sum(sum(file.fault_counts.values()) for file in report.files)
    if count > _MOST_SHOWN:
        typer.echo(f"… and {count - _MOST_SHOWN:,} more; --json lists them")
    lines = sum(file.lines for file in report.files)
    typer.echo(
        f"{_number(len(report.files), 'file')}, {_number(lines, 'line')}, {_number(count, 'fault')}"
    )


def _show_file(file: FileReport) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in file.records.items()) or "no records"
    span = (
        ""
        if file.first_time is None
        else f"; {_instant(file.first_time)} to {_instant(file.last_time)}"
    )
    size = f"{_number(file.lines, 'line')}, {_number(file.bytes, 'byte')}"
    typer.echo(f"{file.path}\n  {kinds}; {size}{span}")
    if file.fault_counts:
        typer.echo(
            "  " + ", ".join(f"{count:,} {kind}" for kind, count in file.fault_counts.items())
        )
    if file.error:
        typer.echo(f"  cannot be read: {file.error}")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _instant(time: float | None) -> str:
    return "" if time is None else iso_utc(int(time)).replace("T", " ").replace("+00:00", "Z")


def _refuse(done: str, error: OSError) -> NoReturn:
    typer.echo(f"metrics-appender: not {done}: {describe(error)}", err=True)
    raise typer.Exit(_CANNOT)
