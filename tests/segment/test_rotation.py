"""Rotation: an append that finds the file full or too old seals it; every line is kept once."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from metrics_appender import (
    AppendLog,
    InvalidRecordError,
    LockTimeoutError,
    MetricsAppender,
    Rotation,
)
from metrics_appender.aio import AsyncAppendLog, AsyncMetricsAppender
from metrics_appender.errors import ClosedError
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.filename import sealed_path, torn_path
from metrics_appender.segment import sealing
from metrics_appender.segment.segments import base_of_active, list_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conftest import Waiting

LINE = b'{"n":1}\n'
SMALL = Rotation(max_bytes=len(LINE))
HOUR = 3600.0


def names_beside(path: str) -> list[str]:
    """Return the names in the directory without the name of the log as their prefix, sorted."""
    return sorted(
        name.removeprefix(os.path.basename(path)) for name in os.listdir(os.path.dirname(path))
    )


def read(path: str) -> bytes:
    """Return a file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def test_the_append_that_finds_the_file_full_seals_it_and_begins_the_next(path: str) -> None:
    """A segment is named by its range of the stream, and holds what the file held."""
    log = AppendLog(path, rotation=Rotation(max_bytes=2 * len(LINE)))
    for _ in range(5):
        log.append_line(LINE)
    assert names_beside(path) == [
        "",
        ".000000000000000-000000000000016",
        ".000000000000016-000000000000032",
    ]
    assert read(path) == LINE
    assert [read(segment.path) for segment in list_segments(path)] == [LINE * 2] * 2
    assert base_of_active(path) == 32
    assert log.read() == [{"n": 1}] * 5
    assert log.read(4) == [{"n": 1}] * 4


def test_without_the_option_nothing_is_ever_sealed(path: str) -> None:
    """Rotation is off by default."""
    log = AppendLog(path)
    for _ in range(100):
        log.append_line(LINE)
    assert names_beside(path) == [""]


@pytest.mark.parametrize("option", [None, SMALL])
def test_a_log_of_another_process_notices_and_loses_nothing(
    path: str, option: Rotation | None
) -> None:
    """Another log of the file, with the option or without it, continues in the next file."""
    log, other = AppendLog(path, rotation=SMALL), AppendLog(path, rotation=option)
    for number in range(6):
        (log, other)[number % 2].append({"n": number})
    assert [record["n"] for record in log.read()] == list(range(6))


def test_a_log_that_waits_for_the_lock_of_the_sealed_file_goes_on_in_the_next(
    path: str, hold: Callable[[str], AbstractContextManager[int]], wait: Any
) -> None:
    """A waiter gets the lock of a file that lost its name, and opens the name anew."""
    import threading

    AppendLog(path).append_line(LINE)
    with hold(path):
        threads = [
            threading.Thread(target=AppendLog(path, rotation=option).append, args=({"n": 2},))
            for option in (SMALL, None, SMALL)
        ]
        for thread in threads:
            thread.start()
        wait.until(
            lambda: (
                sum(thread.name == "metrics-appender-waiter" for thread in threading.enumerate())
                == len(threads)
            )
        )
    for thread in threads:
        thread.join()
    assert [record["n"] for record in AppendLog(path).read()] == [1, 2, 2, 2]
    assert len(list_segments(path)) >= 1


def test_a_torn_tail_is_quarantined_before_the_file_is_sealed(path: str) -> None:
    """A segment holds whole lines only, and its name says their length."""
    with open(path, "wb") as file:
        file.write(LINE + b'{"torn')
    AppendLog(path, rotation=SMALL).append({"n": 2})
    (segment,) = list_segments(path)
    assert read(segment.path) == LINE
    assert segment.end == len(LINE)
    assert read(torn_path(path)) == b'{"torn'
    assert [record["n"] for record in AppendLog(path).read()] == [1, 2]


def test_a_file_with_only_a_torn_tail_is_not_sealed(path: str) -> None:
    """There is never an empty segment."""
    with open(path, "wb") as file:
        file.write(b'{"torn-and-long')
    AppendLog(path, rotation=SMALL).append_line(LINE)
    assert names_beside(path) == ["", ".torn"]
    assert read(path) == LINE


