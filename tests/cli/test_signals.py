"""Signals: whenever they come, the count is printed, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import held, is_alive

from metrics_appender import AppendLog

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Waiting

COMMAND = (sys.executable, "-m", "metrics_appender")
SIGNALS = [signal.SIGINT, signal.SIGTERM]
# Closes the standard input of one `append` after the other, and sends SIGINT at about that moment.
PRODUCER = """
import os, signal, subprocess, sys, threading

command = [sys.executable, "-m", "metrics_appender", "append"]
path, rounds = sys.argv[1], int(sys.argv[2])
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
for number in range(rounds):
    with subprocess.Popen([*command, f"{path}.{number}"], **pipes) as process:
        process.stdin.write(b'{"n":1}\\n')
        process.stdin.flush()
        while not os.path.exists(f"{path}.{number}") or not os.path.getsize(f"{path}.{number}"):
            pass
        for _ in range(number % 10 * 1000):
            pass
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        print(process.stdout.read().decode().strip(), process.wait())
"""


def test_the_end_of_input_together_with_ctrl_c_keeps_the_count(path: str) -> None:
    """Both ends of a pipe get the SIGINT of a terminal."""
    rounds = 30
    done = subprocess.run(
        [sys.executable, "-c", PRODUCER, path, str(rounds)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    lines = [line.split(" acknowledged in ") for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == [f"{path}.{number} 130" for number in range(rounds)]
    # The signal may come between the write of the line and the return of its append.
    assert {line[0] for line in lines} <= {"0 records", "1 record"}
    assert done.stderr == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_an_append_that_waits_for_the_lock(
    path: str, number: int, wait: Waiting
) -> None:
    """The count is that of the lines before, and nothing of this one is in the file."""
    with (
        held(path),
        subprocess.Popen(
            [*COMMAND, "append", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdin
        process.stdin.write(b'{"n":1}\n')
        process.stdin.flush()
        wait.until(lambda: path in names_opened_by(process.pid))
        process.send_signal(number)
        assert process.stdout
        assert process.stdout.read().decode() == f"0 records acknowledged in {path}\n"
    assert process.returncode == 128 + number
    assert AppendLog(path).read() == []


def names_opened_by(pid: int) -> list[str]:
    """Return the files that a process has open."""
    directory = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(directory):
        try:
            found.append(os.readlink(os.path.join(directory, name)))
        except FileNotFoundError:
            pass  # closed in between
    return found


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("to", ["the process", "its group"])
def test_the_demo_leaves_nothing_when_it_is_ended(
    tmp_path: Path, number: int, to: str, wait: Waiting
) -> None:
    """Its files are removed, its workers have ended, and the status names the signal."""
    with started(
        "demo",
        "--processes=3",
        "--records=1000000",
        environment=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        wait.until(lambda: list(tmp_path.glob("*/*.json")))
        (os.kill if to == "the process" else os.killpg)(process.pid, number)
        assert process.communicate()[1] == b""
    assert process.returncode == 128 + number
    # A worker that is killed during its imports may leave the file by which `tempfile` tests the
    # directory (portalocker calls it).
    assert [
        made
        for made in tmp_path.iterdir()
        if made.is_dir() or not re.fullmatch("[a-z0-9_]{8}", made.name)
    ] == []
    wait.until(lambda: not is_alive(process.pid))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("to", ["the process", "its group"])
@pytest.mark.parametrize("made", ["made", "turns", "held"])
def test_the_doctor_leaves_nothing_when_it_is_ended(
    tmp_path: Path, made: str, number: int, to: str, wait: Waiting
) -> None:
    """Neither its temporary directory nor a process, whichever check was running."""
    with started("doctor", str(tmp_path)) as process:
        wait.until(lambda: list(tmp_path.glob(f".*/{made}")))
        (os.kill if to == "the process" else os.killpg)(process.pid, number)
        assert process.communicate()[1] == b""
    assert process.returncode == 128 + number
    assert os.listdir(tmp_path) == []
    wait.until(lambda: not is_alive(process.pid))


def started(*words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, as a terminal does."""
    return subprocess.Popen(
        [*COMMAND, *words],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
