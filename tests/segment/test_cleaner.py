"""Cleaning segments: what is compressed, deleted or left, also after a cleaning was interrupted."""

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
    """Make a log of so many sealed segments and an active file, and return its records."""
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
    """The newest keeps its name, which gives the base of the active file; nothing else changes."""
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


def test_compression_reports_its_progress(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes of all the segments to compress, up to the last byte."""
    monkeypatch.setattr(cleaner, "BLOCK_BYTES", 100)
    fill(path, 3)
    pending = list_segments(path)[:-1]
    reported: list[tuple[int, int]] = []
    clean_segments(
        path,
        Rotation(compress="gzip"),
        progress=lambda done, total: reported.append((done, total)),
    )
    total = sum(segment.end - segment.start for segment in pending)
    assert {of for _, of in reported} == {total}
    assert [done for done, _ in reported] == sorted({done for done, _ in reported})
    assert len(reported) > len(pending)
    assert reported[-1][0] == total


def test_a_segment_with_another_compression_keeps_it(path: str) -> None:
    """A change of the option only concerns segments that are not compressed yet."""
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
    """Compressed or not; the others can be read, and the base of the active file is the same."""
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
    """By the time of their last line, which compression keeps; the newest stays."""
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


def test_an_unread_segment_is_not_deleted(path: str) -> None:
    """Nor are those after it, unless `keep_unread` is false."""
    fill(path, 5)
    third = list_segments(path)[2]
    for unread in (third.start, third.end - 1):
        clean_segments(path, Rotation(keep_segments=1), lambda _, unread=unread: unread)  # type: ignore[misc]  # mypy sees no default
        assert list_segments(path)[0] == third
    clean_segments(path, Rotation(keep_segments=1, keep_unread=False), lambda _: third.start)
    assert len(list_segments(path)) == 1


def test_a_cursor_that_is_saved_while_segments_are_deleted_counts(path: str) -> None:
    """Cursors are read again before each deletion."""
    fill(path, 5)
    third = list_segments(path)[2]
    answers = iter([None, third.start])
    clean_segments(path, Rotation(keep_segments=1), lambda _: next(answers, third.start))
    assert list_segments(path)[0] == third


def test_a_cursor_that_cannot_be_read_keeps_everything(path: str) -> None:
    """An error while cursors are read ends the cleaning, and nothing is deleted."""
    fill(path, 3)

    def fail(path: str) -> int | None:
        raise ValueError(path)

    with pytest.raises(ValueError, match="events"):
        clean_segments(path, Rotation(keep_segments=1), fail)
    assert len(list_segments(path)) == 3


@of_both
def test_a_killed_cleaning_is_finished(path: str, compression: Compression) -> None:
    """A half-written file is removed, and a plain segment with an equal compressed copy."""
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
def test_a_compressed_copy_that_differs_is_removed_instead(
    path: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The plain segment holds what was acknowledged."""
    fill(path, 2)
    first = list_segments(path)[0]
    good = codec_of("gzip").pack(read(first.path) if damage == "cut short" else bytes(first.end))
    with open(first.path + ".gz", "wb") as file:
        file.write(good[:-3] if damage == "cut short" else good)
    clean_segments(path, Rotation())
    assert endings(path) == ["", ""]
    assert not os.path.exists(first.path + ".gz")
    assert "did not hold what" in caplog.text


def test_a_segment_that_was_written_to_is_not_compressed(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that ignores locks may have had it open; its bytes are kept."""
    fill(path, 2)
    first = list_segments(path)[0]
    with open(first.path, "ab") as file:
        file.write(b"late\n")
    clean_segments(path, Rotation(compress="gzip"))
    assert endings(path) == ["", ""]
    assert "not compressed" in caplog.text


def test_one_process_at_a_time_cleans(path: str) -> None:
    """A process that finds another one cleaning leaves it to that one."""
    from filelock import FileLock

    fill(path, 2)
    with FileLock(maintenance_lock_path(path)):
        assert not clean_segments(path, Rotation(compress="gzip"))
    assert endings(path) == ["", ""]
    assert clean_segments(path, Rotation(compress="gzip"))


def test_cleaning_follows_an_append_that_sealed(path: str, tmp_path: Path) -> None:
    """In the background; closing waits for it."""
    option = Rotation(max_bytes=1, keep_segments=3, compress="gzip")
    with AppendLog(path, durability="os", rotation=option) as log:
        for number in range(10):
            log.append({"n": number})
    # The request of the last seal may have come while the cleaner was ending.
    with AppendLog(path, durability="os", rotation=option) as log:
        log.append({"n": 10})
    assert endings(path) == [".gz", ".gz", ""]
    assert [record["n"] for record in AppendLog(path).read()] == [7, 8, 9, 10]
    with MetricsAppender(tmp_path, durability="os", rotation=option) as metrics:
        for number in range(9):
            metrics.append_performance_metric("s", str(number), 1, "agent")
    assert len(list_segments(str(tmp_path / "s_performance.json"))) == 3


def test_a_cleaning_that_fails_is_logged_and_repeated(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Appends are not affected, and the next rotation tries again."""
    fill(path, 2)
    failing = iter([OSError(errno.ENOSPC, "No space left on device")])

    def first_unread(path: str) -> int | None:
        for error in failing:
            raise error
        return None

    cleaner_of_log = Cleaner(path, Rotation(keep_segments=1), first_unread)
    cleaner_of_log.begin()
    cleaner_of_log.finish()
    assert "No space left on device" in caplog.text
    assert len(list_segments(path)) == 2
    cleaner_of_log.begin()
    cleaner_of_log.finish()
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


def run_cleaning(path: str, number: int, fault: Fault) -> OneFault:
    """Clean in a child process with a fault at one call, whether that kills it or not."""
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


def test_a_cleaning_that_is_killed_or_fails_at_any_call_loses_nothing(
    disks: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records to keep can be read, at once and after the next cleaning, which finishes it."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    path = disks()
    records = AppendLog(path).read()
    calls = run_cleaning(path, 0, perform_unsynced).calls
    names = {call.name for call in calls}
    assert {"rename", "unlink", "write", "fsync", "listdir", "pread", "open"} <= names
    for number, call in enumerate(calls, 1):
        for name, fault in {
            **FAULTS,
            **(FAULTS_OF_A_WRITE if call.name == "write" else {}),
        }.items():
            path = disks()
            run_cleaning(path, number, fault)
            case = f"{number}. {call} | {name}"
            found = AppendLog(path).read()
            assert found in [records[-length:] for length in (12, 10, 8)], case
            log = AppendLog(path, durability="os")
            log.append({"n": "more"})
            assert log.read() == [*found, {"n": "more"}], case
            with intercepted(perform_unsynced):
                assert clean_segments(path, ALL_OF_IT), case
            assert endings(path) == [".gz", ".gz", ""], case
            assert log.read() == [*records[-8:], {"n": "more"}], case
            assert not [
                name for name in os.listdir(os.path.dirname(path)) if name.endswith(UNFINISHED)
            ], case


class Interrupted(BaseException):
    """Raised by a signal handler."""


def on_thread_start(monkeypatch: pytest.MonkeyPatch, of: str, act: Callable[[], object]) -> None:
    """Call a function once before or after the next thread is started, as a signal handler may."""
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
def test_a_signal_handler_may_seal_and_close_while_its_thread_starts_a_cleaning(
    path: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler of SIGTERM appends and closes; it does not wait for its own thread."""
    log = AppendLog(path, durability="os", rotation=Rotation(max_bytes=1, keep_segments=2))

    def say_goodbye() -> None:
        log.append({"n": "goodbye"})
        log.close()

    log.append({"n": 0})
    on_thread_start(monkeypatch, moment, say_goodbye)
    log.append({"n": 1})
    log.close()
    assert [record["n"] for record in log.read()] == [0, 1, "goodbye"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_start_of_a_cleaning_is_repeated(
    path: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C at that moment, closing works, and the next rotation starts a cleaning."""

    def interrupt() -> None:
        raise Interrupted

    with AppendLog(path, durability="os", rotation=Rotation(max_bytes=1, keep_segments=2)) as log:
        for number in range(4):
            log.append({"n": number})
        log.close()
    with AppendLog(path, durability="os", rotation=Rotation(max_bytes=1, keep_segments=2)) as log:
        on_thread_start(monkeypatch, moment, interrupt)
        with pytest.raises(Interrupted):
            log.append({"n": 4})
        log.append({"n": 5})
    assert [record["n"] for record in log.read()] == [3, 4, 5]


def test_an_append_that_seals_while_the_interpreter_ends_returns(tmp_path: Path) -> None:
    """A new thread would never run then; the next rotation of another process cleans."""
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


def test_a_plain_segment_is_removed_after_the_compressed_name_is_durable(path: str) -> None:
    """A killed cleaning may have renamed the copy without having synced the directory."""
    fill(path, 2)
    (oldest, _) = list_segments(path)
    calls: list[tuple[str, str]] = []

    def kill_before_the_sync(call: Call) -> Any:
        if call.name == "fsync" and call.path == os.path.dirname(path):
            raise Interrupted
        return call.perform()

    def record(call: Call) -> Any:
        calls.append((call.name, call.path))
        return call.perform()

    with intercepted(kill_before_the_sync), pytest.raises(Interrupted):
        clean_segments(path, Rotation(compress="gzip"))
    assert os.path.exists(oldest.path)
    assert os.path.exists(oldest.path + ENDINGS["gzip"])
    with intercepted(record):
        clean_segments(path, Rotation(compress="gzip"))
    assert ("fsync", os.path.dirname(path)) in calls[: calls.index(("unlink", oldest.path))]
