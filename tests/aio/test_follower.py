"""Following in an event loop.

Every record once, every end a clean one, and no loop and no reader kept waiting.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from event_loops import HANG_SECONDS, Run, SlowDisk, reached
from event_loops import threads as running_threads
from followers import NOTIFY, put, shift

from metrics_appender import AppendLog, CorruptLineError, CursorGoneError, InvalidRecordError
from metrics_appender.aio import AsyncAppendLog, AsyncFollower, AsyncMetricsAppender, threads
from metrics_appender.fs import calls as fs_calls
from metrics_appender.read.follower import Follower
from metrics_appender.read.log_tail import LogTail
from metrics_appender.segment.source import PlainFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

FOREVER = 10 * HANG_SECONDS  # of sleep: a follower that waits so long has to be woken


async def take(follower: AsyncFollower, count: int) -> list[Any]:
    """Return the numbers of the next records."""
    async with asyncio.timeout(HANG_SECONDS):
        return [(await anext(follower)).record["n"] for _ in range(count)]


def descriptors() -> int:
    """Return how many are open."""
    return len(os.listdir("/proc/self/fd"))


async def is_waiting(task: asyncio.Task[Any]) -> None:
    """Return when a thread waits in the task's place."""
    await reached(
        lambda: (
            running_threads()
            and any("sleep" in name for name in map(_name_of_frame, running_threads()))
        )
    )
    assert not task.done()


