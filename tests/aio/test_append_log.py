"""AsyncAppendLog.

Tasks that meet share a write, the loop is never blocked, and every end is a clean one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import pickle
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import HANG_SECONDS, Run, SlowDisk, numbers, reached, threads

from metrics_appender import AppendLog, ClosedError, InvalidRecordError, LockTimeoutError
from metrics_appender.aio import AsyncAppendLog, append_log, batches, group_commit
from metrics_appender.aio.batches import iterate_in_threads
from metrics_appender.aio.threads import LoopThreads
from metrics_appender.fs import calls as fs_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from conftest import Waiting

    Hold = Callable[[str], AbstractContextManager[int]]


def test_a_thousand_tasks_share_writes(path: str, run: Run, slow: SlowDisk) -> None:
    """Those that append in one turn of the loop go together, and those that come meanwhile too.

    Two syncs, not 2,000.
    """

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            first = [asyncio.create_task(log.append({"n": n})) for n in range(1000)]
            await reached(slow.has_begun.is_set)
            second = [asyncio.create_task(log.append({"n": n})) for n in range(1000, 2000)]
            await asyncio.sleep(0)
            slow.may_end.set()
            await asyncio.gather(*first, *second)

    run(main())
    assert slow.syncs == 2
    assert numbers(path) == list(range(2000))


def test_tasks_that_append_again_when_they_are_completed_go_together_again(
    path: str, run: Run, slow: SlowDisk
) -> None:
    """Ten tasks of ten appends each: ten syncs, and each task's lines in its order."""
    slow.may_end.set()

    async def main() -> None:
        async with AsyncAppendLog(path) as log:

            async def work(task: int) -> None:
                for n in range(10):
                    await log.append({"n": [task, n]})

            await asyncio.gather(*map(work, range(10)))

    run(main())
    assert slow.syncs == 10
    found = numbers(path)
    assert len(found) == 100
    for task in range(10):
        assert [n for other, n in found if other == task] == list(range(10))


