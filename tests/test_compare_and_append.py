"""Appends that are decided under the lock: `append_if`, `append_block` and `end`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import multiprocessing
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender import (
    AppendLog,
    ClosedError,
    CorruptLineError,
    InvalidRecordError,
    LockTimeoutError,
    MetricsAppenderError,
    PositionError,
    Rotation,
)
from metrics_appender.aio import AsyncAppendLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Hold = Callable[[str], AbstractContextManager[int]]

DURABILITIES = ["fsync", "group", "os"]
of_every_durability = pytest.mark.parametrize("durability", DURABILITIES)


def is_last(number: int, record: dict[str, Any] | None) -> bool:
    """Return whether a number is that of the last record; 0 where there is none."""
    found: int = (record or {"n": 0})["n"]
    return found == number


def count_up(log: AppendLog, times: int) -> int:
    """Append one more than the last number until `times` such appends were made; return them."""
    appended = 0
    while appended < times:
        last = log.read(limit=1)
        number = last[0]["n"] if last else 0
        appended += log.append_if({"n": number + 1}, functools.partial(is_last, number))
    return appended


def count_up_in_process(path: str, durability: Any, times: int) -> None:
    """Count up in a process of its own, with a log that rotates."""
    with AppendLog(path, durability=durability, rotation=Rotation(max_bytes=200)) as log:
        count_up(log, times)


@of_every_durability
def test_a_record_is_appended_only_if_the_condition_holds(path: str, durability: Any) -> None:
    """The condition sees the last record, `None` where there is none, and decides."""
    seen: list[Any] = []

    def condition(last: dict[str, Any] | None) -> bool:
        seen.append(last)
        return last != {"n": 2}

    with AppendLog(path, durability=durability) as log:
        assert [log.append_if({"n": n}, condition) for n in (1, 2, 3)] == [True, True, False]
        assert seen == [None, {"n": 1}, {"n": 2}]
        assert log.read() == [{"n": 1}, {"n": 2}]


@of_every_durability
def test_of_many_threads_one_wins_each_step(path: str, durability: Any) -> None:
    """A counter that only `append_if` moves skips no number, and has none twice."""
    with AppendLog(path, durability=durability) as log:
        threads = [threading.Thread(target=count_up, args=(log, 10)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [record["n"] for record in log.read()] == list(range(1, 61))


@of_every_durability
def test_of_many_processes_one_wins_each_step(path: str, durability: Any) -> None:
    """It holds through rotations too: the last record may be in a sealed segment."""
    context = multiprocessing.get_context("spawn")
    arguments = (path, durability, 15)
    workers = [context.Process(target=count_up_in_process, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [record["n"] for record in AppendLog(path).read()] == list(range(1, 61))


def test_the_last_record_is_found_in_a_compressed_segment(path: str) -> None:
    """The active file is empty after a rotation, and the records before it count."""
    with AppendLog(path, rotation=Rotation(compress="gzip")) as log:
        for n in (1, 2):
            log.append({"n": n})
            log.rotate()
        assert log.append_if({"n": 3}, lambda last: last == {"n": 2})


def test_a_torn_tail_is_recovered_before_the_condition_is_asked(path: str) -> None:
    """Part of a killed writer's line is no record."""
    with open(path, "wb") as file:
        file.write(b'{"n":1}\n{"n":2')
    log = AppendLog(path)
    assert log.append_if({"n": 3}, lambda last: last == {"n": 1})
    with open(path, "rb") as file:
        assert file.read() == b'{"n":1}\n{"n":3}\n'
    with open(path + ".torn", "rb") as file:
        assert file.read() == b'{"n":2'


def test_what_the_condition_raises_is_raised_and_nothing_is_written(log: AppendLog) -> None:
    """The lock is free after the error."""

    def condition(_: object) -> bool:
        raise KeyError("state")

    with pytest.raises(KeyError):
        log.append_if({"n": 1}, condition)
    assert log.read() == []
    log.append({"n": 2})
    assert log.read() == [{"n": 2}]


def test_a_last_line_that_is_no_object_is_raised(log: AppendLog) -> None:
    """No condition can be decided on such a line, and nothing is written."""
    log.append({"n": 1})
    with open(log.path, "ab") as file:
        file.write(b"oops\n")
    with pytest.raises(CorruptLineError):
        log.append_if({"n": 2}, lambda _: True)
    with open(log.path, "rb") as file:
        assert file.read() == b'{"n":1}\noops\n'


def test_a_condition_that_appends_to_the_same_log_is_refused(log: AppendLog) -> None:
    """The append would wait for its own thread."""
    log.append({"n": 0})

    def condition(_: object) -> bool:
        log.append({"n": "inner"})
        return True

    with pytest.raises(OSError, match="middle") as caught:
        log.append_if({"n": 1}, condition)
    assert caught.value.errno == errno.EDEADLK
    assert log.read() == [{"n": 0}]


def test_a_lock_that_does_not_come_free_is_a_timeout(path: str, hold: Hold) -> None:
    """The condition is not called, neither then nor later."""
    called: list[object] = []

    def note(last: object) -> bool:
        called.append(last)
        return True

    with AppendLog(path, lock_timeout=0.05) as log, hold(path):
        with pytest.raises(LockTimeoutError):
            log.append_if({"n": 1}, note)
        with pytest.raises(LockTimeoutError):
            log.append_block(b'{"n":1}\n', at=0)
    assert not called
    assert AppendLog(path).read() == []


