"""Closing an appender, blocking or asynchronous: what it waits for, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender import ClosedError, MetricsAppender, Rotation, aio, appender
from metrics_appender.aio import AsyncAppendLog, AsyncMetricsAppender
from metrics_appender.segment import cleaner
from metrics_appender.segment.cleaner import Cleaner
from metrics_appender.write.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    Hold = Callable[[str], AbstractContextManager[int]]

HANG_SECONDS = 60.0
ROTATION = Rotation(max_bytes=1, keep_segments=1)
BY_HAND = Rotation(keep_segments=1)


@pytest.fixture
def kept_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The logs whose cleaning is done; it takes so long that a caller who does not wait is gone."""
    done: list[str] = []

    def clean_segments(path: str, *_: Any) -> bool:
        time.sleep(0.1)
        done.append(os.path.basename(path))
        return True

    monkeypatch.setattr(cleaner, "clean_segments", clean_segments)
    return done


def test_finishing_a_cleaning_waits_for_its_thread_to_be_started(
    path: str, kept_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may be starting the cleaner at that moment."""
    cleaner = Cleaner(path, ROTATION)
    errors: list[BaseException] = []

    def finish() -> None:
        try:
            cleaner.finish()
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    finisher = threading.Thread(target=finish)
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        start(finisher)
        finisher.join(0.1)  # long enough for one that does not wait
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_late)
        cleaner.begin()
    finisher.join(HANG_SECONDS)
    assert errors == []
    assert kept_up == ["events.ndjson"]


def test_the_cleaning_of_a_log_that_is_not_remembered_any_more_is_waited_for(
    tmp_path: Path, kept_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waits for it however many files came between, blocking or asynchronous."""
    monkeypatch.setattr(appender, "_MOST_WRITERS", 2)
    monkeypatch.setattr(aio.appender, "_MOST_FILES", 2)
    with MetricsAppender(tmp_path / "sync", durability="os", rotation=ROTATION) as metrics:
        for skill in ("a", "a", "b", "c", "d", "e"):
            metrics.append_performance_metric(skill, "1", 1, "agent")
    assert kept_up == ["a_performance.json"]

    async def main() -> None:
        async with AsyncMetricsAppender(
            tmp_path / "async", durability="os", rotation=ROTATION
        ) as metrics:
            for skill in ("a", "a", "b", "c", "d", "e"):
                await metrics.append_performance_metric(skill, "1", 1, "agent")
        assert kept_up == ["a_performance.json"] * 2

    asyncio.run(main())


def test_the_cleaning_that_a_rotation_in_progress_begins_is_waited_for(
    path: str, kept_up: list[str], hold: Hold
) -> None:
    """Closing waits for a rotation that waits for the lock, and refuses a later one."""

    async def main() -> None:
        log = AsyncAppendLog(path, rotation=BY_HAND, lock_timeout=HANG_SECONDS)
        await log.append({})
        with hold(path):
            rotating = asyncio.create_task(log.rotate())
            await asyncio.sleep(0)
            closing = asyncio.create_task(log.aclose())
            await asyncio.sleep(0)
            with pytest.raises(ClosedError):
                await log.rotate()
        await closing
        assert kept_up == ["events.ndjson"]
        assert [
            thread for thread in threading.enumerate() if thread.name.startswith("metrics-appender")
        ] == []
        assert await rotating is not None

    asyncio.run(main())


def test_an_appender_that_is_being_closed_refuses_every_file_at_once(
    tmp_path: Path, hold: Hold
) -> None:
    """Every file refuses appends and rotations while closing still waits for another one."""

    async def main() -> None:
        metrics = AsyncMetricsAppender(tmp_path, lock_timeout=HANG_SECONDS)
        for skill in ("a", "b"):
            await metrics.append_performance_metric(skill, "1", 1, "agent")
        with hold(str(tmp_path / "a_performance.json")):
            waiting = asyncio.create_task(metrics.append_performance_metric("a", "2", 1, "agent"))
            await asyncio.sleep(0)
            closing = asyncio.create_task(metrics.aclose())
            await asyncio.sleep(0)
            for skill in ("a", "b", "c"):
                with pytest.raises(ClosedError):
                    await metrics.append_performance_metric(skill, "3", 1, "agent")
        await asyncio.gather(waiting, closing)
        with pytest.raises(ClosedError):
            await metrics.rotate("b_performance.json")
        assert sorted(os.listdir(tmp_path)) == ["a_performance.json", "b_performance.json"]
        assert [len(await metrics.read_metrics(f"{skill}_performance.json")) for skill in "ab"] == [
            2,
            1,
        ]

    asyncio.run(main())


@pytest.mark.parametrize("kind", [AsyncAppendLog, AsyncMetricsAppender])
def test_followers_end_though_a_file_cannot_be_closed(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised once all else is closed."""

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(LogWriter, "close", fail)

    async def main() -> None:
        opened = kind(tmp_path if kind is AsyncMetricsAppender else tmp_path / "a_performance.json")
        await (
            opened.append_performance_metric("a", "1", 1, "agent")
            if kind is AsyncMetricsAppender
            else opened.append({})
        )
        follower = opened.follow(*(["a_performance.json"] if kind is AsyncMetricsAppender else []))
        async with follower:
            waiting = asyncio.create_task(anext(follower))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="new thread"):
                await opened.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
