"""Reporting failures: one readable message on standard error, and the exit status."""

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

# EX_IOERR of sysexits.h, which no command returns for anything else.
_OUTPUT_FAILED = 74
# As a shell reports a program that SIGPIPE ended: the reader, such as `head`, closed the pipe.
_PIPE_CLOSED = 141
# Where the text of the operating system would be misleading.
_HINTS: dict[int | None, str] = {
    errno.ELOOP: "a symbolic link, which an append does not follow; pass the file that it leads to"
}


class PlainErrors(TyperGroup):
    """A group of commands that fail with a message and an exit status, without a traceback."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line, which also prints `--help` and `--version`."""
        with _report_failures():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _report_failures():
            return super().invoke(ctx)


@contextlib.contextmanager
def _report_failures() -> Iterator[None]:
    try:
        yield
    except StandardOutputError as error:
        give_up_stdout()
        if error.errno == errno.EPIPE:
            raise typer.Exit(_PIPE_CLOSED) from None
        _print_error(describe(error))
        raise typer.Exit(_OUTPUT_FAILED) from None
    except (MetricsAppenderError, OSError) as error:
        fail(describe(error))


def fail(message: str) -> NoReturn:
    """Print a message on standard error, and end with status 1."""
    _print_error(message)
    raise typer.Exit(1)


def _print_error(message: str) -> None:
    typer.echo(f"metrics-appender: {message}", err=True)


def describe(error: Exception) -> str:
    """Return the message of an error: what failed, where, and what became of the record."""
    if isinstance(error, json.JSONDecodeError) and not isinstance(error, CorruptLineError):
        return f"not a JSON object: {error.msg} at character {error.pos + 1}"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = _HINTS.get(error.errno, error.strerror)
        # ENOENT without a name: the working directory, where relative paths start, was removed.
        name = error.filename or ("the working directory" if error.errno == errno.ENOENT else "")
        text = f"{os.fsdecode(name)}: {reason}" if name else reason
    if isinstance(error, LockTimeoutError):
        text = text.replace(" lock_timeout", " --lock-timeout")
    return text + "".join(f" ({fact})" for fact in consequences_of(error) if fact not in text)
