"""Typed records of any kind in one call, blocking or asynchronous: each file all or nothing."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from metrics_appender import InvalidRecordError, MetricsAppender, appender
from metrics_appender.aio import AsyncMetricsAppender, batches
from metrics_appender.fs import calls as fs_calls
from metrics_appender.records.metrics import (
    FidelityMetric,
    OutcomeMetric,
    PerformanceMetric,
    PromotionEvent,
    RollbackEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Append = Callable[[Any], int]

SKILL = "YouTube Live Chat"
ROLLBACK = RollbackEvent(
    skill_name=SKILL,
    from_state="production",
    to_state="staged",
    trigger_reason="slow",
    trigger_metric="p95",
)
OUTCOME = OutcomeMetric(
    skill_name=SKILL,
    execution_id="run-1",
    decision="reply",
    expected_decision=None,
    correct=True,
    confidence=0.9,
    reasoning="asked by name",
    agent="qwen",
)
FIDELITY = FidelityMetric(
    skill_name="Émoji 🎛️",
    execution_id="run-1",
    pattern_fidelity=0.5,
    patterns_followed=1,
    patterns_missed=1,
    patterns_detail={"greets": True, "thanks": False},
    agent="gemma",
)
PROMOTION = PromotionEvent(
    skill_name=SKILL,
    from_state="prototype",
    to_state="staged",
    approver="0102",
    approval_ticket="T-1",
    reason="fidelity",
    automated_checks={"tests": True},
)


def run(number: int, skill: str = SKILL, **fields: Any) -> PerformanceMetric:
    """Return a record of one run."""
    return PerformanceMetric(
        skill_name=skill,
        execution_id=f"run-{number}",
        execution_time_ms=number,
        agent="ai_overseer",
        **fields,
    )


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsAppender:
    """An appender in a directory of its own."""
    return MetricsAppender(tmp_path)


@pytest.fixture(params=["blocking", "awaited"])
def append(request: pytest.FixtureRequest, tmp_path: Path, metrics: MetricsAppender) -> Append:
    """Append many, blocking or asynchronously."""
    if request.param == "blocking":
        return metrics.append_many

    async def append_many(records: Any) -> int:
        async with AsyncMetricsAppender(tmp_path, durability="fsync") as appender:
            return await appender.append_many(records)

    return lambda records: asyncio.run(append_many(records))


@pytest.fixture
def syncs(metrics: MetricsAppender, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with each sync of a file."""
    made: list[int] = []
    real = fs_calls.sync_file

    def sync(fd: int) -> None:
        made.append(fd)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    return made


def test_records_of_any_kind_go_to_their_files(
    append: Append, metrics: MetricsAppender, syncs: list[int]
) -> None:
    """Files have them in order, as the typed methods write them, for one sync per file."""
    batch = [
        run(1, timestamp=1760970309.143542),
        OUTCOME,
        PROMOTION,
        run(2),
        FIDELITY,
        ROLLBACK,
        run(3),
    ]
    assert append(batch) == 7
    assert len(syncs) == 4
    found = metrics.read_metrics(f"{SKILL}_performance.json")
    assert [record["execution_id"] for record in found] == ["run-1", "run-2", "run-3"]
    metrics.append_performance_metric(SKILL, "run-1", 1, "ai_overseer", timestamp=1760970309.143542)
    assert list(found[0].items()) == list(
        metrics.read_metrics(f"{SKILL}_performance.json", limit=1)[0].items()
    )
    promotion, rollback = metrics.read_metrics(f"{SKILL}_promotion_log.json")
    assert (promotion["event_type"], rollback["event_type"]) == ("promotion", "rollback")
    assert promotion["event_id"].startswith(f"promo_{SKILL}_{int(promotion['timestamp'])}_")
    assert promotion["event_id"] != rollback["event_id"]
    assert metrics.read_metrics(f"{SKILL}_outcomes.json")[0]["reasoning"] == "asked by name"
    assert metrics.read_metrics("Émoji 🎛️_fidelity.json")[0]["patterns_detail"] == {
        "greets": True,
        "thanks": False,
    }


