"""MetricsAppender: the files and their fields, sharing, closing, its directory."""

from __future__ import annotations

import copy
import errno
import inspect
import json
import math
import os
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from metrics_appender import ClosedError, InvalidRecordError, MetricsAppender, appender

INSTANT = 1760970309.143542
TIMES = {"timestamp": INSTANT, "timestamp_iso": "2025-10-20T14:25:09.143542+00:00"}
# method, arguments by position, file, the record in its order
WRITTEN: list[tuple[str, tuple[Any, ...], str, dict[str, Any]]] = [
    (
        "append_performance_metric",
        ("My Skill", "e-1", 25, "me", True, "KeyError", 12.5, INSTANT),
        "My Skill_performance.json",
        {
            "execution_id": "e-1",
            **TIMES,
            "skill_name": "My Skill",
            "agent": "me",
            "execution_time_ms": 25,
        }
        | {
            "exception_occurred": True,
            "exception_type": "KeyError",
            "memory_usage_mb": 12.5,
            "metric_type": "performance",
        },
    ),
    (
        "append_outcome_metric",
        ("My Skill", "e-2", "promote", None, False, 0.75, "because", "me", INSTANT),
        "My Skill_outcomes.json",
        {
            "execution_id": "e-2",
            **TIMES,
            "skill_name": "My Skill",
            "agent": "me",
            "decision": "promote",
            "expected_decision": None,
        }
        | {"correct": False, "confidence": 0.75, "reasoning": "because", "metric_type": "outcome"},
    ),
    (
        "append_fidelity_metric",
        ("My Skill", "e-3", 0.5, 2, 2, {"b": True, "a": False}, "me", INSTANT),
        "My Skill_fidelity.json",
        {
            "execution_id": "e-3",
            **TIMES,
            "skill_name": "My Skill",
            "agent": "me",
            "pattern_fidelity": 0.5,
            "patterns_followed": 2,
        }
        | {
            "patterns_missed": 2,
            "patterns_detail": {"b": True, "a": False},
            "metric_type": "fidelity",
        },
    ),
    (
        "append_promotion_event",
        ("My Skill", "prototype", "staged", "Zoë", "T-1", "good", {"z": 1, "a": [None]}, INSTANT),
        "My Skill_promotion_log.json",
        {
            "event_id": "promo_My Skill_1760970309_",
            **TIMES,
            "skill_name": "My Skill",
            "from_state": "prototype",
            "to_state": "staged",
        }
        | {
            "approver": "Zoë",
            "approval_ticket": "T-1",
            "reason": "good",
            "automated_checks": {"z": 1, "a": [None]},
        }
        | {"event_type": "promotion"},
    ),
    (
        "append_rollback_event",
        ("My Skill", "staged", "prototype", "slow", "p99", False, INSTANT),
        "My Skill_promotion_log.json",
        {
            "event_id": "rollback_My Skill_1760970309_",
            **TIMES,
            "skill_name": "My Skill",
            "from_state": "staged",
            "to_state": "prototype",
        }
        | {
            "trigger_reason": "slow",
            "trigger_metric": "p99",
            "automated": False,
            "event_type": "rollback",
        },
    ),
]


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsAppender:
    """An appender that does not wait for the disk."""
    return MetricsAppender(tmp_path, durability="os")


@pytest.mark.parametrize(
    ("method", "arguments", "filename", "expected"), WRITTEN, ids=[case[0] for case in WRITTEN]
)
def test_every_method_writes_its_fields_in_order_to_its_file(
    metrics: MetricsAppender,
    method: str,
    arguments: tuple[Any, ...],
    filename: str,
    expected: dict[str, Any],
) -> None:
    """By position or by name, a record has exactly these fields in this order, the marker last."""
    append = getattr(metrics, method)
    named = dict(zip(inspect.signature(append).parameters, arguments, strict=True))
    assert append(*arguments) is None
    assert append(**named) is None
    assert os.listdir(metrics.metrics_dir) == [filename]
    lines = (metrics.metrics_dir / filename).read_text(encoding="utf-8").splitlines()
    records = metrics.read_metrics(filename)
    assert [json.loads(line) for line in lines] == records
    assert len(records) == 2
    for record in records:
        if "event_id" in record:
            record["event_id"] = record["event_id"][:-8]
        assert repr(record) == repr(expected)


