"""The standard streams.

All three are there, and what fails at standard output says that it was that.
"""

import io
import os
import sys
from typing import Any


class StandardOutputError(OSError):
    """Standard output cannot be written: it is full, closed, or its reader has gone.

    Never a `BrokenPipeError`, which Typer and Rich would answer with a status that means something
    else here.
    """


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise StandardOutputError(error.errno, error.strerror, "standard output") from None


def open_streams() -> None:
    """Take the place of those that were closed, before a file that is opened gets their number, and have output name itself.

    A closed one is opened the other way round, so that to use it fails as it should, with EBADF.
    """
    if sys.stdin is None:
        _occupy(0, os.O_WRONLY)
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - it lives as long as the process
    if sys.stdout is None:
        _occupy(1, os.O_RDONLY)
    if sys.stderr is None:
        _occupy(2, os.O_WRONLY)  # the status says enough
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 - as above
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    raw = _Output(1, "w", closefd=False)
    # A file's name may hold what is no text, and a terminal may know fewer letters than a record
    # holds.
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=raw.isatty()
    )


def give_up_stdout() -> None:
    """Keep the interpreter from writing what is left once more, as it does at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _occupy(fd: int, flags: int) -> None:
    nowhere = os.open(os.devnull, flags)  # the lowest number that is free
    if nowhere != fd:
        os.dup2(nowhere, fd)
        os.close(nowhere)
    os.set_inheritable(fd, True)