def test_each_record_is_written_as_it_was_when_it_was_yielded(
    append: Append, metrics: MetricsAppender
) -> None:
    """A generator may fill one dict anew for every record."""

    def filled_anew() -> Iterator[FidelityMetric]:
        detail: dict[str, bool] = {}
        for number in range(300):
            detail["is_even"] = number % 2 == 0
            yield msgspec.structs.replace(FIDELITY, patterns_detail=detail)

    assert append(filled_anew()) == 300
    found = metrics.read_metrics("Émoji 🎛️_fidelity.json")
    assert [record["patterns_detail"]["is_even"] for record in found] == [True, False] * 150


def test_one_wrong_record_keeps_all_of_them_out(append: Append, tmp_path: Path) -> None:
    """Each fault is named with the position of its record, and nothing is written."""
    wrong = run(2, exception_occurred="yes", memory_usage_mb=-1)
    with pytest.raises(InvalidRecordError) as caught:
        append([run(1), OUTCOME, wrong])
    assert [fault.field for fault in caught.value.faults] == [
        "records[2]: exception_occurred",
        "records[2]: memory_usage_mb",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "record", [{"metric_type": "performance"}, None, run(1, skill="../elsewhere")]
)
def test_what_is_no_record_is_refused(append: Append, tmp_path: Path, record: Any) -> None:
    """A dict is refused, and so is a name that would leave the directory."""
    with pytest.raises(InvalidRecordError, match=r"records\[1\]: (record|skill_name): "):
        append([run(0), record])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_has_nothing_of_the_batch_and_the_error_says_what_others_have(
    append: Append, metrics: MetricsAppender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file by itself gets all of its records or none."""
    real = fs_calls.sync_file
    failing = OSError(errno.EIO, "Input/output error")

    def sync(fd: int) -> None:
        if fs_calls.size_of(fd) and b'"outcome"' in fs_calls.read_at(fd, 1 << 16, 0):
            raise failing
        real(fd)

    with monkeypatch.context() as broken:
        broken.setattr(fs_calls, "sync_file", sync)
        with pytest.raises(OSError, match="Input/output error") as caught:
            append([run(1), OUTCOME, run(2), ROLLBACK])
    outcomes = tmp_path / f"{SKILL}_outcomes.json"
    assert caught.value.__notes__ == [
        f"{outcomes}: nothing was written",
        f"{tmp_path}: of these records are acknowledged: 2 in {SKILL}_performance.json",
    ]
    assert outcomes.read_bytes() == b""
    assert len(metrics.read_metrics(f"{SKILL}_performance.json")) == 2
    assert not (tmp_path / f"{SKILL}_promotion_log.json").exists()


def test_where_the_first_records_are_acknowledged_the_error_does_not_deny_it(
    append: Append, metrics: MetricsAppender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error tells of acknowledged records, for a late fault and for a file that fails later."""
    monkeypatch.setattr(appender, "CHUNK_BYTES", 1)
    monkeypatch.setattr(batches, "CHUNK_BYTES", 1)
    monkeypatch.setattr(batches, "_TURN_BYTES", 1)
    runs = f"{SKILL}_performance.json"
    with pytest.raises(InvalidRecordError, match="nothing more was written") as wrong:
        append(map(run, [1, 2, 3, 4, -1]))
    found = len(metrics.read_metrics(runs))
    assert found > 0
    assert wrong.value.__notes__ == [
        f"{tmp_path}: of these records are acknowledged: {found} in {runs}"
    ]

    def refused(fd: int, *_: object) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    def records() -> Iterator[Any]:
        yield from map(run, range(4))
        monkeypatch.setattr(fs_calls, "write", refused)
        yield from map(run, range(4, 8))

    with pytest.raises(OSError, match="Disk quota exceeded") as full:
        append(records())
    kept = len(metrics.read_metrics(runs)) - found
    assert kept > 0
    assert full.value.__notes__ == [
        f"{tmp_path / runs}: nothing more was written",
        f"{tmp_path}: of these records are acknowledged: {kept} in {runs}",
    ]


def test_the_directory_is_made_again(append: Append, tmp_path: Path) -> None:
    """A removed directory is made again, as for a single record."""
    tmp_path.rmdir()
    assert append([run(1)]) == 1
    assert (tmp_path / f"{SKILL}_performance.json").exists()