def test_arguments_that_are_not_given_are_written_by_their_defaults(
    metrics: MetricsAppender,
) -> None:
    """Defaults are as in the signatures: no exception, no memory, automated."""
    metrics.append_performance_metric("s", "e", 1, "a")
    metrics.append_rollback_event("s", "f", "t", "r", "m")
    (record,) = metrics.read_metrics("s_performance.json")
    assert (record["exception_occurred"], record["exception_type"], record["memory_usage_mb"]) == (
        False,
        None,
        None,
    )
    assert metrics.read_metrics("s_promotion_log.json")[0]["automated"] is True


def test_promotions_and_rollbacks_of_a_skill_share_one_file_in_order(
    metrics: MetricsAppender,
) -> None:
    """The log has a skill's history from first to last, and `limit` gives its end."""
    for _ in range(2):
        metrics.append_promotion_event("s", "f", "t", "p", "k", "r", {})
        metrics.append_rollback_event("s", "t", "f", "r", "m")
    types = [record["event_type"] for record in metrics.read_metrics("s_promotion_log.json")]
    assert types == ["promotion", "rollback"] * 2
    assert [
        record["event_type"] for record in metrics.read_metrics("s_promotion_log.json", 3)
    ] == types[-3:]


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "never"},
        {"durability": None},
        {"lock_timeout": -1},
        {"lock_timeout": math.nan},
    ],
)
@pytest.mark.parametrize("wrong", [{}, {"lock_timeout": "5"}])
def test_a_wrong_option_is_refused_before_the_directory_is_made(
    tmp_path: Path, options: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """A typo in an option is an error at once, not when the disk fails."""
    with pytest.raises(InvalidRecordError):
        MetricsAppender(tmp_path / "metrics", **{**options, **wrong})
    assert not (tmp_path / "metrics").exists()


def test_the_directory_is_made_with_all_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path or text, relative or not, is made; a directory that exists is used as it is."""
    monkeypatch.chdir(tmp_path)
    for given in (
        tmp_path / "a" / "b",
        str(tmp_path / "c" / "d"),
        Path("e") / "f",
        "g/h",
        tmp_path / "a" / "b",
    ):
        metrics_dir = MetricsAppender(given).metrics_dir
        assert metrics_dir == tmp_path / given
        assert metrics_dir.is_dir()


def test_a_file_in_the_place_of_the_directory_is_an_os_error(tmp_path: Path) -> None:
    """The error is the system's own, and the file is left alone."""
    (tmp_path / "file").write_text("text")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            MetricsAppender(wrong)
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("depth", [0, 1])
def test_a_directory_removed_under_a_living_appender_is_made_again(
    tmp_path: Path, depth: int
) -> None:
    """Where a cleaner removed the directory and its parent, the next append makes both again."""
    metrics = MetricsAppender(tmp_path / "a" / "b")
    metrics.append_performance_metric("s", "lost", 1, "a")
    shutil.rmtree([metrics.metrics_dir, metrics.metrics_dir.parent][depth])
    assert metrics.read_metrics("s_performance.json") == []
    for name in ("first", "second"):
        metrics.append_performance_metric("s", name, 1, "a")
        metrics.append_rollback_event("s", name, "t", "r", "m")
    assert [record["execution_id"] for record in metrics.read_metrics("s_performance.json")] == [
        "first",
        "second",
    ]
    assert [record["from_state"] for record in metrics.read_metrics("s_promotion_log.json")] == [
        "first",
        "second",
    ]


def test_an_os_error_keeps_its_kind_and_says_that_nothing_was_written(
    metrics: MetricsAppender,
) -> None:
    """A directory with the file's name gives the system's error with errno, file and outcome."""
    path = metrics.metrics_dir / "s_performance.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        metrics.append_performance_metric("s", "e", 1, "a")
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(path))
    assert any(
        "nothing was written" in note and str(path) in note for note in caught.value.__notes__
    )


