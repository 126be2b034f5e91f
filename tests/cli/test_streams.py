"""The command's standard streams.

One that is full, closed, or whose reader has gone is told of, by the same status everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from metrics_appender import AppendLog

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = f"{sys.executable} -m metrics_appender"
CANNOT_BE_WRITTEN = 74
READER_GONE = 141
# Commands that end well, and what they have done by the time they tell of it.
SPEAKING = {
    "append": "append events.ndjson",
    "append performance": "append performance --skill s --execution-id e --execution-time-ms 1 --agent a --dir .",
    "read": "read events.ndjson",
    "read -f": "read -f events.ndjson",
    "rotate": "rotate events.ndjson",
    "check": "check events.ndjson",
    "check --json": "check --json events.ndjson",
    "repair": "repair events.ndjson",
    "doctor": "doctor .",
    "doctor --json": "doctor --json .",
    "demo": "demo --processes 2 --records 5",
    "--help": "--help",
    "append --help": "append --help",
    "--version": "--version",
}


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A directory with a log of one record."""
    AppendLog(tmp_path / "events.ndjson").append({"n": 0})
    return tmp_path


def run(shell: Path, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a shell, in that directory, with the shell's redirections."""
    line = ["bash", "-c", f"set -o pipefail; {COMMAND} {command}"]
    return subprocess.run(
        line, cwd=shell, input=text, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("words", SPEAKING)
def test_a_full_standard_output_has_a_status_of_its_own(shell: Path, words: str) -> None:
    """Which is no other command's verdict, and a message that names standard output."""
    done = run(shell, f"{SPEAKING[words]} >/dev/full", text='{"n":1}\n')
    assert done.returncode == CANNOT_BE_WRITTEN, done.stderr
    assert done.stderr.startswith("metrics-appender: standard output: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", SPEAKING)
def test_a_closed_standard_output_is_told_of(shell: Path, words: str) -> None:
    """In one line; and no file takes its place."""
    done = run(shell, f"{SPEAKING[words]} >&-", text='{"n":1}\n')
    assert done.returncode == CANNOT_BE_WRITTEN, done.stderr
    assert done.stderr.startswith("metrics-appender: standard output: Bad file descriptor")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", SPEAKING)
def test_a_reader_that_has_gone_ends_every_command_the_same_way(shell: Path, words: str) -> None:
    """As a shell reports SIGPIPE, and without a word."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        line = ["bash", "-c", f"{COMMAND} {SPEAKING[words]}"]
        done = subprocess.run(
            line,
            cwd=shell,
            input=b'{"n":1}\n',
            stdout=write_end,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (READER_GONE, b"")


def test_what_was_acknowledged_is_told_where_standard_output_is_full(shell: Path) -> None:
    """The lines are durable, and nobody is to append them again."""
    done = run(shell, "append events.ndjson >/dev/full", text='{"n":1}\n{"n":2}\n')
    assert (
        done.stderr
        == "metrics-appender: standard output: No space left on device (2 records were acknowledged)\n"
    )
    assert AppendLog(shell / "events.ndjson").read() == [{"n": number} for number in range(3)]


def test_a_closed_standard_input_is_told_of(shell: Path) -> None:
    """By its name, with the count, and with a status of failure."""
    done = run(shell, "append events.ndjson <&-")
    assert done.returncode == 1
    assert done.stdout == "0 records acknowledged in events.ndjson\n"
    assert done.stderr == "metrics-appender: standard input: Bad file descriptor\n"


@pytest.mark.parametrize(
    ("command", "status"), [("append events.ndjson", 0), ("read none", 2), ("check none", 2)]
)
def test_a_closed_standard_error_changes_no_status(shell: Path, command: str, status: int) -> None:
    """What would be said is said to nobody, least of all to a file that was opened in its place."""
    assert run(shell, f"{command} 2>&-", text='{"n":1}\n').returncode == status
    assert len(AppendLog(shell / "events.ndjson").read()) == (2 if status == 0 else 1)