def test_a_write_takes_only_so_many_bytes(
    path: str, run: Run, slow: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is queued beyond that is for the next ones.

    Two lines of sixty bytes fill a write of a hundred.
    """
    monkeypatch.setattr(group_commit, "_BATCH_BYTES", 100)
    slow.may_end.set()

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await asyncio.gather(*(log.append({"n": n, "text": "x" * 42}) for n in range(10)))

    run(main())
    assert slow.syncs == 5
    assert numbers(path) == list(range(10))


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_the_loop_goes_on_while_another_holds_the_lock(
    path: str, run: Run, hold: Hold, durability: Any
) -> None:
    """The loop itself releases the lock: blocked, it never would."""

    async def main() -> None:
        async with AsyncAppendLog(path, durability=durability, lock_timeout=HANG_SECONDS) as log:
            with hold(path):
                task = asyncio.create_task(log.append({"n": 1}))
                await reached(threads)
                for _ in range(100):
                    await asyncio.sleep(0)
                assert not task.done()
            await task

    run(main())
    assert numbers(path) == [1]


def test_the_loop_goes_on_while_the_disk_is_slow(path: str, run: Run, slow: SlowDisk) -> None:
    """The loop itself lets the sync end."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            task = asyncio.create_task(log.append({"n": 1}))
            await reached(slow.has_begun.is_set)
            assert not task.done()
            slow.may_end.set()
            await task

    run(main())
    assert numbers(path) == [1]


@pytest.mark.parametrize("lock_timeout", [0, 0.05])
def test_a_lock_that_does_not_come_in_time_is_an_error_and_nothing_is_written(
    path: str, run: Run, hold: Hold, lock_timeout: float
) -> None:
    """Each caller has an error of its own, with the log's timeout.

    None of the lines comes later.
    """

    async def main() -> None:
        async with AsyncAppendLog(path, lock_timeout=lock_timeout) as log:
            with hold(path):
                errors = await asyncio.gather(
                    *(log.append({"n": n}) for n in range(3)), return_exceptions=True
                )
            assert [type(error) for error in errors] == [LockTimeoutError] * 3
            assert len(set(map(id, errors))) == 3
            for error in errors:
                assert isinstance(error, LockTimeoutError)
                assert (error.timeout_seconds, error.filename) == (lock_timeout, path)
                assert error.__notes__ == [f"{path}: nothing was written"]
            await log.append({"n": "after"})

    run(main())
    assert numbers(path) == ["after"]


def test_a_line_behind_a_write_that_does_not_end_is_withdrawn_at_its_own_deadline(
    path: str, run: Run, slow: SlowDisk
) -> None:
    """The first is being written and is waited for.

    The second times out meanwhile, and is never written.
    """

    async def main() -> None:
        async with AsyncAppendLog(path, lock_timeout=0.05) as log:
            first = asyncio.create_task(log.append({"n": "first"}))
            await reached(slow.has_begun.is_set)
            with pytest.raises(LockTimeoutError):
                await log.append({"n": "second"})
            assert not first.done()
            slow.may_end.set()
            await first

    run(main())
    assert numbers(path) == ["first"]


def test_a_line_with_time_left_waits_on_when_the_one_before_has_timed_out(
    path: str, hold: Hold
) -> None:
    """Every line has a timeout of its own, whichever lines are in its batch."""

    async def main() -> None:
        async with AsyncAppendLog(path, lock_timeout=2) as log:
            with hold(path):
                first = asyncio.create_task(log.append({"n": "first"}))
                await asyncio.sleep(1.5)
                second = asyncio.create_task(log.append({"n": "second"}))
                with pytest.raises(LockTimeoutError):
                    await first
                assert not second.done()
            await second

    asyncio.run(main())
    assert numbers(path) == ["second"]


def test_lines_that_go_together_keep_their_own_deadlines(path: str) -> None:
    """The earliest is the batch's; lines with time left then are queued again, with the rest."""
    handed: list[tuple[bytes, float]] = []
    may_end = threading.Event()

    class File:
        """Is slow, then locked by another, then free."""

        path = "file"

        def append(self, block: bytes, deadline: float | None, /) -> None:
            """Take a block down."""
            handed.append((block, deadline or 0.0))
            if len(handed) == 1:
                assert may_end.wait(HANG_SECONDS)
            elif len(handed) == 2:
                time.sleep(max(0.0, (deadline or 0.0) - time.monotonic()))
                raise LockTimeoutError(self.path, 0.0)

        is_cleaning = False

        def close(self) -> None:
            """Do nothing."""

    async def main() -> None:
        threads = LoopThreads()
        lines = group_commit.AsyncGroupCommit(File(), 1.0, threads)
        start = time.monotonic()
        first = lines.add(b"1")
        await reached(lambda: handed)
        second = lines.add(b"2")
        middle = time.monotonic()
        await asyncio.sleep(0.5)
        third = lines.add(b"3")
        may_end.set()
        one, two, three = await asyncio.gather(first, second, third, return_exceptions=True)
        assert (one, three) == (None, None)
        assert isinstance(two, LockTimeoutError)
        await lines.close()
        await threads.close()
        assert [block for block, _ in handed] == [b"1", b"23", b"3"]
        assert start + 1.0 <= handed[0][1] <= handed[1][1] <= middle + 1.0
        assert handed[1][1] + 0.4 <= handed[2][1]

    asyncio.run(main())


def test_a_task_cancelled_while_its_line_waits_leaves_no_line(
    path: str, run: Run, slow: SlowDisk
) -> None:
    """It is cancelled at once, and the others' lines are written."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            first, second, third = (
                asyncio.create_task(log.append({"n": n})) for n in ("first", "second", "third")
            )
            await asyncio.sleep(0)
            second.cancel()
            await reached(slow.has_begun.is_set)
            fourth = asyncio.create_task(log.append({"n": "fourth"}))
            await asyncio.sleep(0)
            fourth.cancel()
            results = asyncio.gather(first, second, third, fourth, return_exceptions=True)
            slow.may_end.set()
            assert [type(result) for result in await results] == [
                type(None),
                asyncio.CancelledError,
            ] * 2

    run(main())
    assert numbers(path) == ["first", "third"]


def test_a_task_cancelled_while_its_line_is_written_leaves_it_whole_and_the_lock_free(
    path: str, run: Run, slow: SlowDisk
) -> None:
    """The task does not wait for the disk.

    The line is there once, whole, and the next append goes well.
    """

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            task = asyncio.create_task(log.append({"n": "cancelled"}))
            await reached(slow.has_begun.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            slow.may_end.set()
            await log.append({"n": "next"})
        with AppendLog(path, lock_timeout=0) as other:
            other.append({"n": "other"})

    run(main())
    assert numbers(path) == ["cancelled", "next", "other"]


def test_a_full_disk_fails_just_those_whose_lines_have_no_room(
    path: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of lines that go together, the short ones are written.

    Each long one's caller has an error of its own.
    """
    real = fs_calls.write

    def write(fd: int, data: Any) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data)

    monkeypatch.setattr(fs_calls, "write", write)

    async def main() -> list[Any]:
        async with AsyncAppendLog(path) as log:
            return await asyncio.gather(
                *(log.append({"n": n, "text": "x" * 2000 * (n % 2)}) for n in range(6)),
                return_exceptions=True,
            )

    results = run(main())
    assert results[::2] == [None] * 3
    assert len(set(map(id, results[1::2]))) == 3
    for error in results[1::2]:
        assert (error.errno, error.filename, error.__notes__) == (
            errno.ENOSPC,
            path,
            [f"{path}: nothing was written"],
        )
    assert numbers(path) == [0, 2, 4]


