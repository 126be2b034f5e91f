"""Reader processes, each with another method, that accept whole lines only."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from metrics_appender import MetricsAppender

from . import messages, verifier
from .writers import StopRequests, await_start, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection

    from .verifier import Mark
    from .writers import Task

_LIMITS = (1, 2, 10, 100, 1000)


def read_all(task: Task, outbox: Connection, go: Connection) -> None:
    """Read the whole file with `iter_metrics`, again and again: no line read before is missing."""
    metrics = MetricsAppender(os.path.dirname(task.path))
    before: dict[int, int] = {}

    def look() -> None:
        nonlocal before
        now = _newest(map(_mark, metrics.iter_metrics(os.path.basename(task.path))), are_all=True)
        assert all(now.get(caller, -1) >= number for caller, number in before.items()), (
            "lines that were read are gone"
        )
        before = now

    _repeat(look, task, outbox, go)


def read_last(task: Task, outbox: Connection, go: Connection) -> None:
    """Read the end of the file with `read_metrics`, again and again: it never gets older."""
    metrics = MetricsAppender(os.path.dirname(task.path))
    before: dict[int, int] = {}

    def look() -> None:
        for limit in _LIMITS:
            records = metrics.read_metrics(os.path.basename(task.path), limit)
            assert len(records) <= limit
            for caller, number in _newest(map(_mark, records), are_all=False).items():
                assert number >= before.get(caller, -1), "an older line was read as the newest"
                before[caller] = number

    _repeat(look, task, outbox, go)


def read_raw(task: Task, outbox: Connection, go: Connection) -> None:
    """Read bytes from where the last whole line ended, and verify every whole line."""
    newest: dict[int, int] = {}
    place = 0

    def look() -> None:
        nonlocal place
        for line in _whole_lines(task.path, place):
            _follow(newest, verifier.read_mark(line))
            place += len(line)

    _repeat(look, task, outbox, go)


def _repeat(look: Callable[[], None], task: Task, outbox: Connection, go: Connection) -> None:
    """Call `look` until asked to stop, and then once more; report how often."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    stop_requests = StopRequests()
    await_start(reporter, task, go)
    count = 0
    is_last = False
    while not is_last:
        is_last = stop_requests.count > 0
        look()
        count += 1
    reporter.report(messages.PHASE_OVER, task.callers[0], number=count)


def _whole_lines(path: str, place: int) -> list[bytes]:
    if not os.path.exists(path):
        return []
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, place)
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True) if b"\n" in data else []


def _mark(record: dict[str, Any]) -> Mark:
    """Verify a record as if it were a line of the file."""
    return verifier.read_mark(json.dumps(record).encode() + b"\n")


def _newest(marks: Iterable[Mark], *, are_all: bool) -> dict[int, int]:
    """Return each caller's newest line, with all lines up to it, and none after a gap."""
    newest: dict[int, int] = {}
    for mark in marks:
        if are_all:
            newest.setdefault(mark.caller, -1)
        _follow(newest, mark)
    return newest


def _follow(newest: dict[int, int], mark: Mark) -> None:
    expected = newest.get(mark.caller, mark.number - 1) + 1
    assert mark.number == expected, f"read {mark} where line {expected} was next"
    newest[mark.caller] = mark.number
