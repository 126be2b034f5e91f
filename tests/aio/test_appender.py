"""AsyncMetricsAppender: the typed methods of MetricsAppender, as coroutines."""

from __future__ import annotations

import asyncio
import doctest
import errno
import importlib
import inspect
import json
import pickle
import pkgutil
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, assert_type

import pytest

import metrics_appender.aio
from metrics_appender import ClosedError, InvalidRecordError, MetricsAppender
from metrics_appender.aio import AsyncMetricsAppender, appender

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conftest import Waiting

    Hold = Callable[[str], AbstractContextManager[int]]

HANG_SECONDS = 60.0
INSTANT = 1760970309.143542
CALLS: dict[str, tuple[Any, ...]] = {
    "append_performance_metric": ("s", "e", 25, "me", True, "KeyError", 12.5, INSTANT),
    "append_outcome_metric": ("s", "e", "promote", None, False, 0.75, "because", "me", INSTANT),
    "append_fidelity_metric": ("s", "e", 0.5, 2, 2, {"a": False}, "me", INSTANT),
    "append_promotion_event": ("s", "f", "t", "Zoë", "T-1", "good", {"a": [None]}, INSTANT),
    "append_rollback_event": ("s", "t", "f", "slow", "p99", False, INSTANT),
}
FILES = ["s_fidelity.json", "s_outcomes.json", "s_performance.json", "s_promotion_log.json"]
MODULES = [
    f"metrics_appender.aio.{module.name}"
    for module in pkgutil.iter_modules(metrics_appender.aio.__path__)
]


@pytest.fixture(autouse=True)
def _no_thread_of_another_test(wait: Waiting) -> None:
    """Begin when the threads of earlier tests have ended."""
    wait.until(
        lambda: (
            not [
                thread for thread in threading.enumerate() if thread.name == "metrics-appender-aio"
            ]
        )
    )


def test_every_typed_method_is_a_coroutine_of_the_same_parameters_and_docstring() -> None:
    """None is missing, and help() shows the same for both."""
    assert set(CALLS) == {
        name
        for name in dir(MetricsAppender)
        if name.startswith("append_") and name != "append_many"
    }
    for name in CALLS:
        ours, theirs = getattr(AsyncMetricsAppender, name), getattr(MetricsAppender, name)
        assert inspect.iscoroutinefunction(ours)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__doc__ == theirs.__doc__
    expected = inspect.signature(MetricsAppender.__init__).parameters
    found = inspect.signature(AsyncMetricsAppender.__init__).parameters
    assert [(name, part.kind) for name, part in found.items()] == [
        (name, part.kind) for name, part in expected.items()
    ]
    assert found["durability"].default == "group"


def test_the_type_checker_knows_the_parameters(tmp_path: Path) -> None:
    """What mypy checks: a call by position and by name, and what is returned.

    A wrong type is an error there.
    """

    async def main() -> None:
        async with AsyncMetricsAppender(tmp_path) as metrics:
            assert_type(
                await metrics.append_performance_metric(
                    "s", "e", 1, agent="a", memory_usage_mb=0.5
                ),
                None,
            )
            with pytest.raises(InvalidRecordError):
                await metrics.append_performance_metric("s", "e", "1", "a")  # type: ignore[arg-type]  # that is the point
            assert_type(await metrics.read_metrics("s_performance.json"), list[dict[str, Any]])

    asyncio.run(main())


def test_both_appenders_write_the_same_lines_to_the_same_files(tmp_path: Path) -> None:
    """Byte for byte, but for the ids of events."""

    async def main() -> None:
        async with AsyncMetricsAppender(tmp_path / "async") as metrics:
            for name, arguments in CALLS.items():
                await getattr(metrics, name)(*arguments)

    asyncio.run(main())
    with MetricsAppender(tmp_path / "sync") as metrics:
        for name, arguments in CALLS.items():
            getattr(metrics, name)(*arguments)
    assert sorted(path.name for path in (tmp_path / "async").iterdir()) == FILES
    for name in FILES:
        ours, theirs = (
            [
                json.loads(line)
                for line in (tmp_path / kind / name).read_text(encoding="utf-8").splitlines()
            ]
            for kind in ("async", "sync")
        )
        for record in ours + theirs:
            record.pop("event_id", None)
        assert repr(ours) == repr(theirs)


def test_tasks_of_many_skills_keep_each_file_to_itself(tmp_path: Path) -> None:
    """Every record once, each task's in the order of its calls, and no two events share an id."""

    async def main() -> None:
        async with AsyncMetricsAppender(tmp_path) as metrics:

            async def work(task: int) -> None:
                for number in range(10):
                    await metrics.append_performance_metric(
                        f"s{number % 2}", str(task), number, "a"
                    )
                    await metrics.append_rollback_event(
                        f"s{number % 2}", str(task), str(number), "r", "m"
                    )

            await asyncio.gather(*map(work, range(50)))
            for skill in (0, 1):
                records = await metrics.read_metrics(f"s{skill}_performance.json")
                events = [
                    event async for event in metrics.iter_metrics(f"s{skill}_promotion_log.json")
                ]
                assert (
                    len({event["event_id"] for event in events})
                    == len(events)
                    == len(records)
                    == 250
                )
                for task in range(50):
                    expected = list(range(skill, 10, 2))
                    assert [
                        record["execution_time_ms"]
                        for record in records
                        if record["execution_id"] == str(task)
                    ] == expected
                    assert [
                        int(event["to_state"])
                        for event in events
                        if event["from_state"] == str(task)
                    ] == expected

    asyncio.run(main())


