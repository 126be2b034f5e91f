"""The command `append`: records from standard input to a file, or one typed record of `kinds`."""

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..append_log import DEFAULT_LOCK_TIMEOUT, AppendLog
from ..errors import MetricsAppenderError
from ..outcome import add_detail
from ..records.ndjson import decode_line
from .failures import PlainErrors, describe, fail
from .kinds import KINDS, report_acknowledged
from .options import LockTimeout, SyncedBy
from .signals import held_signals

_FILE = "FILE"


class FileOrKind(PlainErrors):
    """The group `append`: its subcommand is a kind of record, or else a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep a `--` before FILE, which Typer would drop, for the command that takes the file.

        Only options, which belong to FILE too, may come before it.
        """
        options = list(
            itertools.takewhile(lambda word: word.startswith("-") and word != "--", args)
        )
        if args[len(options) :][:1] == ["--"]:
            args = [*options, "--", *args[len(options) :]]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command of a kind, or else that of FILE."""
        if args[0] in self.commands and args[0] != _FILE:
            return super().resolve_command(ctx, args)
        return _FILE, self.commands[_FILE], args


class FileCommand(TyperCommand):
    """The command that takes a file; its usage shows FILE as the command's name."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """Return what follows `append FILE`."""
        return ["[OPTIONS]"]


append_app = typer.Typer(
    cls=FileOrKind,
    no_args_is_help=True,
    rich_markup_mode=None,
    subcommand_metavar="FILE | KIND [OPTIONS]",
    context_settings={"ignore_unknown_options": True},  # options before FILE belong to FILE
)


@append_app.callback()
def append() -> None:
    """Append records, each acknowledged once it is whole and on disk.

    With a FILE, every line of standard input that holds a JSON object is appended to it. With a
    KIND, one record of a skill is appended to the skill's file; a FILE of such a name is written
    ./performance. The options of FILE are listed by: append FILE --help
    """


@append_app.command(_FILE, cls=FileCommand)
def append_file(
    file: Annotated[
        str,
        typer.Argument(
            metavar=_FILE, help="The NDJSON file; made if it is not there.", show_default=False
        ),
    ],
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append the JSON objects of standard input, one a line.

    A line is appended as it comes, so a pipe may stay open for long. Blank lines are skipped. The
    first line that is not a JSON object ends the command with status 1 and is named by its number;
    the records before it stay. How many were acknowledged is printed at the end in any case.
    """
    if file in {"-", *(kind.__name__ for kind in KINDS)}:
        message = f"records come from standard input; for a file of this name pass ./{file}"
        raise typer.BadParameter(message, param_hint=_FILE)
    log = AppendLog(file, durability=durability, lock_timeout=lock_timeout)
    acknowledged = 0
    with held_signals() as signals:
        try:
            with signals.delivered():
                for number, line in enumerate(_input_lines(), 1):
                    if not line.isspace():
                        _append_line(log, number, line)
                        acknowledged += 1
        finally:
            report_acknowledged(acknowledged, file)


def _input_lines() -> Iterator[bytes]:
    try:
        yield from sys.stdin.buffer
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard input") from None


def _append_line(log: AppendLog, number: int, line: bytes) -> None:
    try:
        log.append(decode_line(line))
    except OSError as error:
        add_detail(error, "standard input", f"line {number} of standard input")
        raise
    except (MetricsAppenderError, json.JSONDecodeError) as error:
        fail(f"standard input, line {number}: {describe(error)}")


for _kind in KINDS:
    append_app.command()(_kind)
