"""Power cuts during a rotation: at each call, and in every state that the disk may be in."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from crash_operations import read
from possible_disks import PossibleDisks
from recorded_disks import AFTER, Recorder, is_in_order, line_of
from system_calls import intercepted, perform_unsynced

from metrics_appender import AppendLog, Rotation
from metrics_appender.fs.filename import torn_path
from metrics_appender.segment.cleaner import clean_segments
from metrics_appender.segment.segments import list_segments, open_segment

if TYPE_CHECKING:
    from pathlib import Path

ROTATION = Rotation(max_bytes=600)
CLEANING = Rotation(compress="gzip")
LENGTHS = (700, 30, 580, 20, 700, 50)


def stream_of(path: str) -> list[bytes]:
    """Return the lines of all segments, which have to be adjacent, and of the active file."""
    data = b""
    for segment in list_segments(path):
        assert segment.start == len(data)
        with open_segment(segment) as source:
            data += source.read_at(source.size + 1, 0)
        assert segment.end == len(data)
    return (data + read(path)).splitlines(keepends=True)


def run(path: str, durabilities: tuple[Any, Any], recorder: Recorder) -> list[bytes]:
    """Append alternately with sealing, rotate and compress in between, and return the lines."""
    logs = [
        AppendLog(path, durability=durability, rotation=ROTATION) for durability in durabilities
    ]
    lines = [line_of(number, length) for number, length in enumerate(LENGTHS)]
    for number, line in enumerate(lines):
        logs[number % 2].append_line(line)
        if durabilities[number % 2] != "os":
            recorder.acknowledge(line)
        if number == 3:
            logs[0].rotate()
            clean_segments(path, CLEANING)
    return lines


@pytest.mark.parametrize(
    "durabilities", [("fsync", "fsync"), ("os", "fsync"), ("group", "os")], ids=" and ".join
)
def test_no_power_cut_in_a_rotation_loses_an_acknowledged_line(
    tmp_path: Path, durabilities: Any
) -> None:
    """In every state the acknowledged lines are there once, in order, and appends continue."""
    root = str(tmp_path / "run")
    os.mkdir(root)
    recorder = Recorder(root)
    with intercepted(recorder):
        order = run(os.path.join(root, "events.ndjson"), durabilities, recorder)
    assert len(recorder.states) > 30
    with intercepted(perform_unsynced):
        for state, acknowledged in recorder.states.items():
            check(str(tmp_path / "state"), dict(state), acknowledged, order)


def test_a_rotation_that_returned_is_on_the_disk(tmp_path: Path) -> None:
    """The segment has its name and its content in every state that the disk may be in then."""
    path = str(tmp_path / "events.ndjson")
    possible = PossibleDisks(str(tmp_path))
    with intercepted(possible):
        log = AppendLog(path, durability="os")
        log.append_line(AFTER)
        sealed = log.rotate()
    assert sealed is not None
    for state in possible.states():
        assert state[os.path.basename(sealed)] == AFTER


def check(
    root: str, state: dict[str, bytes], acknowledged: frozenset[bytes], order: list[bytes]
) -> None:
    """Make a directory with the files of this state, append, clean, and look for the lines."""
    os.mkdir(root)
    for name, content in state.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)
    path = os.path.join(root, "events.ndjson")
    AppendLog(path, rotation=ROTATION).append_line(AFTER)
    clean_segments(path, CLEANING)
    *lines, last = stream_of(path)
    assert last == AFTER
    assert acknowledged <= set(lines), f"an acknowledged line is lost in {state}"
    assert is_in_order(lines, order), (
        f"a line that nobody wrote, twice, or out of order, in {state}"
    )
    assert AppendLog(path).read() == list(map(json.loads, [*lines, last]))
    torn = b"".join(
        content for name, content in state.items() if name == "events.ndjson"
    ).rpartition(b"\n")[2]
    assert torn in read(torn_path(path))
    shutil.rmtree(root)