@pytest.mark.parametrize(
    ("durability", "outcome"),
    [("fsync", "nothing was written"), ("group", "the line may be in the file")],
)
def test_a_failing_disk_fails_all_lines_of_a_batch(
    path: str, run: Run, monkeypatch: pytest.MonkeyPatch, durability: Any, outcome: str
) -> None:
    """Each has an error object of its own, which says what became of the line.

    The next append goes well.
    """

    def sync(fd: int) -> None:
        raise OSError(errno.EIO, "broken")

    async def main() -> list[Any]:
        async with AsyncAppendLog(path, durability=durability) as log:
            with monkeypatch.context() as patch:
                patch.setattr(fs_calls, "sync_file", sync)
                errors = await asyncio.gather(
                    *(log.append({"n": n}) for n in range(3)), return_exceptions=True
                )
            await log.append({"n": "next"})
        return errors

    errors = run(main())
    assert len(set(map(id, errors))) == 3
    for error in errors:
        assert (error.errno, error.filename, error.__notes__) == (
            errno.EIO,
            path,
            [f"{path}: {outcome}"],
        )
    assert numbers(path)[-1] == "next"
    assert (len(numbers(path)) == 1) == (durability == "fsync")


def test_a_record_that_json_cannot_hold_fails_its_own_caller_only(path: str, run: Run) -> None:
    """At the await, before anything is opened."""

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            wrong, right = await asyncio.gather(
                log.append({"n": float("nan")}), log.append({"n": 1}), return_exceptions=True
            )
            assert isinstance(wrong, InvalidRecordError)
            assert right is None

    run(main())
    assert numbers(path) == [1]