def _name_of_frame(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame.f_code.co_name if frame else ""


# What comes


@pytest.mark.parametrize("notify", NOTIFY)
def test_each_record_comes_once_and_in_order_under_a_writer_and_rotation(
    path: str, run: Run, notify: bool
) -> None:
    """Renamed or sealed, while tasks write and two followers read, one of them from cursors."""
    count = 600

    async def write(log: AsyncAppendLog, rotate: Callable[[], Any]) -> None:
        for n in range(count):
            await log.append({"n": n})
            if n % 50 == 49:
                await rotate()

    async def follow_on(log: AsyncAppendLog) -> list[Any]:
        found: list[Any] = []
        start = "beginning"
        while len(found) < count:
            async with log.follow(start, notify=notify, poll_seconds=0.01) as records:
                found += await take(records, min(37, count - len(found)))
                start = records.cursor or ""
        return found

    async def main(rotate: Callable[[AsyncAppendLog], Any]) -> None:
        async with (
            AsyncAppendLog(path) as log,
            log.follow(notify=notify, poll_seconds=0.01) as records,
        ):
            _, whole, pieces = await asyncio.gather(
                write(log, lambda: rotate(log)), take(records, count), follow_on(log)
            )
            assert whole == pieces == list(range(count))

    async def rename(_: AsyncAppendLog) -> None:
        shift(path)

    run(main(AsyncAppendLog.rotate))
    for name in os.listdir(os.path.dirname(path)):
        os.unlink(os.path.join(os.path.dirname(path), name))
    run(main(rename))


def test_following_begins_where_the_with_is_entered(path: str, run: Run) -> None:
    """Or where the first record is asked for; the cursor of the start goes on there."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await log.append({"n": 0})
            follower = log.follow()
            assert follower.cursor is None
            await log.append({"n": 1})
            async with follower:
                start = follower.cursor
                await log.append({"n": 2})
                assert await take(follower, 1) == [2]
            assert start is not None
            assert await take(log.follow(start), 1) == [2]

    run(main())


def test_a_backlog_takes_few_threads_hops(
    path: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of records that are there already come in batches.

    The cursor is that of the record that was given.
    """
    AppendLog(path).append_many({"n": n} for n in range(5000))
    hops: list[int] = []
    real = Follower.take

    def counted(follower: Follower, most: int) -> Any:
        taken = real(follower, most)
        hops.append(len(taken))
        return taken

    monkeypatch.setattr(Follower, "take", counted)

    async def main() -> str | None:
        async with AsyncAppendLog(path) as log, log.follow("beginning") as records:
            assert await take(records, 5000) == list(range(5000))
            assert len(hops) < 20
            await records.aclose()
            async with log.follow("beginning") as again:
                await take(again, 7)
                return again.cursor

    cursor = run(main())
    assert cursor is not None
    with AppendLog(path).follow(cursor) as rest:
        assert next(rest).record == {"n": 7}


def test_a_record_does_not_wait_for_the_one_behind_it(path: str, run: Run) -> None:
    """What is read with it and is no record, a blank or half a line, does not keep it back."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow(poll_seconds=0.01) as records:
            for n in range(3):
                put(path, b'{"n":%d}\n   \n' % n)
                assert await take(records, 1) == [n]
            put(path, b'{"n":3}\n{"n"')
            assert await take(records, 1) == [3]

    run(main())


# Errors


def test_a_corrupt_line_comes_behind_those_before_it_and_following_goes_on(
    path: str, run: Run
) -> None:
    """As with the follower that blocks; the `async for` is over, the follower is not."""
    with open(path, "wb") as file:
        file.write(b'{"n":0}\n{"n":1}\nbad\n{"n":2}\n')

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow("beginning") as records:
            assert await take(records, 2) == [0, 1]
            with pytest.raises(CorruptLineError) as caught:
                await _count(records)
            assert caught.value.line_number == 3
            assert await take(records, 1) == [2]
            assert await take(log.follow("beginning", on_error="skip"), 3) == [0, 1, 2]

    run(main())


def test_an_error_of_the_start_ends_the_follower(path: str, run: Run) -> None:
    """It comes where following begins, and leaves nothing open."""
    log = AppendLog(path)
    log.append({"n": 0})
    with log.follow("beginning") as records:
        gone = next(records).cursor
    os.unlink(path)
    count = descriptors()

    async def main() -> None:
        alog = AsyncAppendLog(path)
        with pytest.raises(CursorGoneError):
            await alog.follow(gone).__aenter__()
        follower = alog.follow(poll_seconds=0)
        with pytest.raises(InvalidRecordError, match="poll_seconds"):
            await anext(follower)
        with pytest.raises(StopAsyncIteration):
            await anext(follower)

    run(main())
    assert descriptors() == count


def test_one_task_at_a_time_asks_for_the_next_record(path: str, run: Run) -> None:
    """Another one gets an error, and the first its record."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow() as records:
            first = asyncio.create_task(take(records, 1))
            await is_waiting(first)
            with pytest.raises(RuntimeError, match="another task waits"):
                await take(records, 1)
            await log.append({"n": 0})
            assert await first == [0]

    run(main())


def test_a_follower_belongs_to_the_loop_of_its_log(path: str, run: Run) -> None:
    """In another one it is refused, as everything of the log is."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await log.append({"n": 0})
            follower = log.follow("beginning")

            def elsewhere() -> None:
                with pytest.raises(RuntimeError, match="another event loop"):
                    asyncio.run(take(follower, 1))

            await asyncio.get_running_loop().run_in_executor(None, elsewhere)
            assert await take(follower, 1) == [0]

    run(main())


# Ends


@pytest.mark.parametrize("notify", NOTIFY)
def test_after_a_cancelled_wait_the_next_call_goes_on(path: str, run: Run, notify: bool) -> None:
    """No record is lost or doubled, whether it came before the next call or after."""

    async def main() -> None:
        async with (
            AsyncAppendLog(path) as log,
            log.follow(notify=notify, poll_seconds=0.01) as records,
        ):
            for n in range(0, 6, 2):
                await cancel_the_wait(take(records, 1))
                await log.append({"n": n})
                if n == 2:
                    await reached(lambda: has_returned(records))
                assert await take(records, 1) == [n]
                await log.append({"n": n + 1})
                assert await take(records, 1) == [n + 1]

    run(main())


async def cancel_the_wait(call: Coroutine[Any, Any, Any]) -> None:
    """Cancel a task once a thread waits in its place; it is over at once."""
    task = asyncio.create_task(call)
    await is_waiting(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def has_returned(follower: AsyncFollower) -> bool:
    """Return whether the call that a cancelled task has left is done."""
    return follower._call is None or follower._call.future.done()


@pytest.mark.parametrize("way", ["timeout", "wait_for"])
def test_a_time_limit_around_the_wait_leaves_the_follower_as_it_is(
    path: str, run: Run, way: str
) -> None:
    """As often as it passes; what comes meanwhile is there afterwards, all of it, in order."""

    async def limited(records: AsyncFollower) -> list[Any]:
        if way == "wait_for":
            return [(await asyncio.wait_for(anext(records), 0.001)).record["n"]]
        async with asyncio.timeout(0.001):
            return [(await anext(records)).record["n"]]

    async def listen(records: AsyncFollower, count: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        limits = 0
        while len(found) < count:
            try:
                found += await limited(records)
            except TimeoutError:
                limits += 1
        return found, limits

    async def write(log: AsyncAppendLog) -> None:
        for n in range(30):
            await log.append({"n": n})
            await asyncio.sleep(0.005)
            if n == 15:
                await log.rotate()

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow(poll_seconds=0.003) as records:
            (found, limits), _ = await asyncio.gather(listen(records, 30), write(log))
            assert found == list(range(30))
            assert limits > 0

    run(main())


def test_a_follower_whose_wait_was_cancelled_ends_with_aclose(path: str, run: Run) -> None:
    """No thread and no descriptor is left, and its cursor goes on."""
    AppendLog(path).append({"n": 0})
    Follower(path).close()  # what is imported first may keep a descriptor

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await log.read()
            count = descriptors()
            follower = log.follow("beginning", poll_seconds=FOREVER)
            await cancel_the_wait(take(follower, 2))
            assert descriptors() > count
            await follower.aclose()
            assert descriptors() == count
            with pytest.raises(StopAsyncIteration):
                await anext(follower)
            assert follower.cursor is not None
            await log.append({"n": 1})
            async with log.follow(follower.cursor) as following:
                assert await take(following, 1) == [1]

    run(main())
    assert not running_threads()


def test_a_follower_that_is_forgotten_after_a_cancelled_wait_leaves_nothing_open(
    path: str, run: Run
) -> None:
    """Its thread is woken, which would wait for ever."""
    AppendLog(path).append({"n": 0})
    Follower(path).close()  # what is imported first may keep a descriptor

    async def main() -> None:
        log = AsyncAppendLog(path)
        await log.read()
        count = descriptors()
        follower = log.follow(poll_seconds=FOREVER)
        await cancel_the_wait(take(follower, 1))
        del follower
        gc.collect()
        await reached(lambda: descriptors() == count)
        await log.aclose()

    run(main())


def test_an_error_after_a_cancelled_wait_is_raised_by_the_next_call(path: str, run: Run) -> None:
    """And by nobody else: no loop reports an exception that was never looked at."""
    reported: list[Any] = []

    async def main(is_asked: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        async with AsyncAppendLog(path) as log:
            records = log.follow(poll_seconds=0.01)
            await cancel_the_wait(take(records, 1))
            put(path, b"bad\n")
            await reached(lambda: has_returned(records))
            if is_asked:
                with pytest.raises(CorruptLineError):
                    await anext(records)
                await log.append({"n": 1})
                assert await take(records, 1) == [1]

    for is_asked in (True, False):
        run(main(is_asked))
        gc.collect()
    assert not reported


def test_a_follower_whose_loop_ended_in_a_wait_ends_in_the_next_loop(path: str, run: Run) -> None:
    """What came meanwhile was lost with the loop; its cursor goes on."""
    log = AsyncAppendLog(path)
    follower = log.follow("beginning", poll_seconds=0.01)

    async def first() -> None:
        await log.append({"n": 0})
        assert await take(follower, 1) == [0]
        await cancel_the_wait(take(follower, 1))

    async def second() -> None:
        with pytest.raises(StopAsyncIteration):
            await anext(follower)
        await log.append({"n": 1})
        assert follower.cursor is not None
        assert await take(log.follow(follower.cursor), 1) == [1]
        await log.aclose()

    run(first())
    run(second())


def test_a_task_that_is_cancelled_while_the_files_are_opened_loses_nothing(
    path: str, run: Run
) -> None:
    """The opening goes on in its thread; `async with`, which is not entered then, undoes it."""
    AppendLog(path).append({"n": 0})
    may_open = threading.Event()
    real = LogTail.begin

    def begin(tail: LogTail, start: str, last: int) -> None:
        assert may_open.wait(HANG_SECONDS)
        real(tail, start, last)

    async def cancel_in_opening(call: Coroutine[Any, Any, Any], count: int) -> None:
        may_open.clear()
        task = asyncio.create_task(call)
        await reached(lambda: descriptors() > count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_open.set()

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            async with log.follow("beginning") as earlier:
                await take(earlier, 1)  # so that all is loaded that a follower takes
            gc.collect()
            count = descriptors()
            with mock.patch.object(LogTail, "begin", begin):
                follower = log.follow("beginning")
                await cancel_in_opening(take(follower, 1), count)
                assert await take(follower, 1) == [0]
                await follower.aclose()
                follower = log.follow("beginning")
                await cancel_in_opening(follower.__aenter__(), count)
                await reached(lambda: descriptors() == count)
                with pytest.raises(StopAsyncIteration):
                    await anext(follower)

    run(main())


@pytest.mark.parametrize(
    "close",
    [lambda log, _: log.aclose(), lambda _, follower: follower.aclose()],
    ids=["of the log", "of the follower"],
)
def test_aclose_ends_the_iteration_of_a_task_that_waits(path: str, run: Run, close: Any) -> None:
    """No error for it, no thread is left, and closing again does nothing."""

    async def main() -> None:
        log = AsyncAppendLog(path)
        follower = log.follow(poll_seconds=FOREVER)
        found = []

        async def listen() -> None:
            async for record, _ in follower:
                found.append(record)

        task = asyncio.create_task(listen())
        await is_waiting(task)
        await close(log, follower)
        assert not running_threads()
        await task
        await follower.aclose()
        assert found == []
        await log.aclose()
        assert [record async for record in follower] == []

    run(main())


def test_a_follower_that_was_not_begun_or_is_left_in_mid_iteration_is_closed(
    path: str, run: Run
) -> None:
    """By `aclose`, also twice at once; or by being forgotten."""
    AppendLog(path).append_many({"n": n} for n in range(9))

    async def main() -> None:
        log = AsyncAppendLog(path)
        await log.follow().aclose()
        async with log.follow("beginning") as records:
            assert await take(records, 9) == list(range(9))
        count = descriptors()
        follower = log.follow("beginning")
        assert await take(follower, 2) == [0, 1]
        await asyncio.gather(follower.aclose(), follower.aclose())
        assert not running_threads()
        assert descriptors() == count
        async for record, _ in log.follow("beginning"):
            assert record == {"n": 0}
            break
        gc.collect()
        await reached(lambda: descriptors() == count)
        await log.aclose()

    run(main())


@pytest.mark.parametrize("event", [threading.Event, asyncio.Event])
def test_stop_ends_it(path: str, run: Run, event: Any) -> None:
    """A `threading.Event`, or one of asyncio."""

    async def main() -> None:
        stop = event()
        async with AsyncAppendLog(path) as log:
            task = asyncio.create_task(_count(log.follow(stop=stop)))
            await is_waiting(task)
            stop.set()
            assert await task == 0

    run(main())


async def _count(follower: AsyncFollower) -> int:
    return len([0 async for _ in follower])


def test_no_thread_to_be_had_is_an_error(
    path: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the follower can be closed all the same."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        follower = AsyncAppendLog(path).follow()
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            await anext(follower)
        await follower.aclose()

    run(main())


# Batches, and lines as bytes


def numbers_of(batch: list[Any]) -> list[Any]:
    """Return the numbers of a batch's records."""
    return [followed.record["n"] for followed in batch]


def test_batches_come_full_from_a_backlog_and_in_time_from_a_writer(path: str, run: Run) -> None:
    """Through a rotation, with the cursor of the last record; `anext` may take turns."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow("beginning") as records:
            await log.append_many({"n": n} for n in range(600))
            await log.rotate()
            await log.append_many({"n": n} for n in range(600, 1200))
            async with asyncio.timeout(HANG_SECONDS):
                batches = records.batches(400, within=FOREVER)
                for start in range(0, 1200, 400):
                    batch = await anext(batches)
                    assert numbers_of(batch) == list(range(start, start + 400))
                    assert records.cursor == batch[-1].cursor
                await log.append_many({"n": n} for n in range(3))
                assert await take(records, 1) == [0]
                async for batch in records.batches(9):
                    assert numbers_of(batch) == [1, 2]
                    break
                await log.append({"n": 3})
                assert numbers_of(await anext(records.batches(2, within=0.01))) == [3]

    run(main())


def test_a_corrupt_line_ends_a_batch_and_is_raised_by_the_next_one(path: str, run: Run) -> None:
    """And the same iterator goes on."""
    put(path, b'{"n":0}\nbad\n{"n":1}\n')

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow("beginning") as records:
            batches = records.batches(within=0)
            assert numbers_of(await anext(batches)) == [0]
            with pytest.raises(CorruptLineError):
                await anext(batches)
            assert numbers_of(await anext(batches)) == [1]
            with pytest.raises(InvalidRecordError, match="within"):
                records.batches(1, -1)

    run(main())


def test_a_cancelled_wait_for_a_batch_loses_nothing(path: str, run: Run) -> None:
    """What it has gathered is in the next one; `aclose` ends a wait without an error."""

    async def main() -> None:
        log = AsyncAppendLog(path)
        records = log.follow("beginning", poll_seconds=0.01)
        for start in range(0, 9, 3):
            batches = records.batches(3, within=FOREVER)
            waiting = asyncio.ensure_future(_next(batches))
            await is_waiting(waiting)
            await log.append({"n": start})
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await log.append_many({"n": n} for n in (start + 1, start + 2))
            async with asyncio.timeout(HANG_SECONDS):
                assert numbers_of(await anext(batches)) == [start, start + 1, start + 2]

        async def listen() -> list[Any]:
            return [batch async for batch in records.batches()]

        listening = asyncio.create_task(listen())
        await is_waiting(listening)
        await log.aclose()
        assert await listening == []

    run(main())


async def _next(batches: AsyncIterator[Any]) -> Any:
    return await anext(batches)


def test_lines_as_bytes_come_at_once_or_not_at_all(path: str, run: Run) -> None:
    """As from the follower that blocks; a follower that gives lines gives no records."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow("beginning") as follower:
            assert (await follower.take_lines(100))[:2] == (b"", 0)
            await log.append_many({"n": n} for n in range(3))
            lines, count, cursor = await follower.take_lines(16, sync=True)
            assert (lines, count, cursor) == (b'{"n":0}\n{"n":1}\n', 2, follower.cursor)
            assert (await follower.take_lines(1))[0] == b'{"n":2}\n'
            assert (await follower.take_lines(1))[1] == 0
            with pytest.raises(RuntimeError, match="gives lines"):
                await anext(follower)
            with pytest.raises(InvalidRecordError, match="most_bytes"):
                await follower.take_lines(0)
            assert cursor is not None
            async with log.follow(cursor) as records:
                assert await take(records, 1) == [2]
                with pytest.raises(RuntimeError, match="gives records"):
                    await records.take_lines(1)
            await follower.aclose()
            assert (await follower.take_lines(1))[1] == 0

    run(main())


@pytest.mark.parametrize("sync", [False, True])
def test_a_cancelled_take_of_lines_loses_none(
    path: str, run: Run, sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call returns what the thread has read, synced if it asks for that."""
    AppendLog(path).append({"n": 0})
    has_begun, may_end, syncs = threading.Event(), threading.Event(), list[int]()
    real = Follower.take_lines

    def take_lines(follower: Follower, most_bytes: int, *, sync: bool = False) -> Any:
        has_begun.set()
        assert may_end.wait(HANG_SECONDS)
        return real(follower, most_bytes, sync=sync)

    monkeypatch.setattr(Follower, "take_lines", take_lines)
    monkeypatch.setattr(fs_calls, "sync_data", syncs.append)

    async def main() -> None:
        async with AsyncAppendLog(path) as log, log.follow("beginning") as follower:
            task = asyncio.create_task(follower.take_lines(100))
            await reached(has_begun.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            may_end.set()
            assert (await follower.take_lines(100, sync=sync))[0] == b'{"n":0}\n'
            assert len(syncs) == sync
            assert (await follower.take_lines(100, sync=sync))[1] == 0

    run(main())


# What is not kept waiting


def test_the_loop_goes_on_while_the_disk_is_slow(path: str, run: Run) -> None:
    """The follower's read is not over before the loop says so.

    Nor is its opening, nor its closing.
    """
    AppendLog(path).append({"n": 0})
    may_go_on = threading.Event()
    has_begun = threading.Event()

    def slow(owner: type, name: str) -> Any:
        real = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            has_begun.set()
            assert may_go_on.wait(HANG_SECONDS), "the loop did not go on"
            return real(*arguments)

        return mock.patch.object(owner, name, call)

    async def begin_and_go_on(step: Coroutine[Any, Any, Any], owner: type, name: str) -> None:
        may_go_on.clear()
        has_begun.clear()
        with slow(owner, name):
            task = asyncio.create_task(step)
            await reached(has_begun.is_set)
            may_go_on.set()
            await task

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            follower = log.follow("beginning")
            await begin_and_go_on(follower.__aenter__(), LogTail, "begin")
            await begin_and_go_on(take(follower, 1), PlainFile, "read_at")
            await begin_and_go_on(follower.aclose(), Follower, "_release")

    run(main())


def test_followers_that_wait_starve_no_reader_and_no_writer(
    path: str, tmp_path: Path, run: Run
) -> None:
    """More of them than a log has threads for its readers, and each gets the record that comes."""
    count = threads._MOST_THREADS + 6
    name = "s_performance.json"

    async def main() -> None:
        async with AsyncAppendLog(path) as log, AsyncMetricsAppender(tmp_path) as metrics:
            followers = [log.follow(notify=False, poll_seconds=0.05) for _ in range(count)]
            of_metrics = metrics.follow(name, notify=False)
            await asyncio.gather(*(follower.__aenter__() for follower in (*followers, of_metrics)))
            tasks = [asyncio.create_task(take(follower, 1)) for follower in followers]
            await reached(lambda: len(running_threads()) > count)
            async with asyncio.timeout(HANG_SECONDS):
                assert await log.read() == []
                await log.append({"n": 0})
                assert await log.cursors() == {}
            assert await asyncio.gather(*tasks) == [[0]] * count

    run(main())
    assert not running_threads()


def test_no_thread_is_taken_while_nobody_waits(path: str, run: Run) -> None:
    """A consumer that takes its time over a record lets the thread go."""

    async def main() -> None:
        AppendLog(path).append({"n": 0})
        async with AsyncAppendLog(path) as log, log.follow("beginning") as records:
            assert await take(records, 1) == [0]
            await reached(lambda: not running_threads())
            await log.append({"n": 1})
            assert await take(records, 1) == [1]

    run(main())


# Cursors by name, and the typed face


def test_both_faces_keep_cursors_by_name(tmp_path: Path, run: Run, slow: SlowDisk) -> None:
    """The same as those of the faces that block; the loop goes on while one is stored."""
    name = "s_performance.json"

    async def main() -> None:
        log = AsyncAppendLog(tmp_path / name)
        async with log, AsyncMetricsAppender(tmp_path) as metrics:
            slow.may_end.set()
            for n in range(2):
                await metrics.append_performance_metric("s", f"run-{n}", 1, "a")
            async with metrics.follow(name, "beginning") as records:
                record, cursor = await anext(records)
            assert record["execution_id"] == "run-0"
            slow.may_end.clear()
            slow.has_begun.clear()
            saving = asyncio.create_task(metrics.save_cursor(name, "overseer", cursor))
            await reached(slow.has_begun.is_set)
            assert await log.load_cursor("overseer") is None
            slow.may_end.set()
            await saving
            await log.save_cursor("pipeline", cursor)
            assert (
                await log.cursors()
                == await metrics.cursors(name)
                == {"overseer": cursor, "pipeline": cursor}
            )
            start = await metrics.load_cursor(name, "overseer")
            assert (
                start
                == await log.load_cursor("overseer")
                == AppendLog(log.path).load_cursor("pipeline")
            )
            async with log.follow(start or "") as records:
                assert (await anext(records)).record["execution_id"] == "run-1"
            await log.drop_cursor("overseer")
            await metrics.drop_cursor(name, "pipeline")
            assert AppendLog(log.path).cursors() == {}
            with pytest.raises(InvalidRecordError):
                await log.save_cursor("a.b", cursor)
            with pytest.raises(ValueError, match="filename"):
                metrics.follow("../s")

    run(main())


def test_a_child_of_fork_does_not_wake_its_parents_follower_for_good(path: str) -> None:
    """It closes its copy, and the parent's sleeps on until a record comes."""
    AppendLog(path).append({"n": 0})
    with AppendLog(path).follow(notify=False, poll_seconds=FOREVER) as follower:
        child = os.fork()
        if child == 0:
            follower.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not follower._watcher._poll.poll(0)
