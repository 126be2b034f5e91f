"""A process that keeps its interpreter's lock holds up no append of another process.

A native call may keep the interpreter's lock for long (`ctypes.PyDLL`, parsing a big document).
A thread of that process which the kernel grants the file's lock meanwhile could not run, and every
other process would wait for the native call.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Waiting

HOLD_SECONDS = 0.5
ROUNDS = 4
APPENDS = 20

# Appends, then keeps the interpreter's lock in a call from which no other thread gets it; prints
# when each such call began and ended.
HOLDER = """
import ctypes, json, sys, time
from metrics_appender import AppendLog

path, durability, rounds, appends, seconds = sys.argv[1:]
native = ctypes.PyDLL(None)
holds = []
with AppendLog(path, durability=durability, lock_timeout=60) as log:
    for _ in range(int(rounds)):
        for number in range(int(appends)):
            log.append({"process": "holder", "n": number})
        begun = time.monotonic()
        native.usleep(int(float(seconds) * 1e6))
        holds.append((begun, time.monotonic()))
print(json.dumps(holds))
"""

# Appends until a file says that it is enough; prints when its slow appends began and ended.
OTHER = """
import json, os, sys, time
from metrics_appender import AppendLog

path, durability, name, started, stop, slow = sys.argv[1:]
count, waits = 0, []
with AppendLog(path, durability=durability, lock_timeout=60) as log:
    while not os.path.exists(stop):
        begun = time.monotonic()
        log.append({"process": name, "n": count})
        ended = time.monotonic()
        count += 1
        if ended - begun >= float(slow):
            waits.append((begun, ended))
        if count == 1:
            open(started, "w").close()
print(json.dumps([count, waits]))
"""


@contextlib.contextmanager
def started(script: str, *arguments: str | Path | float) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process of its own, which is gone after the `with`."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for a process, which has to end well, and return what it printed."""
    output, _ = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    return output


@pytest.mark.parametrize("others", [1, 3])
@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_no_append_waits_for_a_process_that_is_in_no_append(
    durability: str, others: int, tmp_path: Path, wait: Waiting
) -> None:
    """No append of the others lasts through half of a native call, to beyond its end."""
    path, stop = tmp_path / "events.ndjson", tmp_path / "stop"
    names = [f"other {number}" for number in range(others)]
    with contextlib.ExitStack() as running:
        processes = [
            running.enter_context(
                started(OTHER, path, durability, name, tmp_path / name, stop, HOLD_SECONDS / 4)
            )
            for name in names
        ]
        wait.until(lambda: all(os.path.exists(tmp_path / name) for name in names))
        holder = running.enter_context(
            started(HOLDER, path, durability, ROUNDS, APPENDS, HOLD_SECONDS)
        )
        holds = json.loads(output_of(holder))
        stop.touch()
        outputs = [json.loads(output_of(process)) for process in processes]

    # A slow disk can make an append slow as well; only one that waits for the holder begins in the
    # first half of a hold, or before, and cannot end before the hold does.
    held_up = [
        (name, round(end - begin, 3))
        for name, (_, waits) in zip(names, outputs, strict=True)
        for begin, end in waits
        for hold_begin, hold_end in holds
        if begin <= (hold_begin + hold_end) / 2 and hold_end <= end
    ]
    assert held_up == []
    written = [json.loads(line)["process"] for line in path.read_bytes().splitlines()]
    assert written.count("holder") == ROUNDS * APPENDS
    assert [written.count(name) for name in names] == [count for count, _ in outputs]