def test_a_file_whose_lock_is_held_keeps_no_other_file_waiting(tmp_path: Path, hold: Hold) -> None:
    """One file's writes are under way beside the other's.

    The loop lets go of the lock when those are done.
    """

    async def main() -> None:
        async with AsyncMetricsAppender(tmp_path, lock_timeout=HANG_SECONDS) as metrics:
            with hold(str(tmp_path / "held_performance.json")):
                task = asyncio.create_task(metrics.append_performance_metric("held", "e", 1, "a"))
                await metrics.append_performance_metric("free", "e", 1, "a")
                assert len(await metrics.read_metrics("free_performance.json")) == 1
                assert not task.done()
            await task
            assert len(await metrics.read_metrics("held_performance.json")) == 1

    asyncio.run(main())


def test_the_directory_is_made_by_the_first_append_and_again_when_it_is_removed(
    tmp_path: Path,
) -> None:
    """Nothing is made by naming it; its removal by another program is no error.

    One that cannot be made is.
    """

    async def main() -> None:
        async with AsyncMetricsAppender(tmp_path / "a" / "b") as metrics:
            assert not (tmp_path / "a").exists()
            assert await metrics.read_metrics("s_performance.json") == []
            for name in ("lost", "kept"):
                shutil.rmtree(tmp_path / "a", ignore_errors=True)
                await metrics.append_performance_metric("s", name, 1, "a")
            assert [
                record["execution_id"]
                for record in await metrics.read_metrics("s_performance.json")
            ] == ["kept"]
            assert metrics.metrics_dir == tmp_path / "a" / "b"
        (tmp_path / "file").write_text("")
        async with AsyncMetricsAppender(tmp_path / "file" / "below") as metrics:
            with pytest.raises(NotADirectoryError) as caught:
                await metrics.append_performance_metric("s", "e", 1, "a")
            assert caught.value.errno == errno.ENOTDIR
            assert any("nothing was written" in note for note in caught.value.__notes__)

    asyncio.run(main())


def test_names_and_options_are_checked_as_by_the_other_appender(tmp_path: Path) -> None:
    """Before anything is made, opened or read."""

    async def main() -> None:
        metrics = AsyncMetricsAppender(tmp_path / "none")
        with pytest.raises(InvalidRecordError):
            await metrics.append_rollback_event("../s", "f", "t", "r", "m")
        with pytest.raises(InvalidRecordError):
            await metrics.read_metrics("../x")
        with pytest.raises(InvalidRecordError):
            metrics.iter_metrics("../x")
        with pytest.raises(InvalidRecordError):
            AsyncMetricsAppender(tmp_path / "none", durability="never")  # type: ignore[arg-type]  # that is the point
        assert not (tmp_path / "none").exists()

    asyncio.run(main())


def test_more_files_than_are_remembered_are_all_written_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept per file is bounded.

    After `aclose()` every file refuses, known or not, and no thread is left.
    """
    monkeypatch.setattr(appender, "_MOST_FILES", 3)

    async def main() -> None:
        metrics = AsyncMetricsAppender(tmp_path)
        for _ in range(2):
            await asyncio.gather(
                *(metrics.append_performance_metric(f"s{n}", "e", 1, "a") for n in range(7))
            )
        await metrics.append_performance_metric("s7", "e", 1, "a")
        assert len(metrics._files) == 1
        for _ in range(2):
            await metrics.aclose()
        assert [
            thread.name for thread in threading.enumerate() if thread.name == "metrics-appender-aio"
        ] == []
        for skill in ("s0", "s6", "new"):
            with pytest.raises(ClosedError):
                await metrics.append_performance_metric(skill, "e", 1, "a")
        assert [len(await metrics.read_metrics(f"s{n}_performance.json")) for n in range(8)] == [
            *[2] * 7,
            1,
        ]

    asyncio.run(main())


def test_a_pickled_appender_is_made_anew(tmp_path: Path) -> None:
    """By its arguments."""
    metrics = AsyncMetricsAppender(tmp_path, durability="os", lock_timeout=None)
    assert repr(pickle.loads(pickle.dumps(metrics))) == repr(metrics)


def test_writes_that_wait_for_locks_keep_no_reader_waiting(tmp_path: Path, hold: Hold) -> None:
    """Not even when all threads there may be wait."""

    async def main() -> None:
        async with AsyncMetricsAppender(tmp_path, lock_timeout=HANG_SECONDS) as metrics:
            metrics._writers._most = metrics._readers._most = 1
            with hold(str(tmp_path / "held_performance.json")):
                task = asyncio.create_task(metrics.append_performance_metric("held", "e", 1, "a"))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert await metrics.read_metrics("held_performance.json") == []
            await task

    asyncio.run(main())


def test_a_first_append_imports_nothing_in_the_loop() -> None:
    """Whatever an append needs is there when `metrics_appender.aio` is."""
    code = "import sys, metrics_appender.aio; print('portalocker' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_async_docstrings_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prints what it says, in an empty directory."""
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner()
    for number, example in enumerate(doctest.DocTestFinder().find(module)):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        report: list[str] = []
        assert runner.run(example, out=report.append).failed == 0, "".join(report)
