"""Every failure of a command as one readable message on standard error, and its exit status."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import CorruptLineError, LockTimeoutError, MetricsAppenderError
from ..outcome import consequences_of
from .streams import StandardOutputError, give_up_stdout

# EX_IOERR of sysexits.h: no verdict of any command, and no failure of what it was to do.
_OUTPUT_FAILED = 74
# As a shell reports a program that SIGPIPE ended: the reader of the pipe, `head` say, had enough.
_PIPE_CLOSED = 141
# Where the system's own words would lead astray.
_HINTS: dict[int | None, str] = {
    errno.ELOOP: "a symbolic link, which an append does not follow; pass the file that it leads to"
}


class PlainErrors(TyperGroup):
    """A group of commands that fail with a message and a status, never with a traceback."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the words of the command line; `--help` and `--version` are told here."""
        with _plainly():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _plainly():
            return super().invoke(ctx)


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except StandardOutputError as error:
        give_up_stdout()
        if error.errno == errno.EPIPE:
            raise typer.Exit(_PIPE_CLOSED) from None
        _say(describe(error))
        raise typer.Exit(_OUTPUT_FAILED) from None
    except (MetricsAppenderError, OSError) as error:
        fail(describe(error))


def fail(message: str) -> NoReturn:
    """Say on standard error what is wrong, and end with status 1."""
    _say(message)
    raise typer.Exit(1)


def _say(message: str) -> None:
    typer.echo(f"metrics-appender: {message}", err=True)


def describe(error: Exception) -> str:
    """Return an error as a person reads it: what, where, and what became of the record."""
    if isinstance(error, json.JSONDecodeError) and not isinstance(error, CorruptLineError):
        return f"not a JSON object: {error.msg} at character {error.pos + 1}"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = _HINTS.get(error.errno, error.strerror)
        # Only where a relative path begins does the system miss something that it was told no name
        # of.
        name = error.filename or ("the working directory" if error.errno == errno.ENOENT else "")
        text = f"{os.fsdecode(name)}: {reason}" if name else reason
    if isinstance(error, LockTimeoutError):
        text = text.replace(" lock_timeout", " --lock-timeout")
    return text + "".join(f" ({told})" for told in consequences_of(error) if told not in text)
