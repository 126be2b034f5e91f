"""The upkeep of segments.

What is compressed and deleted, what is left, and what becomes of a half-done one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from crash_operations import read
from system_calls import (
    OneFault,
    die,
    die_after_part,
    fail_with,
    intercepted,
    perform_unsynced,
    write_part,
)

from metrics_appender import AppendLog, MetricsAppender, Rotation
from metrics_appender.fs.filename import UNFINISHED, maintenance_lock_path
from metrics_appender.segment import blocks, cleaner
from metrics_appender.segment.blocks import ENDINGS, codec_of
from metrics_appender.segment.cleaner import Cleaner, clean_segments
from metrics_appender.segment.segments import base_of_active, list_segments, open_segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system_calls import Call, Fault

    from metrics_appender.segment.blocks import Compression

of_both = pytest.mark.parametrize("compression", ENDINGS)


def fill(path: str, segments: int) -> list[dict[str, Any]]:
    """Make a log of so many sealed segments and an active file; return its records."""
    log = AppendLog(path, durability="os")
    for number in range(segments + 1):
        log.append({"n": number, "text": "x" * 100})
        log.append({"n": number, "text": "x" * number})
        if number < segments:
            log.rotate()
    return log.read()


def endings(path: str) -> list[str]:
    """Return the endings of the segments' names, oldest first."""
    return [segment.path.rpartition("-")[2][15:] for segment in list_segments(path)]


def content(path: str) -> bytes:
    """Return the bytes of all segments."""
    parts = []
    for segment in list_segments(path):
        with open_segment(segment) as source:
            parts.append(source.read_at(source.size + 1, 0))
    return b"".join(parts)


@of_both
def test_all_segments_but_the_newest_are_compressed(path: str, compression: Compression) -> None:
    """The newest keeps its name, by which the active file's beginning is known.

    Nothing else changes.
    """
    records = fill(path, 3)
    before, base = content(path), base_of_active(path)
    times = [os.stat(segment.path).st_mtime_ns for segment in list_segments(path)]
    os.chmod(list_segments(path)[0].path, 0o640)
    assert clean_segments(path, Rotation(compress=compression))
    assert endings(path) == [ENDINGS[compression]] * 2 + [""]
    assert (content(path), base_of_active(path)) == (before, base)
    assert AppendLog(path).read() == records
    assert [os.stat(segment.path).st_mtime_ns for segment in list_segments(path)] == times
    assert stat.S_IMODE(os.stat(list_segments(path)[0].path).st_mode) == 0o640
    assert len([name for name in os.listdir(os.path.dirname(path)) if ".0" in name]) == 3


