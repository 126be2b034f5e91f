"""Runs the command for tests: in a process, in this process, or on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from typer.testing import CliRunner, Result

from metrics_appender.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-m", "metrics_appender")


def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as a process, with a text on its standard input."""
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, text=True, check=False
    )


def invoke(*arguments: str | Path, text: str = "") -> Result:
    """Run the command in this process, which is quicker."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)


def on_terminal(*arguments: str | Path, columns: int = 80) -> str:
    """Run the command with a terminal for its output, and return that output."""
    parent_end, child_end = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "dumb"}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=child_end, stdin=child_end, env=environment
    ) as process:
        os.close(child_end)
        written = b""
        # A terminal whose other end is closed raises EIO when it is read.
        with contextlib.suppress(OSError):
            while piece := os.read(parent_end, 65536):
                written += piece
    os.close(parent_end)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")
