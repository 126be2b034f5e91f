"""The standard streams: all three are open, and errors of standard output name it."""

import io
import os
import sys
from typing import Any


class StandardOutputError(OSError):
    """Standard output cannot be written: it is full, closed, or its reader has gone.

    It is never a `BrokenPipeError`, for which Typer and Rich exit with status 1.
    """


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise StandardOutputError(error.errno, error.strerror, "standard output") from None


def open_streams() -> None:
    """Open the standard streams that are closed, and let errors of standard output name it.

    Otherwise the next file to be opened would get the number of a closed stream. Standard input and
    output are opened in the wrong direction, so that their use still fails with EBADF.
    """
    if sys.stdin is None:
        _occupy(0, os.O_WRONLY)
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - open until the end
    if sys.stdout is None:
        _occupy(1, os.O_RDONLY)
    if sys.stderr is None:
        _occupy(2, os.O_WRONLY)  # messages are discarded: the exit status says enough
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 - as above
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    raw = _Output(1, "w", closefd=False)
    # A file name may not be valid text, and a terminal's encoding may lack characters of a record.
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=raw.isatty()
    )


def give_up_stdout() -> None:
    """Discard what is still buffered, which the interpreter would try to write at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _occupy(fd: int, flags: int) -> None:
    null = os.open(os.devnull, flags)  # gets the lowest free number
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
    os.set_inheritable(fd, True)
