"""Many records in one call: one lock, one write, one sync, all or nothing."""

from __future__ import annotations

import errno
import itertools
import math
import os
import pickle
import resource
from typing import TYPE_CHECKING, Any

import pytest
from conftest import held

from metrics_appender import (
    AppendLog,
    ClosedError,
    InvalidRecordError,
    LockTimeoutError,
    append_log,
)
from metrics_appender.fs import calls as fs_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> AppendLog:
    """A log with one record."""
    made = AppendLog(tmp_path / "events.ndjson")
    made.append({"n": "first"})
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the writes and syncs of files, as they are made."""
    made: list[str] = []

    def counted(name: str) -> None:
        real = getattr(fs_calls, name)

        def call(*arguments: Any) -> Any:
            made.append(name)
            return real(*arguments)

        monkeypatch.setattr(fs_calls, name, call)

    counted("write")
    counted("sync_file")
    return made


def records(count: int, text: str = "") -> Iterator[dict[str, Any]]:
    """Yield so many records."""
    return ({"n": number, "text": text} for number in range(count))


def test_many_records_take_one_write_and_one_sync(log: AppendLog, calls: list[str]) -> None:
    """The records are in the file in their order, and their count is returned."""
    assert log.append_many(records(1000)) == 1000
    assert calls == ["write", "sync_file"]
    assert log.read() == [{"n": "first"}, *records(1000)]


def test_no_records_touch_nothing(log: AppendLog, calls: list[str]) -> None:
    """An empty iterable is no error, and opens nothing."""
    assert log.append_many(()) == 0
    assert calls == []


def test_each_record_is_written_as_it_was_when_it_was_yielded(log: AppendLog) -> None:
    """A generator may fill one dict, and the values in it, anew for every record."""

    def filled_anew() -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {"inner": {}, "pair": ()}
        for number in range(1000):
            row["n"] = row["inner"]["n"] = number
            # A tuple needs a conversion, a list does not.
            row["pair"] = (number,) if number % 3 else [number]
            yield row

    assert log.append_many(filled_anew()) == 1000
    assert log.read()[1:] == [
        {"inner": {"n": number}, "pair": [number], "n": number} for number in range(1000)
    ]


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_a_wrong_record_is_named_by_its_place_and_nothing_is_written(
    log: AppendLog, kind: Callable[[list[Any]], Iterable[Any]]
) -> None:
    """A wrong record keeps out those before it as well."""
    with pytest.raises(InvalidRecordError, match=r"records\[2\]: record\.n: got nan") as caught:
        log.append_many(kind([{"n": 0}, {"n": 1}, {"n": float("nan")}, {"n": 3}]))
    assert [fault.field for fault in caught.value.faults] == ["records[2]: record.n"]
    assert log.read() == [{"n": "first"}]


def test_when_the_disk_refuses_a_part_nothing_of_the_batch_stays(log: AppendLog) -> None:
    """The system's error says that nothing was written, and later appends go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            log.append_many(records(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert caught.value.__notes__ == [f"{log.path}: nothing was written"]
    log.append({"n": "last"})
    assert log.read() == [{"n": "first"}, {"n": "last"}]


def test_past_a_chunk_the_error_says_how_many_are_acknowledged(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator of any length is taken in chunks, each all or nothing."""
    monkeypatch.setattr(append_log, "CHUNK_BYTES", 1000)

    def endless() -> Iterator[dict[str, Any]]:
        yield from records(100, "x" * 80)
        raise RuntimeError("the source ran dry")

    with pytest.raises(RuntimeError, match="ran dry") as caught:
        log.append_many(endless())
    found = len(log.read()) - 1
    assert 0 < found < 100
    assert caught.value.__notes__ == [
        f"{log.path}: the first {found} records are acknowledged, and in the file"
    ]


def forbid_growth(log: AppendLog) -> Iterator[dict[str, Any]]:
    """Let the disk refuse every write."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(log.path).st_size, hard))
    yield {"n": "refused"}


def take_the_lock(log: AppendLog) -> Iterator[dict[str, Any]]:
    """Keep the log's lock."""
    with held(log.path):
        yield {"n": "late"}


def close_the_log(log: AppendLog) -> Iterator[dict[str, Any]]:
    """Close the log."""
    log.close()
    yield {"n": "late"}


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda _: iter([{"n": math.nan}]), InvalidRecordError),
        (take_the_lock, LockTimeoutError),
        (close_the_log, ClosedError),
        (forbid_growth, OSError),
    ],
)
def test_where_the_first_records_are_acknowledged_nothing_says_that_nothing_was_written(
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[AppendLog], Iterator[dict[str, Any]]],
    kind: type[Exception],
) -> None:
    """Neither text nor notes of the error deny it, here or after pickling.

    A caller who believed them would append those records twice.
    """
    monkeypatch.setattr(append_log, "CHUNK_BYTES", 1)
    log = AppendLog(path, lock_timeout=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(kind) as caught:
            log.append_many(itertools.chain(records(16), end(log)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert AppendLog(path).read() == list(records(16))
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        told = [str(error), *error.__notes__]
        assert told[-1] == f"{path}: the first 16 records are acknowledged, and in the file"
        assert not any("nothing was written" in text for text in told)
        assert any("nothing more was written" in text for text in told)


def test_a_large_batch_is_synced_in_pieces(log: AppendLog, calls: list[str]) -> None:
    """What a power cut can damage reaches no further back than the next append looks."""
    assert log.append_many(records(30, "x" * 100_000)) == 30
    assert calls == ["write", "sync_file"] * 3
    assert [record["n"] for record in log.read()] == ["first", *range(30)]


def test_encoded_lines_are_appended_together(log: AppendLog, calls: list[str]) -> None:
    """Lines from an encoder of the caller's own are appended in one call."""
    log.append_lines([b'{"n":1}\n', b'{"n":2}\n'])
    log.append_lines([])
    assert calls == ["write", "sync_file"]
    assert log.read() == [{"n": "first"}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"n":1}'],
        [b'{"n":1}\n{"n":2}\n', b""],
        [b'{"n":1}\n', b"\n\n"],
        [b'{"n":"\0"}\n'],
        [b'{"n"', b":1}\n"],
        [b"\n"],
        ["{}\n"],
    ],
)
def test_lines_that_are_not_one_line_each_are_refused(log: AppendLog, lines: list[bytes]) -> None:
    """A wrong line, a blank one included, is refused before anything is written."""
    with pytest.raises(
        InvalidRecordError, match="one line as bytes, not blank, with a newline at its end only"
    ):
        log.append_lines(lines)
    assert log.read() == [{"n": "first"}]


def test_a_closed_log_takes_no_batch(log: AppendLog) -> None:
    """A closed log refuses a batch as it refuses a single record."""
    log.close()
    with pytest.raises(ClosedError):
        log.append_many(records(1))
    with pytest.raises(ClosedError):
        log.append_lines([b"{}\n"])