def test_a_directory_that_cannot_be_made_is_reported_with_what_became_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The constructor raises it, and so does an append that finds the directory missing."""
    metrics = MetricsAppender(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        MetricsAppender(tmp_path / "file")
    assert caught.value.__notes__ == [f"{tmp_path / 'file'}: nothing was written"]

    def refuse(path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OSError, match="Read-only") as refused:
        MetricsAppender(tmp_path / "new")
    assert (refused.value.filename, refused.value.__notes__) == (
        f"{tmp_path}/new",
        [f"{tmp_path}/new: nothing was written"],
    )
    with pytest.raises(OSError, match="Read-only") as refused:
        metrics.append_performance_metric("s", "e", 1, "a")
    assert (refused.value.filename, refused.value.__notes__) == (
        f"{tmp_path}/gone",
        [f"{tmp_path}/gone/s_performance.json: nothing was written"],
    )


def test_threads_share_one_appender(metrics: MetricsAppender) -> None:
    """Eight threads, four files: every record once, each thread's in the order of its calls."""
    start = threading.Barrier(8)

    def work(agent: int) -> None:
        start.wait(30)
        for number in range(25):
            metrics.append_performance_metric(f"s{number % 2}", str(number), number, str(agent))
            metrics.append_rollback_event(f"s{number % 2}", str(agent), str(number), "r", "m")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for skill in (0, 1):
        records = metrics.read_metrics(f"s{skill}_performance.json")
        events = metrics.read_metrics(f"s{skill}_promotion_log.json")
        for agent in range(8):
            expected = list(range(skill, 25, 2))
            assert [
                record["execution_time_ms"] for record in records if record["agent"] == str(agent)
            ] == expected
            assert [
                int(event["to_state"]) for event in events if event["from_state"] == str(agent)
            ] == expected
        assert len({event["event_id"] for event in events}) == len(events)


def test_an_appender_survives_pickling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copy writes to the same directory with the same options, in whatever process."""
    monkeypatch.chdir(tmp_path)
    metrics = MetricsAppender("relative", durability="os", lock_timeout=None)
    metrics.append_performance_metric("s", "0", 1, "a")
    data = pickle.dumps(metrics)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for number, made in enumerate(
        [pickle.loads(data), copy.copy(metrics), copy.deepcopy(metrics)], start=1
    ):
        assert repr(made) == repr(metrics)
        made.append_performance_metric("s", str(number), 1, "a")
    assert [
        record["execution_id"] for record in metrics.read_metrics("s_performance.json")
    ] == list("0123")


def test_close_refuses_appends_and_may_be_repeated(metrics: MetricsAppender) -> None:
    """After `close()` nothing is written to a file used before or a new one; reading goes on."""
    metrics.append_performance_metric("s", "e", 1, "a")
    for _ in range(3):
        metrics.close()
    for skill in ("s", "new"):
        with pytest.raises(ClosedError):
            metrics.append_performance_metric(skill, "late", 1, "a")
    assert [record["execution_id"] for record in metrics.read_metrics("s_performance.json")] == [
        "e"
    ]
    assert os.listdir(metrics.metrics_dir) == ["s_performance.json"]


def _leave_by_an_error(metrics: MetricsAppender) -> None:
    with metrics as same:
        assert same is metrics
        raise KeyError("mine")


def test_a_with_block_closes_the_appender_and_lets_errors_pass(tmp_path: Path) -> None:
    """The `with` gives the appender itself, and closes it however the block ends."""
    metrics = MetricsAppender(tmp_path)
    with pytest.raises(KeyError, match="mine"):
        _leave_by_an_error(metrics)
    with pytest.raises(ClosedError):
        metrics.append_performance_metric("s", "e", 1, "a")


def test_more_skills_than_an_appender_remembers_are_all_written(
    metrics: MetricsAppender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory per file is bounded without any effect, and `close()` closes all files."""
    monkeypatch.setattr(appender, "_MOST_WRITERS", 3)
    for round_number in ("1", "2"):
        for skill in range(7):
            metrics.append_performance_metric(f"s{skill}", round_number, 1, "a")
    metrics.close()
    for skill in range(7):
        assert [
            record["execution_id"] for record in metrics.read_metrics(f"s{skill}_performance.json")
        ] == ["1", "2"]
        with pytest.raises(ClosedError):
            metrics.append_performance_metric(f"s{skill}", "late", 1, "a")
