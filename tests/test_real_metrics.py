"""Real records are read as they are, and appended again by many processes at once.

`data/` holds sixty of the 656 records that an overseer wrote before this library existed, lines
unchanged: its `timestamp_iso` was in local time without an offset, all other fields are the same.
"""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metrics_appender import MetricsAppender

DATA = Path(__file__).parent / "data"
FILENAME = "YouTube Live Chat_performance.json"
PROCESSES = 8


def real_records() -> list[dict[str, Any]]:
    """Return the records as Python's own decoder reads them."""
    return [json.loads(line) for line in (DATA / FILENAME).read_text(encoding="utf-8").splitlines()]


def without_text_of_instant(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without `timestamp_iso`, the one field that is written otherwise now."""
    return {name: value for name, value in record.items() if name != "timestamp_iso"}


def append_share(metrics: MetricsAppender, share: int, start: Any) -> None:
    """Append each eighth record, in a process of its own, once all processes have started."""
    records = real_records()[share::PROCESSES]
    start.wait()
    for record in records:
        arguments = {
            name: value
            for name, value in record.items()
            if name not in {"timestamp_iso", "metric_type"}
        }
        metrics.append_performance_metric(**arguments)


def test_the_excerpt_has_the_variety_of_the_real_file() -> None:
    """It has both kinds of `exception_type`, many durations, and no id twice."""
    records = real_records()
    assert len(records) == 60
    assert {record["exception_type"] for record in records} == {None, "UnknownFixAction"}
    assert len({record["execution_time_ms"] for record in records}) > 30
    assert len({record["execution_id"] for record in records}) == 60


def test_a_real_file_is_read_as_it_is() -> None:
    """Every field of every record is read in its order, from the start and from the end."""
    before = (DATA / FILENAME).read_bytes()
    metrics = MetricsAppender(DATA)
    expected = real_records()
    assert repr(metrics.read_metrics(FILENAME)) == repr(expected)
    assert repr(list(metrics.iter_metrics(FILENAME))) == repr(expected)
    for limit in (1, 7, 60, 100):
        assert metrics.read_metrics(FILENAME, limit) == expected[-limit:]
    assert (DATA / FILENAME).read_bytes() == before


def test_real_records_are_appended_by_eight_processes_at_once(tmp_path: Path) -> None:
    """Each is there once, equal but for `timestamp_iso`, each process's in order."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES, timeout=60)
    metrics = MetricsAppender(tmp_path)
    workers = [
        context.Process(target=append_share, args=(metrics, share, start))
        for share in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    found = metrics.read_metrics(FILENAME)
    expected = real_records()
    for share in range(PROCESSES):
        own = [without_text_of_instant(record) for record in expected[share::PROCESSES]]
        ids = {record["execution_id"] for record in own}
        assert repr(
            [without_text_of_instant(record) for record in found if record["execution_id"] in ids]
        ) == repr(own)
    assert len(found) == len(expected)
    assert all(list(record) == list(expected[0]) for record in found)
    assert all(
        record["timestamp_iso"] == datetime.fromtimestamp(record["timestamp"], UTC).isoformat()
        for record in found
    )
