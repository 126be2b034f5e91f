"""The demo: what it shows is true, and its check finds every kind of damage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import is_alive
from typer.testing import CliRunner

from metrics_appender import MetricsAppender
from metrics_appender.cli.app import app
from metrics_appender.demo import run as demo
from metrics_appender.demo.check import FILES, LONG_FILE, WorkerResult, check
from metrics_appender.demo.worker import KINDS, SKILL_NAME, Task, append_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Waiting

COMMAND = (sys.executable, "-m", "metrics_appender", "demo")
RECORDS = 10
EVENTS_FILE = f"{SKILL_NAME}_promotion_log.json"


def test_the_demo_tears_a_write_and_finds_every_acknowledged_record(tmp_path: Path) -> None:
    """As many records of each kind are found as acknowledged; the torn bytes are in `.torn`."""
    directory = tmp_path / "kept"
    done = subprocess.run(
        [*COMMAND, "--processes=3", "--records=10", "--dir", directory],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [
        line.split()
        for line in done.stdout.splitlines()
        if line.strip().startswith((*KINDS, "all "))
    ]
    assert [row[0] for row in rows] == [*KINDS, "all"]
    assert all(row[1] == row[2] and row[3:5] == ["0", "0"] for row in rows)
    assert int(rows[-1][1]) >= demo.total_records(3, 10)
    assert "All well" in done.stdout
    assert set(FILES) | {LONG_FILE + ".torn"} == set(os.listdir(directory))
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if str(directory) not in line)


def test_the_torn_bytes_are_the_beginning_of_the_killed_worker_s_record(tmp_path: Path) -> None:
    """Nothing is simulated: the kernel stopped copying in the middle of that line."""
    result = demo.run(str(tmp_path), 2, 5, lambda: None)
    kill = result.kills[-1]
    torn = (tmp_path / f"{LONG_FILE}.torn").read_bytes()
    assert kill.is_torn
    assert b"\n" not in torn
    assert 0 < len(torn) < kill.characters
    assert torn.startswith(b'{"execution_id":"worker-%d-' % kill.writer)
    assert [worker.is_killed for worker in result.workers] == [False] + [True] * len(result.kills)
    assert result.failures == []


def test_without_a_directory_nothing_is_left_when_the_demo_is_interrupted(
    tmp_path: Path, wait: Waiting
) -> None:
    """Ctrl-C ends the workers too, without a traceback, and removes the files."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [*COMMAND, "--processes=2", "--records=1000000"]
    with subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait.until(lambda: list(tmp_path.glob(f"*/{EVENTS_FILE}")))
        os.killpg(process.pid, signal.SIGINT)  # to the whole group, as a terminal does
        assert process.communicate()[1] == b""
    assert process.returncode == 130
    assert os.listdir(tmp_path) == []
    wait.until(lambda: not is_alive(process.pid))


