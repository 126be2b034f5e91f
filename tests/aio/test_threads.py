"""LoopThreads: a bounded pool of threads, made on demand, gone when the loop is done."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from event_loops import HANG_SECONDS, reached, threads

from metrics_appender.aio.threads import LoopThreads


def test_jobs_beyond_the_most_threads_are_done_later() -> None:
    """One thread does them all, in their order, and is gone at the end."""
    done: list[int] = []

    async def main() -> None:
        threads = LoopThreads(most=1)
        await asyncio.gather(*(threads.run(done.append, n) for n in range(20)))
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        await threads.close()
        assert await threads.run(threading.active_count) == threading.active_count()
        await threads.close()

    before = threading.active_count()
    asyncio.run(main())
    assert done == list(range(20))
    assert threading.active_count() == before


def test_threads_at_work_are_waited_for_and_the_loop_goes_on() -> None:
    """It is the loop that lets the job end, while the threads are being closed."""
    may_end = threading.Event()

    async def main() -> None:
        threads = LoopThreads()
        job = asyncio.create_task(threads.run(may_end.wait, HANG_SECONDS))
        await asyncio.sleep(0)
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0)
        may_end.set()
        assert await job
        await closing

    asyncio.run(main())


def test_many_jobs_have_a_thread_each_up_to_the_most() -> None:
    """Idle threads are used again before another is made."""

    async def main() -> None:
        pool = LoopThreads(most=3)
        meeting = threading.Barrier(3)
        for _ in range(3):
            await asyncio.gather(*(pool.run(meeting.wait, HANG_SECONDS) for _ in range(3)))
            assert len(threads()) == 3
        await pool.close()
        assert threads() == []

    asyncio.run(main())


def test_closing_waits_neither_for_a_thread_that_could_not_be_made_nor_for_an_ended_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job that had no thread is dropped, and the next one is done."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        pool = LoopThreads()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                await pool.run(time.monotonic)
        await asyncio.wait_for(pool.close(), HANG_SECONDS)
        await pool.run(time.monotonic)
        await reached(lambda: not threads())
        await asyncio.wait_for(pool.close(), HANG_SECONDS)

    asyncio.run(main())


def test_two_may_close_at_once_and_jobs_that_are_started_meanwhile_are_done() -> None:
    """Both return when every job is done."""
    may_end = threading.Event()
    done: list[int] = []

    async def main() -> None:
        pool = LoopThreads(most=1)
        first = asyncio.create_task(pool.run(may_end.wait, HANG_SECONDS))
        await asyncio.sleep(0)
        closing = [asyncio.create_task(pool.close()) for _ in range(2)]
        await asyncio.sleep(0)
        pool.start(lambda: done.append(1))
        may_end.set()
        await asyncio.wait_for(asyncio.gather(first, *closing), HANG_SECONDS)
        assert done == [1]
        assert threads() == []

    asyncio.run(main())
