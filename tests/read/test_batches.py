"""Following in batches: what ends one, and that nothing is lost or doubled between two."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from followers import SECONDS, WAYS, put, rest

from metrics_appender import AppendLog, CorruptLineError, InvalidRecordError, SkippedLines
from metrics_appender.fs.watch import FileWatcher
from metrics_appender.read.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Waiting

    from metrics_appender.read.good_lines import Followed

FOREVER = 10 * SECONDS


def numbers(batch: list[Followed]) -> list[Any]:
    """Return the numbers of a batch's records."""
    return [followed.record["n"] for followed in batch]


def test_a_backlog_comes_in_full_batches(path: str, log: AppendLog) -> None:
    """Through the blocks that are read, and with the cursor of the last record that was given."""
    log.append_many({"n": n, "text": "x" * 1000} for n in range(1000))
    with Follower(path, "beginning") as follower:
        batches = follower.batches(250, within=FOREVER)
        found: list[Any] = []
        while len(found) < 1000:
            batch = next(batches)
            assert follower.cursor == batch[-1].cursor
            assert len(batch) == 250
            found += numbers(batch)
    assert found == list(range(1000))
    assert rest(path, batch[-2].cursor) == [999]


@pytest.mark.parametrize("notify", [None, False])
def test_a_record_waits_for_those_behind_it_as_long_as_it_may(
    path: str, log: AppendLog, notify: bool | None
) -> None:
    """A batch is given when it is full, or its time is over, whatever comes later."""
    with Follower(path, "beginning", notify=notify, poll_seconds=0.001) as follower:
        log.append({"n": 0})
        writer = threading.Timer(0.05, lambda: log.append({"n": 1}))
        writer.start()
        assert numbers(next(follower.batches(2, within=FOREVER))) == [0, 1]
        writer.join()
        log.append({"n": 2})
        began = time.monotonic()
        assert numbers(next(follower.batches(2, within=0.2))) == [2]
        assert time.monotonic() - began >= 0.2
        log.append({"n": 3})
        assert numbers(next(follower.batches(2, within=0))) == [3]


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_goes_through_rotation(path: str, log: AppendLog, way: str) -> None:
    """Renamed, compressed or cut by others; the next one begins where it ended."""
    log.append_many({"n": n} for n in range(3))
    with Follower(path, "beginning", notify=False, poll_seconds=0.001) as follower:
        assert numbers(next(follower.batches(2))) == [0, 1]
        follower._tail.reader.forget()  # as if it had not read ahead
        WAYS[way](path)
        log.append_many({"n": n} for n in range(3, 5))
        assert numbers(next(follower.batches(3, within=FOREVER))) == [2, 3, 4]


def test_a_batch_goes_through_sealed_segments(path: str, log: AppendLog) -> None:
    """As many as it takes."""
    for n in range(9):
        log.append({"n": n})
        log.rotate()
    with Follower(path, "beginning") as follower:
        assert numbers(next(follower.batches(9, within=FOREVER))) == list(range(9))


def test_a_corrupt_line_ends_a_batch_and_is_raised_by_the_next(path: str) -> None:
    """After which the same iterator goes on."""
    put(path, b'{"n":0}\n{"n":1}\nbad\n\x20\n{"n":2}\n')
    with Follower(path, "beginning") as follower:
        batches = follower.batches(within=0.001)
        assert numbers(next(batches)) == [0, 1]
        with pytest.raises(CorruptLineError, match="line 3"):
            next(batches)
        assert numbers(next(batches)) == [2]
    skipped = SkippedLines()
    with Follower(path, "beginning", on_error=skipped) as follower:
        assert numbers(next(follower.batches(3, within=FOREVER))) == [0, 1, 2]
    assert skipped.count == 1


def test_an_error_of_the_disk_behind_some_records_is_raised_by_the_next_batch(
    path: str, log: AppendLog
) -> None:
    """What was read before is given."""
    log.append({"n": 0})
    with Follower(path, "beginning", notify=False, poll_seconds=0.001) as follower:
        real = follower._tail.read
        outcomes: list[Callable[[], bool]] = [real]

        def read(*_: Any) -> bool:
            if not outcomes:
                raise OSError(5, "the disk")
            return outcomes.pop()()

        with mock.patch.object(follower._tail, "read", read):
            assert numbers(next(follower.batches(2, within=FOREVER))) == [0]
            with pytest.raises(OSError, match="the disk"):
                next(follower.batches())
        log.append({"n": 1})
        assert numbers(next(follower.batches())) == [1]


def test_a_batch_that_a_signal_handler_interrupts_is_given_by_the_next_call(
    path: str, log: AppendLog
) -> None:
    """The records that it held already, one by one or together."""
    log.append_many({"n": n} for n in range(3))
    with Follower(path, "beginning", notify=False) as follower:
        with (
            mock.patch.object(FileWatcher, "sleep", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            next(follower.batches(9, within=FOREVER))
        with pytest.raises(RuntimeError, match="interrupted"):
            follower.take_lines(1)
        assert next(follower).record == {"n": 0}
        assert numbers(next(follower.batches(within=0))) == [1, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_close_from_another_thread_ends_the_batches(
    path: str, log: AppendLog, wait: Waiting, count: int
) -> None:
    """What a batch holds by then is given; none is empty."""
    log.append_many({"n": n} for n in range(count))
    follower = Follower(path, "beginning", poll_seconds=FOREVER)
    found: list[list[Followed]] = []
    thread = threading.Thread(target=lambda: found.extend(follower.batches(9, within=FOREVER)))
    thread.start()
    wait.until(lambda: len(follower._gathered) == count)
    follower.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert [numbers(batch) for batch in found] == [[0]] * count


def test_stop_ends_the_batches(path: str, log: AppendLog) -> None:
    """With what there is."""
    log.append({"n": 0})
    stop = threading.Event()
    with Follower(path, "beginning", stop=stop, poll_seconds=FOREVER) as follower:
        timer = threading.Timer(0.05, stop.set)
        timer.start()
        assert [numbers(batch) for batch in follower.batches(9, within=FOREVER)] == [[0]]
        timer.join()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_records", value) for value in (0, -1, True, 1.0, "1", None)),
        *(("within", value) for value in (-1, float("nan"), float("inf"), True, "1", None)),
    ],
)
def test_a_wrong_argument_is_named_at_once(
    path: str, log: AppendLog, name: str, value: Any
) -> None:
    """Before the first batch is asked for."""
    log.append({"n": 0})
    with Follower(path) as follower, pytest.raises(InvalidRecordError, match=name):
        follower.batches(**{name: value})
