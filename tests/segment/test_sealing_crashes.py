"""Every crash point of an append that seals: killed, failing or cut short at each system call."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest
from crash_operations import LINES, TORN, read
from system_calls import (
    OneFault,
    die,
    die_after_part,
    fail_with,
    intercepted,
    perform_unsynced,
    write_part,
)

from metrics_appender import AppendLog, Rotation
from metrics_appender.fs.filename import torn_path
from metrics_appender.outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN
from metrics_appender.segment.segments import list_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system_calls import Fault

NEW = LINES[2]
FULL = Rotation(max_bytes=len(LINES[0]))
BEFORE = {
    "the first file": (0, b""),
    "after a segment": (1, b""),
    "a torn tail": (0, TORN),
    "a torn tail after a segment": (1, TORN),
}
FAULTS: dict[str, Fault] = {
    "killed": die,
    **{
        errno.errorcode[number]: fail_with(number)
        for number in (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EINTR)
    },
}
FAULTS_OF_A_WRITE: dict[str, Fault] = {
    "0 bytes": write_part(0),
    "1 byte": write_part(1),
    "n-1 bytes": write_part(-1),
    "killed after 1 byte": die_after_part(1),
    "killed after n-1 bytes": die_after_part(-1),
}
LATE_CALLS = {"flock", "close", "ftruncate"}


def append(log: AppendLog) -> str:
    """Append the new line, and return what became of it."""
    return what_became_of(lambda: log.append_line(NEW)) or "acknowledged"


def rotate(log: AppendLog) -> str:
    """Rotate by hand; no line is written."""
    try:
        log.rotate()
    except OSError as failed:
        error = failed
    else:
        return NOTHING_WRITTEN
    return NOTHING_WRITTEN if error.filename else "no file named"


def what_became_of(act: Callable[[], object]) -> str:
    """Return what an error says about the line, the empty text without an error."""
    try:
        act()
    except OSError as failed:
        error = failed
    else:
        return ""
    assert error.filename
    (note,) = error.__notes__
    (outcome,) = (outcome for outcome in (NOTHING_WRITTEN, MAY_BE_WRITTEN) if outcome in note)
    return outcome


def run(
    path: str, durability: Any, number: int, fault: Fault, act: Callable[[AppendLog], str]
) -> tuple[OneFault, str]:
    """Run it in a child process with a fault at one call.

    Return what became of the line, the empty text if the child was killed.
    """
    answer = OneFault(number, fault, perform_unsynced)
    reader, writer = os.pipe()
    with intercepted(answer):
        log = AppendLog(path, durability=durability, rotation=FULL if act is append else None)
        if not number:
            answer.is_armed = True
            act(log)
            return answer, ""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                answer.is_armed = True
                os.write(writer, act(log).encode())
                status = 0
            finally:
                os._exit(status)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in {0, -signal.SIGKILL}
    with open(reader, "rb") as pipe:
        return answer, pipe.read().decode()


def stream(path: str) -> bytes:
    """Return the bytes of all segments, which have to be adjacent, and of the active file."""
    data = b""
    for segment in list_segments(path):
        assert segment.start == len(data)
        data += read(segment.path)
        assert segment.end == len(data)
    return data + read(path)


def verify(path: str, reported: str, torn: bytes, *, is_late: bool) -> None:
    """Verify that the old lines are there and the new one as it was reported; append and read."""
    found = stream(path)
    whole = LINES[0] + LINES[1]
    assert found.startswith(whole)
    rest = found.removeprefix(whole)
    if reported == "acknowledged":
        assert rest == NEW
    elif reported == NOTHING_WRITTEN:
        assert rest in {b"", torn}
    elif reported:
        assert is_late
    assert rest in {b"", torn} or NEW.startswith(rest)
    records = [json.loads(line) for line in (*LINES[:2], *([NEW] if rest == NEW else []))]
    log = AppendLog(path, durability="os")
    assert log.read() == records
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    log.append({"n": "more"})
    AppendLog(path, durability="os", rotation=FULL).append({"n": "and more"})
    assert log.read() == [*records, {"n": "more"}, {"n": "and more"}]
    assert log.read(2) == [{"n": "more"}, {"n": "and more"}]
    quarantined = read(torn_path(path))
    assert quarantined.endswith(torn if rest in {b"", torn, NEW} else torn + rest)


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("act", [append, rotate])
def test_sealing_may_fail_or_end_at_any_call(
    tmp_path: Path, durability: Any, before: str, act: Callable[[AppendLog], str]
) -> None:
    """No old line is lost or doubled, the new one is as reported, and the next appends work."""
    segments, torn = BEFORE[before]
    path = str(tmp_path / "log" / "events.ndjson")

    def lay_out() -> None:
        shutil.rmtree(tmp_path / "log", ignore_errors=True)
        os.mkdir(tmp_path / "log")
        log = AppendLog(path, durability="os")
        log.append_line(LINES[0])
        if segments:
            with intercepted(perform_unsynced):
                AppendLog(path, durability="os").rotate()
        log.append_line(LINES[1])
        with open(path, "ab") as file:
            file.write(torn)

    lay_out()
    calls = run(path, durability, 0, perform_unsynced, act)[0].calls
    assert {"rename", "listdir", "fsync"} <= {call.name for call in calls}
    assert len(list_segments(path)) == segments + 1
    for number, call in enumerate(calls, 1):
        for name, fault in {
            **FAULTS,
            **(FAULTS_OF_A_WRITE if call.name == "write" else {}),
        }.items():
            lay_out()
            reported = run(path, durability, number, fault, act)[1]
            is_late = call.name in LATE_CALLS or durability == "group"
            try:
                verify(path, reported, torn, is_late=is_late)
            except BaseException as error:
                error.add_note(f"{number}. {call} | {name} | {reported}")
                raise