def test_the_demo_refuses_a_directory_that_is_not_empty(tmp_path: Path) -> None:
    """It could not check lines of another run, and must not touch other files."""
    (tmp_path / "notes").touch()
    done = CliRunner().invoke(app, ["demo", "--dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "not empty" in done.stderr
    assert os.listdir(tmp_path) == ["notes"]


def test_problems_are_shown_and_end_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that were acknowledged but are in no file are reported."""
    workers = [WorkerResult(Task(str(tmp_path), 0, RECORDS), RECORDS)]
    result = demo.RunResult(workers, [], ["worker 0 failed: [red]:smile:"], 1.0)
    monkeypatch.setattr(demo, "run", lambda *arguments: result)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 1
    assert "Amiss: 11 findings" in done.stdout
    assert "worker 0 failed: [red]:smile:" in done.stdout
    assert "worker-0-record-3 is lost" in done.stdout
    assert "and 6 more" in done.stdout


def test_a_worker_that_fails_is_reported(tmp_path: Path) -> None:
    """With its number and its error; the others end all the same."""
    (tmp_path / LONG_FILE).mkdir()
    result = demo.run(str(tmp_path), 2, 5, lambda: None)
    assert [failure.split(":")[0] for failure in result.failures] == [
        "worker 0 failed",
        "worker 1 failed",
    ]
    assert all("IsADirectoryError" in failure for failure in result.failures)
    assert [worker.acknowledged for worker in result.workers] == [1, 1]


# The check


@pytest.fixture
def workers(tmp_path: Path) -> list[WorkerResult]:
    """Fill a directory as a survivor and a killed worker do, and return their results."""
    tasks = [Task(str(tmp_path), writer, RECORDS) for writer in range(2)]
    with MetricsAppender(tmp_path, durability="os") as metrics:
        for number in range(RECORDS):
            for task in tasks:
                append_record(metrics, task, number)
    return [WorkerResult(tasks[0], RECORDS), WorkerResult(tasks[1], RECORDS - 1, is_killed=True)]


def test_an_undamaged_directory_has_no_problems(
    tmp_path: Path, workers: list[WorkerResult]
) -> None:
    """The killed worker's last record may be there, though it was not acknowledged."""
    (tmp_path / f"{LONG_FILE}.torn").write_bytes(b"12345")
    findings = check(str(tmp_path), workers)
    assert findings.problems == []
    assert findings.unacknowledged == 1
    assert findings.quarantined == {LONG_FILE: 5}
    assert [
        (tally.acknowledged, tally.found, tally.torn, tally.lost)
        for tally in findings.tallies.values()
    ] == [(4, 4, 0, 0)] * 4 + [(3, 3, 0, 0)]


Lines = list[bytes]
DAMAGES: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "lost": (lambda lines: lines[:1] + lines[2:], "is lost"),
    "doubled": (lambda lines: [*lines, lines[-1]], "is there 2 times"),
    "torn in the middle": (
        lambda lines: [lines[0], lines[1][:40] + b"\n", *lines[2:]],
        "line 2: torn",
    ),
    "two in one line": (lambda lines: [lines[0][:-1] + lines[1], *lines[2:]], "line 1: torn"),
    "torn at the end": (lambda lines: [*lines, lines[0][:40]], "last 40 bytes"),
    "not ended": (lambda lines: [*lines[:-1], lines[-1][:-1]], "are no whole line"),
    "zeros": (lambda lines: [*lines, b"\0" * 100 + b"\n"], "torn"),
    "reordered": (lambda lines: [lines[2], lines[1], lines[0], *lines[3:]], "after a later one"),
    "changed": (
        lambda lines: [lines[0].replace("Zoë".encode(), b"Eve"), *lines[1:]],
        "does not hold what was appended",
    ),
    "a field more": (
        lambda lines: [lines[0].replace(b"{", b'{"more":1,', 1), *lines[1:]],
        "does not hold what was appended",
    ),
    "unknown": (
        lambda lines: [*lines, lines[0].replace(b"worker-0", b"worker-7")],
        "nobody was to write",
    ),
    "beyond what the survivor did": (
        lambda lines: [*lines, lines[0].replace(b"record-3", b"record-13")],
        "nobody was to write",
    ),
    "no object": (lambda lines: [*lines, b"[]\n"], "no JSON object"),
    "an event's id twice": (
        lambda lines: [lines[0], with_id_of(lines[0], lines[1]), *lines[2:]],
        "that another event has",
    ),
    "gone": (lambda lines: [], "is lost"),
}


def with_id_of(first: bytes, second: bytes) -> bytes:
    """Return the second event with the id of the first."""
    return second.replace(second.split(b'"')[3], first.split(b'"')[3], 1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_check_finds_a_file_that_is(
    tmp_path: Path, workers: list[WorkerResult], damage: str
) -> None:
    """Anything that a broken library could do to the promotions and rollbacks."""
    spoil, problem = DAMAGES[damage]
    file = tmp_path / EVENTS_FILE
    file.write_bytes(b"".join(spoil(file.read_bytes().splitlines(keepends=True))))
    findings = check(str(tmp_path), workers)
    assert any(problem in found for found in findings.problems), findings.problems
    assert sum(tally.lost for tally in findings.tallies.values()) == sum(
        "is lost" in found for found in findings.problems
    )
