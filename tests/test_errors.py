"""The tree of errors: each is a fitting built-in too, holds its facts, and can be pickled."""

from __future__ import annotations

import copy
import errno
import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from metrics_appender import (
    AppendLog,
    ClosedError,
    CorruptLineError,
    CorruptSegmentError,
    CursorGoneError,
    Fault,
    InvalidRecordError,
    LockTimeoutError,
    MetricsAppender,
    MetricsAppenderError,
    repair,
)
from metrics_appender.outcome import (
    MAY_BE_WRITTEN,
    NOTHING_WRITTEN,
    copy_for_another_caller,
    explain,
    note_partly_written,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAULTS = (
    Fault("agent", "5 (int)", "pass text (str)"),
    Fault("confidence", "2 (int)", "pass a number from 0 to 1"),
)


def every_error() -> list[MetricsAppenderError]:
    """Return one error of each kind, with a note."""
    errors = [
        InvalidRecordError(FAULTS),
        InvalidRecordError(FAULTS[:1]),
        InvalidRecordError(FAULTS, outcome=""),
        LockTimeoutError("/data/s_performance.json", 2.5),
        CorruptLineError("Expecting value", "}", 0, "/data/s_performance.json", 7, 123),
        CorruptSegmentError(
            "/data/s_performance.json.000000000000000-000000000000009.gz", "it ends in the middle"
        ),
        CursorGoneError("/data/s_performance.json", "v1-0", "no file that is left holds it"),
        ClosedError("/data/s_performance.json: append after close(); make a new one"),
    ]
    for error in errors:
        note_partly_written(error, "events.ndjson", "the first 16 records are acknowledged", [])
    return errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InvalidRecordError, ValueError),
        (LockTimeoutError, TimeoutError),
        (LockTimeoutError, OSError),
        (CorruptLineError, json.JSONDecodeError),
        (CorruptLineError, ValueError),
        (CorruptSegmentError, OSError),
        (CursorGoneError, LookupError),
        (ClosedError, ValueError),
    ],
)
def test_every_error_is_of_the_tree_and_a_fitting_builtin(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    """A caller may catch the library's root, or what Python's own modules would raise."""
    assert issubclass(kind, MetricsAppenderError)
    assert issubclass(kind, builtin)


def test_the_root_is_no_builtin_of_its_own() -> None:
    """Catching the root catches no error of other libraries."""
    assert MetricsAppenderError.__bases__ == (Exception,)


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_pickling_with_their_facts(
    error: MetricsAppenderError, protocol: int
) -> None:
    """Type, text, notes and every attribute are the same in an unpickled one and in a copy."""
    for again in (
        pickle.loads(pickle.dumps(error, protocol)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert again.__notes__ == ["events.ndjson: the first 16 records are acknowledged"]


def test_an_invalid_record_error_lists_field_value_and_remedy() -> None:
    """It lists field, value and remedy of each fault, and says that nothing was written."""
    text = str(InvalidRecordError(FAULTS))
    for fault in FAULTS:
        assert f"{fault.field}: got {fault.value}; {fault.reason}" in text
    assert NOTHING_WRITTEN in text
    assert NOTHING_WRITTEN in str(InvalidRecordError(FAULTS[:1]))
    assert InvalidRecordError(FAULTS).faults == FAULTS


def test_what_is_wrong_with_a_reading_says_nothing_of_writing(tmp_path: Path) -> None:
    """An error of a read has no outcome of a record; an append to the same file has one."""
    metrics = MetricsAppender(tmp_path)
    log = AppendLog(tmp_path / "any.ndjson")
    wrong: tuple[Callable[[], object], ...] = (
        lambda: metrics.read_metrics("any.ndjson", -1),
        lambda: metrics.read_metrics("../any.ndjson"),
        lambda: metrics.iter_metrics("any.ndjson\n"),
        lambda: log.read(on_error="pass"),  # type: ignore[arg-type]
        lambda: log.follow("the end"),
        lambda: log.follow(poll_seconds=-1),
        lambda: log.load_cursor("a.b"),
        lambda: repair(tmp_path, keep=["torn_tail"]),
    )
    for read in wrong:
        with pytest.raises(InvalidRecordError) as caught:
            read()
        assert "written" not in str(caught.value)
        assert "; pass " in str(caught.value)
    with pytest.raises(InvalidRecordError, match="nothing was written"):
        metrics.append_performance_metric("../any", "e", 1, "a")


def test_a_lock_timeout_error_names_file_and_seconds() -> None:
    """It is an `OSError` with an errno and a filename, and says that nothing was written."""
    error = LockTimeoutError("/data/a.json", 2.5)
    assert (error.errno, error.filename, error.timeout_seconds) == (
        errno.ETIMEDOUT,
        "/data/a.json",
        2.5,
    )
    assert all(part in str(error) for part in ("2.5 s", "/data/a.json", NOTHING_WRITTEN))


def test_a_corrupt_line_error_says_where() -> None:
    """It has file, line and byte beside what `json.JSONDecodeError` has."""
    error = CorruptLineError("Expecting value", "}", 0, "/data/a.json", 7, 123)
    assert (error.path, error.line_number, error.byte_offset) == ("/data/a.json", 7, 123)
    assert (error.msg, error.doc, error.pos) == ("Expecting value", "}", 0)
    assert "/data/a.json, line 7 (byte 123): Expecting value" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, PermissionError),
        (errno.ENOENT, FileNotFoundError),
        (errno.ENOSPC, OSError),
        (errno.EIO, OSError),
    ],
)
def test_an_explained_os_error_keeps_its_kind_and_says_what_became_of_the_record(
    code: int, kind: type[OSError]
) -> None:
    """Type and errno stay; file and outcome are added, and survive copying and pickling."""
    error = explain(OSError(code, "the system's words"), "/data/a.json", NOTHING_WRITTEN)
    for found in (
        error,
        copy_for_another_caller(error),
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        copy.deepcopy(copy_for_another_caller(error)),
    ):
        assert type(found) is kind
        assert (found.errno, found.filename) == (code, "/data/a.json")
        assert found.__notes__ == [f"/data/a.json: {NOTHING_WRITTEN}"]


def test_the_first_outcome_stands() -> None:
    """A later explanation adds no outcome, and does not remove the file's name."""
    error = explain(
        OSError(errno.EIO, "the system's words", "/data/a.json.torn"),
        "/data/a.json",
        MAY_BE_WRITTEN,
    )
    explain(error, "/data/a.json", NOTHING_WRITTEN)
    assert error.filename == "/data/a.json.torn"
    assert error.__notes__ == [f"/data/a.json: {MAY_BE_WRITTEN}"]


def _fail(directory: str) -> NoReturn:
    metrics: Any = MetricsAppender(directory)
    metrics.append_performance_metric("a/b", 5, -1, None)
    raise AssertionError


def test_an_error_of_a_pools_worker_reaches_its_parent(tmp_path: Path) -> None:
    """It is unpickled with its faults; one that could not be would break the pool."""
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(InvalidRecordError) as caught,
    ):
        pool.submit(_fail, str(tmp_path)).result()
    fields = {fault.field for fault in caught.value.faults}
    assert fields == {"execution_id", "skill_name", "agent", "execution_time_ms"}