def test_no_thread_to_be_had_is_an_error_and_nothing_is_written(
    path: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of threads: the system's own errno, and later appends go well."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", start)
                with pytest.raises(BlockingIOError) as caught:
                    await log.append({"n": 0})
            assert caught.value.__notes__ == [f"{path}: nothing was written"]
            await log.append({"n": 1})

    run(main())
    assert numbers(path) == [1]


def test_aclose_finishes_what_is_under_way_refuses_more_and_leaves_no_thread(
    path: str, run: Run, slow: SlowDisk
) -> None:
    """Both the line being written and the one behind it are durable when it returns.

    Closing again does nothing.
    """

    async def main() -> None:
        log = AsyncAppendLog(path)
        first = asyncio.create_task(log.append({"n": 1}))
        await reached(slow.has_begun.is_set)
        second = asyncio.create_task(log.append({"n": 2}))
        await asyncio.sleep(0)
        closing = [asyncio.create_task(log.aclose()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await log.append({"n": 3})
        assert not closing[0].done()
        slow.may_end.set()
        await asyncio.gather(*closing)
        assert first.done()
        assert second.done()
        await asyncio.gather(first, second)
        assert not threads()
        await log.aclose()
        assert [record["n"] for record in await log.read()] == [1, 2]

    run(main())


def test_aclose_gives_tasks_that_wait_for_a_lock_their_errors(
    path: str, run: Run, hold: Hold
) -> None:
    """It waits as long as they do, and no longer."""

    async def main() -> None:
        log = AsyncAppendLog(path, lock_timeout=0.1)
        with hold(path):
            task = asyncio.create_task(log.append({"n": 1}))
            await asyncio.sleep(0)
            await log.aclose()
            with pytest.raises(LockTimeoutError):
                await task
        assert not threads()

    run(main())
    assert numbers(path) == []


def test_an_idle_thread_is_gone_after_a_while(path: str, run: Run) -> None:
    """A log that is never closed leaves none behind either."""

    async def main() -> None:
        log = AsyncAppendLog(path)
        await log.append({"n": 1})
        assert threads()
        await reached(lambda: not threads())
        await log.append({"n": 2})

    run(main())
    assert numbers(path) == [1, 2]


def test_a_log_belongs_to_one_loop_until_that_is_closed(path: str, run: Run) -> None:
    """In another loop it says so; in a later one it goes on, whatever the first left behind."""
    log = AsyncAppendLog(path)
    abandoned: list[object] = []

    async def first() -> None:
        await log.append({"n": 1})
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, log.append({"n": "elsewhere"}))
        abandoned.append(asyncio.create_task(log.append({"n": "maybe"})))

    async def second() -> None:
        await log.append({"n": 2})
        await log.aclose()

    run(first())
    run(second())
    assert [n for n in numbers(path) if n != "maybe"] == [1, 2]


def test_a_forked_child_appends_in_a_loop_of_its_own(path: str, slow: SlowDisk) -> None:
    """Forked in the middle of the parent's write.

    It hangs on nothing, and the parent's append goes on.
    """

    async def child(log: AsyncAppendLog) -> None:
        await log.append({"n": "child"})
        await log.aclose()

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await_first = asyncio.create_task(log.append({"n": "parent"}))
            await reached(slow.has_begun.is_set)
            waiting = asyncio.create_task(log.append({"n": "waiting"}))
            await asyncio.sleep(0)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    slow.may_end.set()
                    asyncio.run(asyncio.wait_for(child(log), HANG_SECONDS))
                    status = 0
                finally:
                    os._exit(status)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            slow.may_end.set()
            await asyncio.gather(await_first, waiting)
            assert status == 0

    asyncio.run(main())
    assert sorted(numbers(path)) == ["child", "parent", "waiting"]


def test_a_pickled_log_is_made_anew(path: str, run: Run) -> None:
    """By its arguments; the copy appends to the same file."""

    async def main() -> None:
        log = AsyncAppendLog(path, durability="os", lock_timeout=None)
        await log.append({"n": 1})
        async with pickle.loads(pickle.dumps(log)) as made:
            assert repr(made) == repr(log)
            await made.append({"n": 2})
        await log.aclose()

    run(main())
    assert numbers(path) == [1, 2]


def test_lines_and_many_records_go_the_same_way(path: str, run: Run, slow: SlowDisk) -> None:
    """Encoded lines are checked, a batch has one sync.

    A bad record in it leaves nothing of it.
    """
    slow.may_end.set()

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await log.append_line(b'{"n":1}\n')
            await log.append_lines([b'{"n":2}\n', b'{"n":3}\n'])
            await log.append_lines([])
            assert await log.append_many({"n": n} for n in range(4, 1000)) == 996
            assert await log.append_many([]) == 0
            for wrong in (
                log.append_line(b'{"n":0}'),
                log.append_lines([b"{}\n", b"\n\n"]),
                log.append_many([{"n": 0}, {"n": {0}}]),
            ):
                with pytest.raises(InvalidRecordError):
                    await wrong

    run(main())
    assert slow.syncs == 3
    assert numbers(path) == list(range(1, 1000))


def test_many_records_are_written_as_they_were_when_they_were_yielded(path: str, run: Run) -> None:
    """A generator may fill one dict anew for every record."""

    def filled_anew() -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {}
        for row["n"] in range(1000):
            yield row

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            assert await log.append_many(filled_anew()) == 1000

    run(main())
    assert numbers(path) == list(range(1000))


def test_where_the_first_records_are_acknowledged_the_error_does_not_deny_it(
    path: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text and note are those of `AppendLog`."""
    monkeypatch.setattr(batches, "CHUNK_BYTES", 1)
    monkeypatch.setattr(batches, "_TURN_BYTES", 1)
    monkeypatch.setattr(append_log, "_BLOCK_BYTES", 1)

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            with pytest.raises(InvalidRecordError, match="nothing more was written") as caught:
                await log.append_many({"n": n if n < 16 else math.nan} for n in range(17))
        found = len(numbers(path))
        assert 0 < found <= 16
        assert caught.value.__notes__ == [
            f"{path}: the first {found} records are acknowledged, and in the file"
        ]

    run(main())


def test_other_tasks_have_their_turns_between_the_records_of_a_batch(path: str, run: Run) -> None:
    """Between large ones each; small ones are encoded many in a turn."""

    async def most_in_a_turn(log: AsyncAppendLog, count: int, text: str) -> int:
        turns: Counter[int] = Counter()
        turn = 0

        async def count_turns() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        def records() -> Iterator[dict[str, Any]]:
            for n in range(count):
                turns[turn] += 1
                yield {"n": n, "text": text}

        counting = asyncio.create_task(count_turns())
        assert await log.append_many(records()) == count
        counting.cancel()
        return max(turns.values())

    async def main() -> tuple[int, int]:
        async with AsyncAppendLog(path, durability="os") as log:
            return await most_in_a_turn(log, 40, "x" * 1_000_000), await most_in_a_turn(
                log, 20_000, ""
            )

    large, small = run(main())
    assert large <= 2
    assert 64 < small < 20_000
    assert numbers(path) == [*range(40), *range(20_000)]


def test_iteration_gives_what_comes_before_a_corrupt_line(path: str, run: Run) -> None:
    """All records, then the error, as the blocking iterator does; `read` takes its limit."""
    with open(path, "wb") as file:
        file.write(b"".join(b'{"n":%d}\n' % n for n in range(700)) + b"oops\n")
    seen = []

    async def collect(log: AsyncAppendLog) -> None:
        async for record in log.iter_records():
            seen.append(record["n"])  # noqa: PERF401 - the error comes in the middle

    async def main() -> None:
        log = AsyncAppendLog(path)
        assert [record["n"] async for record in AsyncAppendLog(path + ".none").iter_records()] == []
        with pytest.raises(ValueError, match="line 701"):
            await collect(log)
        with pytest.raises(ValueError, match="limit"):
            await log.read(-1)
        await log.aclose()

    run(main())
    assert seen == list(range(700))


def test_an_iteration_that_is_abandoned_closes_its_file(path: str, run: Run) -> None:
    """When the loop finds it so, in the middle of the file."""
    with open(path, "wb") as file:
        file.write(b"".join(b'{"n":%d}\n' % n for n in range(5000)))

    def is_open() -> bool:
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return any(os.path.realpath(link) == os.path.realpath(path) for link in links)

    async def main() -> None:
        log = AsyncAppendLog(path)
        async for _ in log.iter_records():
            assert is_open()
            break
        await reached(lambda: not is_open())
        await log.aclose()

    run(main())


def test_an_iterator_is_closed_in_a_thread(run: Run) -> None:
    """Where it may wait for the disk; `aclosing` sees to it at once."""
    closed_by: list[str] = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(5000)
        finally:
            closed_by.append(threading.current_thread().name)

    async def main() -> None:
        threads = LoopThreads()
        async with contextlib.aclosing(iterate_in_threads(items(), threads)) as found:
            assert await anext(found) == 0
        await threads.close()

    run(main())
    assert closed_by == ["metrics-appender-aio"]


def test_a_short_deadline_is_watched_for_what_one_write_left_over(
    path: str, run: Run, slow: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that come in one turn but do not go in one write: the second has its deadline too."""
    monkeypatch.setattr(group_commit, "_BATCH_BYTES", 1)

    async def main() -> None:
        async with AsyncAppendLog(path, lock_timeout=0.05) as log:
            first, second = (asyncio.create_task(log.append({"n": n})) for n in (1, 2))
            with pytest.raises(LockTimeoutError):
                await second
            assert not first.done()
            slow.may_end.set()
            await first

    run(main())
    assert numbers(path) == [1]


def test_closing_goes_well_in_a_later_loop_though_it_was_under_way_in_the_first(
    path: str, run: Run
) -> None:
    """A program that gave up waiting for it, and closed its loop."""
    log = AsyncAppendLog(path)
    may_end = threading.Event()
    abandoned: list[object] = []

    async def first() -> None:
        await log.append({"n": 1})
        abandoned.append(asyncio.ensure_future(log._threads.run(may_end.wait, HANG_SECONDS)))
        abandoned.append(asyncio.ensure_future(log._threads.close()))
        await reached(lambda: log._threads._ends)

    async def second() -> None:
        closing = asyncio.ensure_future(log.aclose())
        await reached(lambda: log._threads._ends)
        may_end.set()
        await asyncio.wait_for(closing, HANG_SECONDS)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    loop.close()
    run(second())
    assert not threads()


class Stop(SystemExit):
    """What a handler of SIGTERM raises."""


@pytest.mark.parametrize("where", ["_next_batch", "_start_write", "_set_results", "_set_timer"])
def test_what_a_signal_handler_raises_in_the_loop_lets_it_end(
    path: str, wait: Waiting, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """`sys.exit()` on SIGTERM.

    Neither an append nor `aclose()` waits for ever for work that was interrupted.
    """

    def stop(*_: object) -> None:
        monkeypatch.undo()
        raise Stop

    async def main() -> None:
        async with AsyncAppendLog(path) as log:
            await log.append({"n": 0})
            monkeypatch.setattr(group_commit.AsyncGroupCommit, where, stop)
            await asyncio.gather(log.append({"n": 1}), log.append({"n": 2}))

    with pytest.raises(Stop):
        asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
    wait.until(lambda: not threads())
    assert numbers(path)[0] == 0
