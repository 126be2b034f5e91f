"""When a record is of and which event it is: `timestamp`, `timestamp_iso`, `event_id`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metrics_appender import InvalidRecordError, MetricsAppender
from metrics_appender.records.instants import iso_utc

if TYPE_CHECKING:
    from pathlib import Path

LAST_SECOND = 253402300799
INSTANT = 1760970309.143542

Kind = tuple[str, str, tuple[Any, ...]]

PROMOTION: Kind = ("append_promotion_event", "promotion_log", ("f", "t", "p", "k", "r", {}))
ROLLBACK: Kind = ("append_rollback_event", "promotion_log", ("f", "t", "r", "m"))
KINDS: list[Kind] = [
    ("append_performance_metric", "performance", ("e", 1, "a")),
    ("append_outcome_metric", "outcomes", ("e", "d", None, True, 0.5, "r", "a")),
    ("append_fidelity_metric", "fidelity", ("e", 0.5, 1, 1, {}, "a")),
    PROMOTION,
    ROLLBACK,
]

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsAppender:
    """An appender that does not wait for the disk."""
    return MetricsAppender(tmp_path, durability="os")


def append_and_read(
    metrics: MetricsAppender, kind: Kind, skill_name: str = "s", **changed: Any
) -> dict[str, Any]:
    """Append a record of a kind, and return it as read back."""
    method, suffix, arguments = kind
    getattr(metrics, method)(skill_name, *arguments, **changed)
    (record,) = metrics.read_metrics(f"{skill_name}_{suffix}.json", limit=1)
    assert isinstance(record, dict)
    return record


@each_kind
def test_a_timestamp_after_the_year_9999_is_refused(metrics: MetricsAppender, kind: Kind) -> None:
    """ISO 8601 has four digits for the year.

    Milliseconds that were passed for seconds are caught by it too.
    """
    for timestamp in (LAST_SECOND + 1, 1760970309143.0):
        with pytest.raises(InvalidRecordError, match="timestamp"):
            append_and_read(metrics, kind, timestamp=timestamp)
    assert (
        append_and_read(metrics, kind, timestamp=LAST_SECOND)["timestamp_iso"]
        == "9999-12-31T23:59:59+00:00"
    )


@given(st.floats(0, LAST_SECOND))
@example(0.0)
@example(0.9999995)
@example(0.9999994999)
@example(1.5e-6)
@example(2.5e-6)
@example(1760970309.9999999)
@example(951782399.9999998)
@example(253402300798.99997)
@example(float(LAST_SECOND))
@settings(
    deadline=None, max_examples=400, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_timestamp_iso_is_the_instant_as_datetime_writes_it(timestamp: float) -> None:
    """For every instant the text is that of Python's own datetime in UTC."""
    assert iso_utc(timestamp) == datetime.fromtimestamp(timestamp, UTC).isoformat()


@each_kind
def test_the_two_timestamps_of_a_record_are_one_instant(
    metrics: MetricsAppender, kind: Kind
) -> None:
    """`timestamp` is the float that was passed, `timestamp_iso` the same instant in UTC."""
    for timestamp in (0, 1760970309, INSTANT, np.float64(INSTANT), 1760970309.9999999):
        record = append_and_read(metrics, kind, timestamp=timestamp)
        assert record["timestamp"] == timestamp
        assert isinstance(record["timestamp"], float)
        assert record["timestamp_iso"] == datetime.fromtimestamp(float(timestamp), UTC).isoformat()


@each_kind
def test_without_a_timestamp_a_record_is_of_now(metrics: MetricsAppender, kind: Kind) -> None:
    """The instant is taken during the call."""
    before = time.time()
    record = append_and_read(metrics, kind)
    assert before <= record["timestamp"] <= time.time()
    assert record["timestamp_iso"] == datetime.fromtimestamp(record["timestamp"], UTC).isoformat()


@pytest.mark.parametrize(("kind", "prefix"), [(PROMOTION, "promo"), (ROLLBACK, "rollback")])
@pytest.mark.parametrize("skill_name", ["s", "YouTube Live Chat", "наука_1"])
def test_an_event_id_holds_the_skill_the_second_and_eight_hex_digits(
    metrics: MetricsAppender, kind: Kind, prefix: str, skill_name: str
) -> None:
    """The id reads `promo_{skill}_{whole seconds}_{8 hex}`, or `rollback_…`."""
    record = append_and_read(metrics, kind, skill_name, timestamp=1760970309.99)
    assert re.fullmatch(
        f"{prefix}_{re.escape(skill_name)}_1760970309_[0-9a-f]{{8}}", record["event_id"]
    )


def test_events_of_one_second_never_share_an_id(tmp_path: Path) -> None:
    """Two thousand promotions of one second, by two appenders, have two thousand ids."""
    for metrics in (
        MetricsAppender(tmp_path, durability="os"),
        MetricsAppender(tmp_path, durability="os"),
    ):
        for _ in range(1000):
            metrics.append_promotion_event("s", "f", "t", "p", "k", "r", {}, timestamp=INSTANT)
    ids = {
        record["event_id"]
        for record in MetricsAppender(tmp_path).read_metrics("s_promotion_log.json")
    }
    assert len(ids) == 2000