def test_compression_tells_how_far_it_is(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes of all the segments that are due, up to the last of them."""
    monkeypatch.setattr(cleaner, "BLOCK_BYTES", 100)
    fill(path, 3)
    due = list_segments(path)[:-1]
    told: list[tuple[int, int]] = []
    clean_segments(
        path, Rotation(compress="gzip"), progress=lambda done, total: told.append((done, total))
    )
    total = sum(segment.end - segment.start for segment in due)
    assert {of for _, of in told} == {total}
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > len(due)
    assert told[-1][0] == total


def test_what_was_compressed_otherwise_stays_so(path: str) -> None:
    """A change of the option concerns what is sealed later."""
    fill(path, 2)
    clean_segments(path, Rotation(compress="gzip"))
    AppendLog(path).rotate()
    clean_segments(path, Rotation(compress="zstd"))
    assert endings(path) == [".gz", ".zst", ""]


@pytest.mark.parametrize(("keep", "left"), [(1, 1), (3, 3), (9, 5)])
@pytest.mark.parametrize("compress", [None, "gzip"])
def test_the_oldest_are_deleted_where_there_are_too_many(
    path: str, keep: int, left: int, compress: Compression | None
) -> None:
    """Compressed or not; what is left is read, and the stream goes on where it was."""
    records = fill(path, 5)
    base = base_of_active(path)
    clean_segments(path, Rotation(compress=compress))
    clean_segments(path, Rotation(keep_segments=keep, compress=compress))
    assert len(list_segments(path)) == left
    assert base_of_active(path) == base
    assert AppendLog(path).read() == records[-2 * left - 2 :]
    assert AppendLog(path).read(3) == records[-3:]


@pytest.mark.parametrize("age", [3600.0, timedelta(hours=1)])
def test_the_oldest_are_deleted_when_they_are_too_old(path: str, age: float | timedelta) -> None:
    """By the time of their last line, which a compression keeps; the newest stays."""
    fill(path, 4)
    long_ago = time.time() - 4000
    for segment in list_segments(path)[:2]:
        os.utime(segment.path, (long_ago, long_ago))
    clean_segments(path, Rotation(compress="gzip"))
    clean_segments(path, Rotation(keep_age=age, keep_segments=10))
    assert len(list_segments(path)) == 2
    for segment in list_segments(path):
        os.utime(segment.path, (long_ago, long_ago))
    clean_segments(path, Rotation(keep_age=age))
    assert len(list_segments(path)) == 1


def test_what_a_follower_still_needs_is_not_deleted(path: str) -> None:
    """Nor what comes behind it; unless told to."""
    fill(path, 5)
    third = list_segments(path)[2]
    for unread in (third.start, third.end - 1):
        clean_segments(path, Rotation(keep_segments=1), lambda _, unread=unread: unread)  # type: ignore[misc]  # mypy sees no default
        assert list_segments(path)[0] == third
    clean_segments(path, Rotation(keep_segments=1, keep_unread=False), lambda _: third.start)
    assert len(list_segments(path)) == 1


def test_a_cursor_that_is_stored_while_segments_are_deleted_is_heeded(path: str) -> None:
    """Before each of them it is asked for."""
    fill(path, 5)
    third = list_segments(path)[2]
    answers = iter([None, third.start])
    clean_segments(path, Rotation(keep_segments=1), lambda _: next(answers, third.start))
    assert list_segments(path)[0] == third


def test_a_cursor_that_cannot_be_read_keeps_everything(path: str) -> None:
    """What raises when asked for deletes nothing."""
    fill(path, 3)

    def fail(path: str) -> int | None:
        raise ValueError(path)

    with pytest.raises(ValueError, match="events"):
        clean_segments(path, Rotation(keep_segments=1), fail)
    assert len(list_segments(path)) == 3


@of_both
def test_what_a_killed_compressor_left_is_finished(path: str, compression: Compression) -> None:
    """Half a temporary file is removed.

    Of a plain and a compressed segment the plain one is, once they are the same.
    """
    fill(path, 3)
    before = content(path)
    first, second, _ = list_segments(path)
    ending = ENDINGS[compression]
    with open(first.path + ending + UNFINISHED, "wb") as file:
        file.write(b"half")
    with open(second.path + ending, "wb") as file:
        file.write(codec_of(compression).pack(read(second.path)))
    clean_segments(path, Rotation())
    assert endings(path) == ["", ending, ""]
    assert content(path) == before
    clean_segments(path, Rotation(compress=compression))
    assert endings(path) == [ending, ending, ""]
    assert content(path) == before


@pytest.mark.parametrize("damage", ["other bytes", "cut short"])
def test_a_compressed_segment_that_is_not_the_same_goes_instead(
    path: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The plain one is what was acknowledged."""
    fill(path, 2)
    first = list_segments(path)[0]
    good = codec_of("gzip").pack(read(first.path) if damage == "cut short" else bytes(first.end))
    with open(first.path + ".gz", "wb") as file:
        file.write(good[:-3] if damage == "cut short" else good)
    clean_segments(path, Rotation())
    assert endings(path) == ["", ""]
    assert not os.path.exists(first.path + ".gz")
    assert "did not hold what" in caplog.text


def test_a_segment_that_somebody_wrote_to_is_not_compressed(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer without a lock, say, that had it open: its bytes are not thrown away."""
    fill(path, 2)
    first = list_segments(path)[0]
    with open(first.path, "ab") as file:
        file.write(b"late\n")
    clean_segments(path, Rotation(compress="gzip"))
    assert endings(path) == ["", ""]
    assert "not compressed" in caplog.text


def test_one_process_at_a_time_does_the_upkeep(path: str) -> None:
    """Who finds another at it leaves it to that one."""
    from filelock import FileLock

    fill(path, 2)
    with FileLock(maintenance_lock_path(path)):
        assert not clean_segments(path, Rotation(compress="gzip"))
    assert endings(path) == ["", ""]
    assert clean_segments(path, Rotation(compress="gzip"))


def test_the_upkeep_follows_an_append_that_sealed(path: str, tmp_path: Path) -> None:
    """In the background; closing waits for it."""
    option = Rotation(max_bytes=1, keep_segments=3, compress="gzip")
    with AppendLog(path, durability="os", rotation=option) as log:
        for number in range(10):
            log.append({"n": number})
    with AppendLog(
        path, durability="os", rotation=option
    ) as log:  # the last one's upkeep may have met the end of the one before
        log.append({"n": 10})
    assert endings(path) == [".gz", ".gz", ""]
    assert [record["n"] for record in AppendLog(path).read()] == [7, 8, 9, 10]
    with MetricsAppender(tmp_path, durability="os", rotation=option) as metrics:
        for number in range(9):
            metrics.append_performance_metric("s", str(number), 1, "agent")
    assert len(list_segments(str(tmp_path / "s_performance.json"))) == 3


def test_an_upkeep_that_fails_is_told_and_tried_again(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The appends go on; the next rotation asks again."""
    fill(path, 2)
    failing = iter([OSError(errno.ENOSPC, "No space left on device")])

    def first_unread(path: str) -> int | None:
        for error in failing:
            raise error
        return None

    upkeep = Cleaner(path, Rotation(keep_segments=1), first_unread)
    upkeep.begin()
    upkeep.finish()
    assert "No space left on device" in caplog.text
    assert len(list_segments(path)) == 2
    upkeep.begin()
    upkeep.finish()
    assert len(list_segments(path)) == 1


FAULTS: dict[str, Fault] = {
    "killed": die,
    **{
        errno.errorcode[number]: fail_with(number)
        for number in (errno.ENOSPC, errno.EIO, errno.EACCES)
    },
}
FAULTS_OF_A_WRITE: dict[str, Fault] = {
    "0 bytes": write_part(0),
    "1 byte": write_part(1),
    "killed after 1 byte": die_after_part(1),
    "killed after n-1 bytes": die_after_part(-1),
}
ALL_OF_IT = Rotation(keep_segments=3, compress="gzip")


def run_upkeep(path: str, number: int, fault: Fault) -> OneFault:
    """Do the upkeep in a child of which one call goes wrong.

    Whether it died or failed is no matter.
    """
    answer = OneFault(number, fault, perform_unsynced)
    with intercepted(answer):
        answer.is_armed = True
        pid = os.fork() if number else 0
        if number and pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in {0, -signal.SIGKILL}
            return answer
        try:
            with contextlib.suppress(OSError):
                clean_segments(path, ALL_OF_IT)
        finally:
            if number:
                os._exit(0)
    return answer


@pytest.fixture
def disks(tmp_path: Path) -> Callable[[], str]:
    """Return the path of a log of five segments, in a directory of its own each time."""
    original = tmp_path / "original"
    original.mkdir()
    fill(str(original / "events.ndjson"), 5)
    numbers = itertools.count()
    return lambda: os.path.join(
        shutil.copytree(original, tmp_path / str(next(numbers))), "events.ndjson"
    )


def test_an_upkeep_that_dies_or_fails_at_any_call_loses_nothing(
    disks: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call, in each way.

    All that is to be kept reads as before, at once and after the next upkeep, which finishes.
    """
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    path = disks()
    records = AppendLog(path).read()
    calls = run_upkeep(path, 0, perform_unsynced).calls
    names = {call.name for call in calls}
    assert {"rename", "unlink", "write", "fsync", "listdir", "pread", "open"} <= names
    for number, call in enumerate(calls, 1):
        for name, fault in {
            **FAULTS,
            **(FAULTS_OF_A_WRITE if call.name == "write" else {}),
        }.items():
            path = disks()
            run_upkeep(path, number, fault)
            told = f"{number}. {call} | {name}"
            found = AppendLog(path).read()
            assert found in [records[-length:] for length in (12, 10, 8)], told
            log = AppendLog(path, durability="os")
            log.append({"n": "more"})
            assert log.read() == [*found, {"n": "more"}], told
            with intercepted(perform_unsynced):
                assert clean_segments(path, ALL_OF_IT), told
            assert endings(path) == [".gz", ".gz", ""], told
            assert log.read() == [*records[-8:], {"n": "more"}], told
            assert not [
                name for name in os.listdir(os.path.dirname(path)) if name.endswith(UNFINISHED)
            ], told


class Interrupted(BaseException):
    """What a signal handler raises."""


def in_the_midst(monkeypatch: pytest.MonkeyPatch, of: str, act: Callable[[], object]) -> None:
    """Have something done once, as by a signal handler, before and after the thread of the upkeep is started, or in its stead."""
    start = threading.Thread.start

    def start_and_act(thread: threading.Thread) -> None:
        monkeypatch.undo()
        if of == "before":
            act()
        start(thread)
        if of == "after":
            act()

    monkeypatch.setattr(threading.Thread, "start", start_and_act)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_handler_may_seal_and_close_while_its_thread_begins_the_upkeep(
    path: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM: the handler says goodbye in the log, and closes it.

    It does not wait for what its own thread is in the middle of.
    """
    log = AppendLog(path, durability="os", rotation=Rotation(max_bytes=1, keep_segments=2))

    def say_goodbye() -> None:
        log.append({"n": "goodbye"})
        log.close()

    log.append({"n": 0})
    in_the_midst(monkeypatch, moment, say_goodbye)
    log.append({"n": 1})
    log.close()
    assert [record["n"] for record in log.read()] == [0, 1, "goodbye"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_beginning_of_an_upkeep_is_not_the_last(
    path: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in it; closing goes well, and the next rotation begins the next upkeep."""

    def interrupt() -> None:
        raise Interrupted

    with AppendLog(path, durability="os", rotation=Rotation(max_bytes=1, keep_segments=2)) as log:
        for number in range(4):
            log.append({"n": number})
        log.close()
    with AppendLog(path, durability="os", rotation=Rotation(max_bytes=1, keep_segments=2)) as log:
        in_the_midst(monkeypatch, moment, interrupt)
        with pytest.raises(Interrupted):
            log.append({"n": 4})
        log.append({"n": 5})
    assert [record["n"] for record in log.read()] == [3, 4, 5]


def test_an_append_that_seals_while_the_interpreter_ends_comes_to_its_end(tmp_path: Path) -> None:
    """A thread for the upkeep would never run then.

    The next rotation of another process does it.
    """
    code = """
import builtins, os, sys
from metrics_appender import AppendLog, Rotation

class Session:
    def __init__(self):
        self.log = AppendLog(sys.argv[1], rotation=Rotation(max_bytes=1, keep_segments=5))
        self.log.append({"session": "begins"})

    def __del__(self):
        self.log.append({"session": "ends"})
        self.log.close()
        os.write(1, b"appended")

builtins.session = Session()
"""
    path = str(tmp_path / "events.ndjson")
    done = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, timeout=60
    )
    assert done.stdout == b"appended", done.stderr.decode()
    assert [record["session"] for record in AppendLog(path).read()] == ["begins", "ends"]


def test_before_a_plain_segment_goes_the_name_of_the_compressed_one_is_durable(path: str) -> None:
    """Its compressor may have been killed after the renaming, before the directory was synced."""
    fill(path, 2)
    (oldest, _) = list_segments(path)
    calls: list[tuple[str, str]] = []

    def kill_before_the_sync(call: Call) -> Any:
        if call.name == "fsync" and call.path == os.path.dirname(path):
            raise Interrupted
        return call.perform()

    def note(call: Call) -> Any:
        calls.append((call.name, call.path))
        return call.perform()

    with intercepted(kill_before_the_sync), pytest.raises(Interrupted):
        clean_segments(path, Rotation(compress="gzip"))
    assert os.path.exists(oldest.path)
    assert os.path.exists(oldest.path + ENDINGS["gzip"])
    with intercepted(note):
        clean_segments(path, Rotation(compress="gzip"))
    assert ("fsync", os.path.dirname(path)) in calls[: calls.index(("unlink", oldest.path))]
