"""The standard streams: full, closed, or without a reader, with one exit status for each case."""

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
# Commands that succeed, and then print something.
PRINTING = {
    "append": "append events.ndjson",
    "append performance": "append performance --skill s --execution-id e --execution-time-ms 1 "
    "--agent a --dir .",
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
    """Run a command line with redirections in that directory."""
    line = ["bash", "-c", f"set -o pipefail; {COMMAND} {command}"]
    return subprocess.run(
        line, cwd=shell, input=text, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("words", PRINTING)
def test_a_full_standard_output_has_a_status_of_its_own(shell: Path, words: str) -> None:
    """No command returns it for anything else; the message names standard output."""
    done = run(shell, f"{PRINTING[words]} >/dev/full", text='{"n":1}\n')
    assert done.returncode == CANNOT_BE_WRITTEN, done.stderr
    assert done.stderr.startswith("metrics-appender: standard output: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", PRINTING)
def test_a_closed_standard_output_is_reported(shell: Path, words: str) -> None:
    """In one line, and no file gets its number."""
    done = run(shell, f"{PRINTING[words]} >&-", text='{"n":1}\n')
    assert done.returncode == CANNOT_BE_WRITTEN, done.stderr
    assert done.stderr.startswith("metrics-appender: standard output: Bad file descriptor")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", PRINTING)
def test_a_reader_that_has_gone_ends_every_command_the_same_way(shell: Path, words: str) -> None:
    """With the status by which a shell reports SIGPIPE, and without a message."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        line = ["bash", "-c", f"{COMMAND} {PRINTING[words]}"]
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


def test_acknowledged_records_are_counted_where_standard_output_is_full(shell: Path) -> None:
    """The lines are durable, and must not be appended again."""
    done = run(shell, "append events.ndjson >/dev/full", text='{"n":1}\n{"n":2}\n')
    reason = "No space left on device (2 records were acknowledged)"
    assert done.stderr == f"metrics-appender: standard output: {reason}\n"
    assert AppendLog(shell / "events.ndjson").read() == [{"n": number} for number in range(3)]


def test_a_closed_standard_input_is_reported(shell: Path) -> None:
    """By its name, with the count, and with a status of failure."""
    done = run(shell, "append events.ndjson <&-")
    assert done.returncode == 1
    assert done.stdout == "0 records acknowledged in events.ndjson\n"
    assert done.stderr == "metrics-appender: standard input: Bad file descriptor\n"


@pytest.mark.parametrize(
    ("command", "status"), [("append events.ndjson", 0), ("read none", 2), ("check none", 2)]
)
def test_a_closed_standard_error_changes_no_status(shell: Path, command: str, status: int) -> None:
    """Messages are discarded, and never written to a file that got the number of the stream."""
    assert run(shell, f"{command} 2>&-", text='{"n":1}\n').returncode == status
    assert len(AppendLog(shell / "events.ndjson").read()) == (2 if status == 0 else 1)
