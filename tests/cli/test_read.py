"""The command `read`: filters, and following."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from followers import SECONDS, shift
from typer.testing import CliRunner

from metrics_appender import AppendLog, MetricsAppender
from metrics_appender.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "metrics_appender", "read")


def show(*arguments: str) -> list[Any]:
    """Run `read`, and return the numbers of the records that it shows."""
    done = CliRunner().invoke(app, ["read", *arguments])
    assert done.exit_code == 0, done.output
    return [json.loads(line)["n"] for line in done.stdout.splitlines()]


@pytest.fixture
def varied(path: str) -> str:
    """A log whose records differ in every way that can be filtered by."""
    log = AppendLog(path)
    now = time.time()
    log.append(
        {
            "n": 0,
            "timestamp": now - 3 * 3600,
            "skill_name": "a",
            "correct": True,
            "checks": {"passed": 1, "by.whom": "x"},
        }
    )
    log.append({"n": 1, "timestamp": now - 3000, "skill_name": "b", "correct": False, "agent": "5"})
    log.append(
        {"n": 2, "timestamp": now - 10, "skill_name": "a", "correct": 1, "agent": 5, "note": None}
    )
    log.append({"n": 3, "skill_name": "a b", "agent": "key=value"})
    return path


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ("--since 2h", [1, 2]),
        ("--since 60s", [2]),
        ("--since 1.5d", [0, 1, 2]),
        ("--since 2020-01-01", [0, 1, 2]),
        ("--since 2999-01-01T00:00:00+00:00", []),
        ("--skill a", [0, 2]),
        ("--where correct=true", [0]),
        ("--where correct=1", [2]),
        ("--where agent=5", [1, 2]),
        ("--where agent=key=value", [3]),
        ("--where note=null", [2]),
        ("--where checks.passed=1", [0]),
        ("--where checks.by.whom=x", [0]),
        ("--where checks.none=x", []),
        ("--where agent=5 --skill a --since 2h", [2]),
        ("--skill a -n 1", [2]),
    ],
)
def test_only_the_wanted_records_are_shown(varied: str, arguments: str, numbers: list[int]) -> None:
    """Every filter, and several at once."""
    assert show(varied, *arguments.split()) == numbers


@pytest.mark.parametrize(
    "arguments", [("--since", "soon"), ("--since", "2 h"), ("--where", "agent"), ("--where", "=5")]
)
def test_a_filter_that_cannot_be_parsed_is_refused(varied: str, arguments: tuple[str, str]) -> None:
    """Before anything is read; the message says what to pass."""
    done = CliRunner().invoke(app, ["read", varied, *arguments])
    assert done.exit_code == 2
    assert "pass field=value" in done.output or "length of time" in done.output


def test_a_log_of_sealed_segments_alone_is_shown(path: str) -> None:
    """The next append makes the file."""
    log = AppendLog(path)
    log.append({"n": 0})
    log.rotate()
    os.unlink(path)  # empty; a crash right after a sealing leaves no active file
    assert show(path) == [0]


class Command:
    """`read -f` as a process, killed if a line does not come in time."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._guard = threading.Timer(SECONDS, self.process.kill)
        self._guard.start()

    def numbers(self, count: int) -> list[Any]:
        """Return the numbers of the next records."""
        assert self.process.stdout
        return [json.loads(self.process.stdout.readline())["n"] for _ in range(count)]

    def end(self) -> int:
        """Interrupt it, as Ctrl-C does, and return its status."""
        self.process.send_signal(signal.SIGINT)
        _, complaints = self.process.communicate()
        self._guard.cancel()
        assert complaints == b""
        return self.process.returncode


def commands(*arguments: str) -> Iterator[Command]:
    """Yield a running command, and kill it at the end."""
    command = Command(*arguments)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.communicate()


def test_following_goes_on_through_rotations_until_interrupted(path: str) -> None:
    """The records that are there, then those appended, whatever file they are in."""
    log = AppendLog(path)
    log.append({"n": 0})
    for command in commands("-f", path):
        assert command.numbers(1) == [0]
        log.append({"n": 1})
        assert command.numbers(1) == [1]
        shift(path)
        log.append({"n": 2})
        assert command.numbers(1) == [2]
        log.rotate()
        log.append({"n": 3})
        assert command.numbers(1) == [3]
        assert command.end() == 130


def test_following_begins_with_the_last_lines_that_are_asked_for(path: str) -> None:
    """They may be in several segments; filters select among them."""
    log = AppendLog(path)
    for number in range(9):
        log.append({"n": number})
        if number in {1, 5}:
            log.rotate()
    for count, expected in ((2, [7, 8]), (5, [4, 5, 6, 7, 8]), (100, [0, 1, 2, 3, 4, 5, 6, 7, 8])):
        for command in commands("-f", "-n", str(count), path):
            assert command.numbers(len(expected)) == expected
            assert command.end() == 130
    for command in commands("-f", "-n", "5", "--where", "n=6", path):
        assert command.numbers(1) == [6]


def test_following_waits_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Without `-f` it is an error."""
    name = "s_performance.json"
    for command in commands("-f", str(tmp_path / name), "--skill", "s"):
        MetricsAppender(tmp_path).append_performance_metric("s", "run-1", 1, "a")
        assert command.process.stdout
        assert json.loads(command.process.stdout.readline())["execution_id"] == "run-1"
        assert command.end() == 130
