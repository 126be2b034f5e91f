"""Every failure of a command as one readable message on standard error, and its exit status."""

import errno
import json
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import CorruptLineError, MetricsAppenderError

# As a shell reports a program that SIGPIPE ended: the reader of the pipe, `head` say, had enough.
_PIPE_CLOSED = 141
# Where the system's own words would lead astray.
_HINTS: dict[int | None, str] = {errno.ELOOP: "a symbolic link, which an append does not follow; pass the file that it leads to"}


class PlainErrors(TyperGroup):
    """A group of commands that fail with a message and status 1, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _give_up_stdout()
            raise typer.Exit(_PIPE_CLOSED) from None
        except (MetricsAppenderError, OSError) as error:
            fail(describe(error))


def fail(message: str) -> NoReturn:
    """Say on standard error what is wrong, and end with status 1."""
    typer.echo(f"metrics-appender: {message}", err=True)
    raise typer.Exit(1)


def describe(error: Exception) -> str:
    """Return an error as a person reads it: what, where, and what became of the record."""
    if isinstance(error, json.JSONDecodeError) and not isinstance(error, CorruptLineError):
        return f"not a JSON object: {error.msg} at character {error.pos + 1}"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = _HINTS.get(error.errno, error.strerror)
        text = f"{os.fsdecode(error.filename)}: {reason}" if error.filename else reason
    for note in getattr(error, "__notes__", ()):
        outcome = note.rpartition(": ")[2]
        if outcome not in text:
            text += f" ({outcome})"
    return text


def _give_up_stdout() -> None:
    """Keep the interpreter from writing what is left once more, as it does at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