@pytest.mark.parametrize("age", [HOUR, timedelta(hours=1)])
@pytest.mark.parametrize("has_birth", [True, False])
def test_a_file_is_sealed_when_it_is_too_old(
    path: str, age: float | timedelta, has_birth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its birth time, or else since it was first seen; the next append seals an idle file."""
    if not has_birth:
        monkeypatch.setattr(fs_calls, "born_at", lambda fd: None)
    log = AppendLog(path, rotation=Rotation(max_age=age))
    now = time.time()
    for later, count in ((0, 0), (0, 0), (HOUR - 60, 0), (HOUR + 60, 1)):
        with mock.patch.object(sealing, "time", mock.Mock(time=lambda later=later: now + later)):
            log.append_line(LINE)
        assert len(list_segments(path)) == count
    assert len(read(list_segments(path)[0].path)) == 3 * len(LINE)


@pytest.mark.parametrize("has_birth", [True, False])
def test_a_file_that_lay_empty_is_no_older_than_its_first_line(
    path: str, has_birth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `rotate()`: the first line is not sealed by itself."""
    if not has_birth:
        monkeypatch.setattr(fs_calls, "born_at", lambda fd: None)
    log = AppendLog(path, rotation=Rotation(max_age=HOUR))
    log.append_line(LINE)
    log.rotate()
    now = time.time() + 2 * HOUR
    for later, count in ((0, 1), (0, 1), (HOUR - 60, 1), (HOUR + 60, 2)):
        with mock.patch.object(sealing, "time", mock.Mock(time=lambda later=later: now + later)):
            log.append_line(LINE)
        assert len(list_segments(path)) == count
    assert len(read(list_segments(path)[-1].path)) == 3 * len(LINE)


def test_a_file_with_the_number_of_one_before_is_no_older_than_its_birth(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inode number is reused after its file was deleted."""
    log = AppendLog(path, rotation=Rotation(max_age=HOUR))
    log.append_line(LINE)
    now = time.time() + 2 * HOUR
    monkeypatch.setattr(fs_calls, "born_at", lambda fd: now)
    with mock.patch.object(sealing, "time", mock.Mock(time=lambda: now)):
        log.append_line(LINE)
    assert list_segments(path) == []


def test_the_birth_of_a_file_is_not_its_change(path: str) -> None:
    """It is between the times before and after the creation, whatever was done since."""
    before = time.time()
    with open(path, "wb") as file:
        after = time.time()
        os.utime(path, (1, 1))
        born = fs_calls.born_at(file.fileno())
    if born is not None:  # a file system may keep none
        assert before - 0.1 <= born <= after + 0.1


def test_rotating_by_hand_seals_what_is_there(path: str) -> None:
    """With or without the option; returns the path of the segment, or `None` without a line."""
    log = AppendLog(path)
    assert log.rotate() is None
    assert names_beside(path) == []
    log.append_line(LINE)
    assert log.rotate() == sealed_path(path, 0, 8)
    assert log.rotate() is None
    log.append_line(LINE)
    assert AppendLog(path, rotation=Rotation(max_bytes=1000)).rotate() == sealed_path(path, 8, 16)
    assert log.read() == [{"n": 1}] * 2
    log.close()
    with pytest.raises(ClosedError):
        log.rotate()


def test_rotating_by_hand_waits_for_the_lock_until_its_deadline(
    path: str, hold: Callable[[str], AbstractContextManager[int]]
) -> None:
    """Then it raises as an append does, and seals nothing, then or later."""
    log = AppendLog(path, lock_timeout=0.05)
    log.append_line(LINE)
    with hold(path), pytest.raises(LockTimeoutError):
        log.rotate()
    log.append_line(LINE)
    assert names_beside(path) == [""]
    assert log.rotate() is not None


def test_an_appender_rotates_each_file_by_itself(tmp_path: Path) -> None:
    """The option applies to every file of the directory, and `rotate` takes the name of one."""
    with MetricsAppender(tmp_path, rotation=Rotation(max_bytes=1)) as metrics:
        for number in range(3):
            metrics.append_performance_metric("s", str(number), 1, "agent")
        metrics.append_fidelity_metric("s", "f", 0.5, 1, 1, {}, "agent")
        sealed = metrics.rotate("s_fidelity.json")
        assert sealed is not None
        assert os.path.basename(sealed).startswith("s_fidelity.json.000000000000000-")
        assert metrics.rotate("none.json") is None
        assert [
            record["execution_id"] for record in metrics.read_metrics("s_performance.json", 2)
        ] == ["1", "2"]
        assert len(list(metrics.iter_metrics("s_performance.json"))) == 3
        with pytest.raises(InvalidRecordError):
            metrics.rotate("../other.json")


def test_the_option_is_pickled_along(path: str, tmp_path: Path) -> None:
    """A spawned worker rotates as its parent does."""
    for face in (AppendLog(path, rotation=SMALL), MetricsAppender(tmp_path, rotation=SMALL)):
        assert repr(pickle.loads(pickle.dumps(face))) == repr(face)
        assert repr(SMALL) in repr(face)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_bytes", value) for value in (0, -1, 1.5, True, "1")),
        *(("keep_segments", value) for value in (0, 2.0)),
        *(
            (field, value)
            for field in ("max_age", "keep_age")
            for value in (0, -1, float("nan"), True, "1h", timedelta(0))
        ),
        *(("compress", value) for value in ("bz2", 1, True, ["gzip"])),
    ],
)
def test_an_invalid_rotation_is_refused_with_the_field(field: str, value: Any) -> None:
    """Every wrong value is named, at construction."""
    with pytest.raises(InvalidRecordError, match=field) as caught:
        Rotation(**{field: value})
    assert [fault.field for fault in caught.value.faults] == [field]


def test_something_else_than_a_rotation_is_refused(path: str, tmp_path: Path) -> None:
    """For instance a number."""
    mistake: Any = 5
    for make in (
        lambda: AppendLog(path, rotation=mistake),
        lambda: MetricsAppender(tmp_path, rotation=mistake),
    ):
        with pytest.raises(InvalidRecordError, match="rotation"):
            make()


def test_zstd_that_is_not_installed_is_reported_at_construction() -> None:
    """The message says how to install it."""
    code = """
import sys
sys.modules["zstandard"] = None
from metrics_appender import Rotation
Rotation(compress="gzip")
try:
    Rotation(compress="zstd")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'metrics-appender[zstd]'" in done.stdout


def test_a_segment_is_never_overwritten(path: str) -> None:
    """If anything has its name already, the append fails, and nothing is lost."""
    log = AppendLog(path, rotation=SMALL)
    log.append_line(LINE)
    os.symlink("nowhere", sealed_path(path, 0, 8))
    with (
        mock.patch.object(sealing, "base_of_active", return_value=0),
        pytest.raises(FileExistsError) as caught,
    ):
        log.append_line(LINE)
    assert "nothing was written" in caught.value.__notes__[0]
    os.unlink(sealed_path(path, 0, 8))
    log.append_line(LINE)
    assert log.read() == [{"n": 1}] * 2


def test_a_file_that_another_program_renames_in_mid_seal_is_not_taken_for_ours(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is checked once more right before the file is renamed."""
    log = AppendLog(path, rotation=SMALL)
    log.append_line(LINE)
    real = fs_calls.list_names

    def rename(directory: str) -> list[str]:
        os.rename(path, path + ".1")
        with open(path, "wb") as file:
            file.write(b"{}\n")
        return real(directory)

    with monkeypatch.context() as patched:
        patched.setattr(fs_calls, "list_names", rename)
        with pytest.raises(OSError, match="renamed by another program"):
            log.append_line(LINE)
    assert names_beside(path) == ["", ".1"]
    assert read(path) == b"{}\n"


def test_a_recovered_tail_is_logged_once_with_its_length(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By an append that seals or not, after the lock was released: the handler may append too."""
    log = AppendLog(path)
    seen = []

    def append_too(record: Any) -> bool:
        seen.append(record.getMessage())
        log.append({"logged": len(seen)})
        return True

    caplog.handler.addFilter(append_too)
    for number, option in enumerate((None, SMALL), 1):
        with open(path, "ab") as file:
            file.write(LINE + b"torn-bytes"[:number])
        writer = AppendLog(path, rotation=option)
        writer.append_line(LINE)
        writer.append_line(LINE)
        assert len(seen) == number
        assert f" {number} bytes " in seen[-1]
        assert torn_path(path) in seen[-1]
    assert {record.name for record in caplog.records} == {"metrics_appender"}
    caplog.handler.removeFilter(append_too)


def test_an_append_succeeds_though_a_logging_handler_fails(
    path: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is durable, so an error would mislead; it is printed, as `logging` does it."""

    def fail(_: object) -> bool:
        raise RuntimeError("the log shipper is down")

    with open(path, "wb") as file:
        file.write(b"torn")
    caplog.handler.addFilter(fail)
    try:
        AppendLog(path).append_line(LINE)
    finally:
        caplog.handler.removeFilter(fail)
    assert "the log shipper is down" in capsys.readouterr().err
    assert read(path) == LINE


def test_the_classes_for_asyncio_rotate_too(path: str, tmp_path: Path) -> None:
    """By size and by hand, and closing waits for the cleaning."""
    option = Rotation(max_bytes=1, compress="gzip")

    async def main() -> None:
        async with AsyncAppendLog(path, rotation=option) as log:
            assert repr(pickle.loads(pickle.dumps(log))) == repr(log)
            for number in range(3):
                await log.append({"n": number})
            assert await log.rotate() is not None
            assert [record["n"] for record in await log.read(2)] == [1, 2]
            assert [record["n"] async for record in log.iter_records(on_error="skip")] == [0, 1, 2]
        async with AsyncMetricsAppender(tmp_path, rotation=option) as metrics:
            assert repr(pickle.loads(pickle.dumps(metrics))) == repr(metrics)
            await metrics.append_fidelity_metric("s", "f", 0.5, 1, 1, {}, "agent")
            assert await metrics.rotate("s_fidelity.json") is not None
            assert len(await metrics.read_metrics("s_fidelity.json", 5, on_error="raise")) == 1

    asyncio.run(main())
    assert [segment.compression for segment in list_segments(path)] == ["gzip", "gzip", None]


@pytest.mark.parametrize("call", ["rename", "sync_directory"])
def test_an_error_of_the_disk_reaches_the_caller_though_another_thread_met_it(
    path: str,
    call: str,
    hold: Callable[[str], AbstractContextManager[int]],
    wait: Waiting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While another process holds the lock, a thread waits in the caller's place, and seals."""
    log = AppendLog(path)
    log.append({"n": 1})
    errors: list[BaseException] = []

    def fail(*_: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def rotate() -> None:
        try:
            log.rotate()
        except OSError as error:
            errors.append(error)

    with hold(path):
        thread = threading.Thread(target=rotate)
        thread.start()
        wait.until(
            lambda: any(other.name == "metrics-appender-waiter" for other in threading.enumerate())
        )
        monkeypatch.setattr(fs_calls, call, fail)
    thread.join()
    assert [(error.errno, error.filename) for error in errors if isinstance(error, OSError)] == [
        (errno.EIO, path)
    ]


def test_rotating_in_a_signal_handler_in_mid_append_is_refused_at_once(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could only wait for its own thread, with the lock held."""
    log = AppendLog(path, lock_timeout=None)
    log.append({"n": 0})
    real = fs_calls.sync_file
    errors: list[OSError] = []

    def sync(fd: int) -> None:
        monkeypatch.undo()
        try:
            log.rotate()
        except OSError as error:
            errors.append(error)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    log.append({"n": 1})
    assert [error.errno for error in errors] == [errno.EDEADLK]
    assert [record["n"] for record in log.read()] == [0, 1]
    assert log.rotate() is not None
