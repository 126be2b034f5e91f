"""Crash states: at each call of two writers the power fails, in every way it can.

`CRASH_TABLE=1 pytest -s tests/write/test_crash_states.py` prints how many states were checked.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from crash_operations import append_together, read
from recorded_disks import AFTER, Recorder, is_in_order, line_of
from system_calls import Call, OneFault, intercepted, perform_unsynced

from metrics_appender import AppendLog, CorruptLineError
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs import filename

if TYPE_CHECKING:
    from pathlib import Path

SURVIVES_POWER_CUTS = ("fsync", "group")
FIRST = b'{"n":"first"}\n'
TORN = b'{"n":"killed in mid-line","text":"%s' % (b"t" * 700)
# What the file holds at the start: whole lines, and what a killed writer or an earlier power cut
# left behind them.
STARTS = {
    "no file": (b"", b""),
    "half a line": (FIRST, TORN),
    "NULs at the end": (FIRST, b'{"n":' + bytes(900)),
    "NULs for the first sector of a line": (FIRST, bytes(512 - len(FIRST)) + b'he rest of it"}\n'),
    "NULs in the middle of a joined pass": (
        FIRST,
        b'{"n":"' + bytes(1024) + b'he rest"}\n{"n":"unsynced"}\n',
    ),
}
PAIRS = [
    ("fsync", "fsync"),
    ("fsync", "os"),
    ("os", "fsync"),
    ("os", "os"),
    ("group", "group"),
    ("group", "fsync"),
    ("os", "group"),
]


def run_two_writers(path: str, durabilities: tuple[Any, Any], recorder: Recorder) -> None:
    """Append in turn, alone and together; in between a writer is killed in mid-line."""
    logs = [AppendLog(path, durability=durability) for durability in durabilities]
    number = itertools.count()

    def append(writer: int, *lengths: int) -> None:
        def report(line: bytes, error: OSError | None) -> None:
            assert error is None
            if durabilities[writer] in SURVIVES_POWER_CUTS:
                recorder.acknowledge(line)

        lines = tuple(line_of(next(number), length) for length in lengths)
        if len(lines) > 1:
            append_together(logs[writer], report, lines)
        else:
            logs[writer].append_line(lines[0])
            report(lines[0], None)

    append(0, 1200)
    append(1, 30)
    append(0, 700)
    with open(path, "ab", buffering=0) as file:
        recorder(Call("write", (file.fileno(), TORN), path, os.write))
    append(1, 40)
    append(0, 600)
    append(1, 300, 900, 20)
    append(0, 20)


def recover(path: str) -> tuple[bytes, bytes]:
    """Read, append and read all, as the first writer does after the power cut.

    Return the file and the files beside it.
    """
    content = read(path)
    whole = content[: content.rfind(b"\n") + 1]
    try:
        assert AppendLog(path).read() == list(map(json.loads, whole.splitlines()))
    except CorruptLineError:
        assert b"\0" in whole  # the one fault that a reader may meet before a writer recovers it
    fs_calls.make_directory(os.path.dirname(path))
    AppendLog(path).append_line(AFTER)
    content = read(path)
    assert AppendLog(path).read() == list(map(json.loads, content.splitlines()))
    return content, read(filename.torn_path(path))


def check(
    recorder: Recorder, root: str, path: str, order: list[bytes], damage: bytes = b""
) -> None:
    """Put each state on a disk of its own, recover, and check the lines and earlier damage."""
    with intercepted(perform_unsynced):
        for state, acknowledged in recorder.states.items():
            for name, content in state:
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), "wb") as file:
                    file.write(content)
            os.makedirs(root, exist_ok=True)
            before = dict(state).get(path, b"")
            after, torn = recover(os.path.join(root, path))
            lines = after.splitlines(keepends=True)
            assert lines.pop() == AFTER
            assert acknowledged <= set(lines), f"an acknowledged line is lost in {state}"
            assert is_in_order(lines, order), (
                f"a line that no writer wrote, twice, or out of order, in {state}"
            )
            kept = b"".join(lines)
            assert before.startswith(kept), f"the recovered file is not the beginning of {state}"
            assert torn.endswith(before[len(kept) :]), (
                f"what was cut away from {state} is not beside the file"
            )
            assert damage in torn, f"what was damaged before is gone in {state}"
            shutil.rmtree(root)
    if "CRASH_TABLE" in os.environ:
        print(f" {len(recorder.states)} states")


@pytest.mark.parametrize("durabilities", PAIRS, ids=" and ".join)
@pytest.mark.parametrize("start", STARTS)
def test_no_power_cut_loses_an_acknowledged_line_or_leaves_a_damaged_file(
    tmp_path: Path, start: str, durabilities: Any
) -> None:
    """That holds in every state after each call of two writers, one of which recovers."""
    root = str(tmp_path / "run")
    path = os.path.join(root, "events.ndjson")
    os.mkdir(root)
    sound, damage = STARTS[start]
    if sound:
        with open(path, "wb") as file:
            file.write(sound + damage)
    recorder = Recorder(root)
    with intercepted(recorder):
        run_two_writers(path, durabilities, recorder)
    order = read(path).splitlines(keepends=True)
    check(recorder, str(tmp_path / "state"), "events.ndjson", order, damage)


@pytest.mark.parametrize("durability", SURVIVES_POWER_CUTS)
@pytest.mark.parametrize("is_joined", [False, True], ids=["a block", "joined lines"])
def test_what_was_cut_off_for_a_full_disk_does_not_come_back_behind_the_next_line(
    tmp_path: Path, durability: Any, is_joined: bool
) -> None:
    """Parts of lines that a full disk cut short stay away when the power fails in the next line."""
    root = str(tmp_path / "run")
    path = os.path.join(root, "events.ndjson")
    os.mkdir(root)
    recorder = Recorder(root)
    lines = tuple(line_of(number, 500) for number in range(3))
    room: list[int] = []

    def answer(call: Call) -> Any:
        if call.name == "write" and room:
            if room[0] == 0:
                room.clear()
                raise call.fail(errno.ENOSPC)
            fd, data = call.arguments
            call = Call("write", (fd, bytes(data[: room[0]])), call.path, os.write)
            room[0] = 0
        return recorder(call)

    def report(line: bytes, error: OSError | None) -> None:
        if error is None:
            recorder.acknowledge(line)

    with intercepted(answer):
        log = AppendLog(path, durability=durability)
        log.append_line(FIRST)
        recorder.acknowledge(FIRST)
        room.append(1400)
        if is_joined:
            append_together(log, report, lines)
        else:
            with pytest.raises(OSError, match="No space left"):
                log.append_lines(lines)
        assert not room
        last = line_of(4, 700)
        log.append_line(last)
        recorder.acknowledge(last)
    check(recorder, str(tmp_path / "state"), "events.ndjson", [FIRST, *lines, last])


FAR_BACK = {
    "a long line": b'{"n":"' + bytes(512) + b"x" * 1_000_000 + b'"}\n',
    "many joined lines": b'{"n":"' + bytes(512) + b'"}\n' + b'{"n":"unsynced"}\n' * 60_000,
}


@pytest.mark.parametrize("damage", FAR_BACK.values(), ids=FAR_BACK.keys())
def test_nuls_are_found_far_back(tmp_path: Path, damage: bytes) -> None:
    """They are found in front of a line of a megabyte, or of as many lines as one batch has."""
    path = str(tmp_path / "events.ndjson")
    with open(path, "wb") as file:
        file.write(FIRST + damage)
    assert recover(path) == (FIRST + AFTER, damage)


def test_a_line_acknowledged_behind_nuls_stays_in_the_file(tmp_path: Path) -> None:
    """The next log quarantines no line that was appended behind NULs.

    They may come while a log is in use, from a server's disk or another program.
    """
    path = str(tmp_path / "events.ndjson")
    log = AppendLog(path)
    log.append_line(FIRST)
    damage = bytes(100) + b'"}\n{"n":"unsynced"}\n'
    with open(path, "ab") as file:
        file.write(damage)
    log.append({"n": "acknowledged"})
    assert recover(path) == (FIRST + b'{"n":"acknowledged"}\n' + AFTER, damage)


def test_nuls_out_of_sight_do_not_hide_those_in_sight(tmp_path: Path) -> None:
    """NULs near the end are found at once, not later behind acknowledged lines."""
    path = str(tmp_path / "events.ndjson")
    far, near = b'{"n":"' + bytes(1 << 20) + b'"}\n', bytes(100) + b'"}\n'
    with open(path, "wb") as file:
        file.write(FIRST + far + near)
    AppendLog(path).append_line(AFTER)
    assert read(path) == FIRST + far + AFTER
    assert read(filename.torn_path(path)) == near


def test_a_line_with_a_nul_is_refused(tmp_path: Path) -> None:
    """Such a line is no JSON, and looks like what a power cut leaves.

    If it were acknowledged, recovery would quarantine it later.
    """
    path = str(tmp_path / "events.ndjson")
    with pytest.raises(ValueError, match="NUL"):
        AppendLog(path).append_line(b'{"n":"\0"}\n')
    assert not os.path.exists(path)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_directory_that_somebody_left_half_made_is_made_durable_by_the_next(
    tmp_path: Path, number: int
) -> None:
    """A directory whose maker was killed or is not done is synced before lines go into it.

    Its name may not be on the disk yet.
    """
    root = str(tmp_path / "run")
    path = os.path.join(root, "new", "deep", "events.ndjson")
    os.mkdir(root)
    recorder = Recorder(root)
    line = line_of(1, 30)

    def stop(call: Call) -> Any:
        raise KeyboardInterrupt

    disks = OneFault(number, stop, recorder)
    with intercepted(disks):
        disks.is_armed = True
        with contextlib.suppress(KeyboardInterrupt):
            fs_calls.make_directory(os.path.dirname(path))
        fs_calls.make_directory(os.path.dirname(path))
        AppendLog(path).append_line(line)
    recorder.acknowledge(line)
    check(recorder, str(tmp_path / "state"), os.path.relpath(path, root), [line])