def test_a_record_that_is_none_and_a_closed_log_are_refused(log: AppendLog) -> None:
    """Both are refused before the condition is called."""
    called: list[object] = []

    def note(last: object) -> bool:
        called.append(last)
        return True

    with pytest.raises(InvalidRecordError):
        log.append_if({"n": float("nan")}, note)
    log.close()
    with pytest.raises(ClosedError):
        log.append_if({"n": 1}, note)
    with pytest.raises(ClosedError):
        log.append_block(b"", at=0)
    assert not called


@of_every_durability
def test_a_block_goes_where_the_stream_ends(path: str, durability: Any) -> None:
    """Positions go on through sealed segments, however many there are."""
    with AppendLog(path, durability=durability) as log:
        assert log.end == 0
        log.append_block(b'{"n":1}\n{"n":2}\n', at=0)
        assert log.end == 16
        log.rotate()
        assert log.end == 16
        log.append_block(b'{"n":3}\n', at=16)
        log.append_block(b"", at=24)
        assert log.end == 24
        assert [record["n"] for record in log.read()] == [1, 2, 3]


@pytest.mark.parametrize("at", [0, 7, 9, 16, 10**12])
def test_a_block_for_another_position_is_refused(log: AppendLog, at: int) -> None:
    """The error names both positions, and nothing is written."""
    log.append({"n": 1})
    with pytest.raises(PositionError) as caught:
        log.append_block(b'{"n":2}\n', at=at)
    error = caught.value
    assert (error.path, error.expected, error.found) == (log.path, at, 8)
    assert isinstance(error, MetricsAppenderError)
    assert isinstance(error, ValueError)
    assert all(str(number) in str(error) for number in (at, 8))
    assert error.outcome == "nothing was written"
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.expected, again.found) == (log.path, at, 8)
    assert str(again) == str(error)
    assert log.read() == [{"n": 1}]


def test_a_block_is_compared_after_recovery(path: str) -> None:
    """A torn tail counts neither for the comparison nor for `end`."""
    with open(path, "wb") as file:
        file.write(b'{"n":1}\n{"n":2')
    log = AppendLog(path)
    assert log.end == 8
    log.append_block(b'{"n":3}\n', at=8)
    assert log.read() == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("block", [b'{"n":1}', b"\0\n", "text\n", bytearray(b"{}\n"), None])
def test_what_is_no_block_of_lines_is_refused(log: AppendLog, block: Any) -> None:
    """A wrong block is refused before any file is opened."""
    with pytest.raises(InvalidRecordError, match="block"):
        log.append_block(block, at=0)
    assert not os.path.exists(log.path)


@pytest.mark.parametrize("at", [-1, 1.0, True, "0", None])
def test_what_is_no_position_is_refused(log: AppendLog, at: Any) -> None:
    """A wrong position is refused before any file is opened."""
    with pytest.raises(InvalidRecordError, match="at"):
        log.append_block(b"{}\n", at=at)
    assert not os.path.exists(log.path)


def test_a_block_that_does_not_fit_leaves_nothing_of_it(log: AppendLog) -> None:
    """A block is written as a whole or not at all, even in several writes."""
    log.append({"n": 1})
    line = b'{"text":"' + b"x" * 1000 + b'"}\n'
    block = line * 3000  # three megabytes
    log.append_block(block, at=8)
    assert log.end == 8 + len(block)
    with pytest.raises(PositionError):
        log.append_block(block, at=8)
    assert log.end == 8 + len(block)


def test_two_collectors_of_the_same_blocks_store_each_once(path: str) -> None:
    """The first one stores a block; the other gets an error with the end of the log by then."""
    blocks = [b'{"n":%d}\n' % n for n in range(10, 60)]

    def collect() -> None:
        log = AppendLog(path)
        position = 0
        for block in blocks:
            with contextlib.suppress(PositionError):
                log.append_block(block, at=position)
            assert log.end >= position + len(block)
            position += len(block)

    threads = [threading.Thread(target=collect) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(path, "rb") as file:
        assert file.read() == b"".join(blocks)


@of_every_durability
def test_tasks_of_an_event_loop_have_the_same(path: str, durability: Any) -> None:
    """Of tasks that compare and append at once, one wins each step."""

    async def main() -> None:
        async with AsyncAppendLog(path, durability=durability) as log:
            await log.append_block(b'{"n":0}\n', at=await log.end())

            async def step(number: int) -> bool:
                return await log.append_if(
                    {"n": number}, lambda last: last is not None and last["n"] == number - 1
                )

            for number in range(1, 6):
                won = await asyncio.gather(*(step(number) for _ in range(5)))
                assert sum(won) == 1
            with pytest.raises(PositionError):
                await log.append_block(b"{}\n", at=0)
            assert [record["n"] for record in await log.read()] == list(range(6))
            await log.append({"n": 6})
        with pytest.raises(ClosedError):
            await log.append_if({"n": 7}, lambda _: True)

    asyncio.run(main())
