"""The races: which contenders, how many processes, threads and tasks, and what must be reached."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stress.small_disk import mounted

from . import peers
from .contenders import (
    ASYNC,
    ASYNC_UVLOOP,
    BARE,
    BARE_FSYNC,
    CALLS_OF_FSYNC,
    CALLS_OF_GROUP,
    CALLS_OF_OS,
    FSYNC,
    GROUP,
    MANY,
    OS,
    TYPED,
)
from .loggers import CONCURRENT_HANDLER
from .measure import measure
from .results import Entry, Goal
from .rounds import Race, Racer
from .worker import Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .contender import Contender
    from .results import Run

_FSYNC_GOALS: Final = {
    1: (Goal(FSYNC.name, "rate", 0.95),),
    **dict.fromkeys(
        (2, 4, 16, 64),
        (
            Goal(FSYNC.name, "rate", 0.85),
            Goal(FSYNC.name, "even", 0.8),
            Goal(FSYNC.name, "longest wait", 2),
        ),
    ),
}
_GROUP_RATES: Final = {1: 0.95, 4: 1.7, 16: 2.5}
_GROUP_EVEN: Final = (4, 16)
_FSYNC_PROCESSES: Final = (1, 2, 4, 16, 64)
_GROUP_PROCESSES: Final = (1, 4, 16, 64)
# Beside each durability its bare system calls: what lies between the two is this library's cost.
_SYNCED: Final = (BARE_FSYNC, CALLS_OF_FSYNC, FSYNC)
_GROUPED: Final = (CALLS_OF_GROUP, GROUP)


def append_races(seconds: float, directory: str) -> Iterator[Race]:
    """Yield every race of appends; a turn takes `seconds`, and writes below the directory."""
    for processes in _FSYNC_PROCESSES:
        is_grouped = processes in _GROUP_PROCESSES
        rivals = peers.DURABLE if is_grouped else ()
        yield _race(
            _plural(processes, "process"),
            (*_SYNCED, *(_GROUPED if is_grouped else ()), *rivals),
            (
                *_FSYNC_GOALS[processes],
                *_group_goals(processes),
                *_ahead_of(rivals, processes),
            ),
            Shape(processes),
            seconds,
            directory,
        )
    yield _journaled(16, seconds, directory)
    for shape, fsync_rate, group_rate in (
        (Shape(1, 8), 2.9, 0),
        (Shape(1, 64), 6.5, 0),
        (Shape(4, 16), 0, 10),
    ):
        goals = (*_rate_goal(FSYNC, fsync_rate), *_rate_goal(GROUP, group_rate))
        name = f"{_plural(shape.processes, 'process')} of {shape.threads} threads"
        yield _race(name, (BARE_FSYNC, FSYNC, GROUP), goals, shape, seconds, directory)
    tasks = Shape(1, 1, 1000)
    yield _race(
        "1,000 asyncio tasks against a loop",
        (BARE_FSYNC, ASYNC, ASYNC_UVLOOP),
        _rate_goal(ASYNC, 60),
        tasks,
        seconds,
        directory,
    )
    yield _race(
        "1,000 records a call against single appends",
        (FSYNC, MANY),
        _rate_goal(MANY, 190),
        Shape(),
        seconds,
        directory,
    )
    yield from _without_sync(seconds, directory)


def _without_sync(seconds: float, directory: str) -> Iterator[Race]:
    for processes in (1, 4, 16):
        goals = [
            *_rate_goal(OS, 1 / 6 if processes == 1 else 0),
            Goal(OS.name, "rate", 3, CONCURRENT_HANDLER.name),
            *(
                Goal(OS.name, "rate", 1, peer.name)
                for peer in peers.NOT_DURABLE
                if peer.is_process_safe
            ),
        ]
        ours = (OS, TYPED) if processes == 1 else (OS,)
        name = f"{_plural(processes, 'process')}, without sync"
        yield _race(
            name,
            (BARE, CALLS_OF_OS, *ours, *peers.NOT_DURABLE),
            goals,
            Shape(processes),
            seconds,
            directory,
        )
    rivals = [peer for peer in peers.NOT_DURABLE if peer.is_process_safe]
    goals = [Goal(OS.name, "rate", 1, peer.name) for peer in rivals]
    yield _race(
        "8 threads, without sync", (BARE, OS, *rivals), goals, Shape(1, 8), seconds, directory
    )


def _race(
    name: str,
    contenders: Iterable[Contender],
    goals: Iterable[Goal],
    shape: Shape,
    seconds: float,
    directory: str,
    *,
    is_mounted: bool = False,
) -> Race:
    turn = _measure_on_journal if is_mounted else measure
    racers = tuple(
        Racer(
            _entry(contender, is_baseline=number == 0),
            functools.partial(turn, contender, shape, seconds, directory),
        )
        for number, contender in enumerate(contenders)
    )
    return Race(name, racers, tuple(goals))


def _journaled(processes: int, seconds: float, directory: str) -> Race:
    name = f"{processes} processes on ext4 with a journal, loop-mounted"
    goals = (*_rate_goal(GROUP, 4), Goal(GROUP.name, "even", 0.85))
    return _race(
        name, (*_SYNCED, *_GROUPED), goals, Shape(processes), seconds, directory, is_mounted=True
    )


def _measure_on_journal(contender: Contender, shape: Shape, seconds: float, directory: str) -> Run:
    with tempfile.TemporaryDirectory(dir=directory) as place, mounted(Path(place)) as disk:
        return measure(contender, shape, seconds, str(disk))


def _entry(contender: Contender, *, is_baseline: bool) -> Entry:
    failure = (
        ""
        if contender.is_installed()
        else f"{contender.package} is not installed: pip install '.[bench]'"
    )
    return Entry(
        contender.name,
        contender.note,
        contender.is_durable,
        contender.is_process_safe,
        contender.side,
        is_baseline,
        failure=failure,
    )


def _rate_goal(contender: Contender, rate: float) -> tuple[Goal, ...]:
    return (Goal(contender.name, "rate", rate),) if rate else ()


def _group_goals(processes: int) -> tuple[Goal, ...]:
    even = (Goal(GROUP.name, "even", 0.85),) if processes in _GROUP_EVEN else ()
    return (*_rate_goal(GROUP, _GROUP_RATES.get(processes, 0)), *even)


def _ahead_of(rivals: Iterable[Contender], processes: int) -> Iterator[Goal]:
    """Yield the goals that put us ahead of each.

    In rate with "group", in evenness with "fsync" or "group".
    """
    for rival in rivals:
        yield Goal(GROUP.name, "rate", 1, rival.name)
        if processes > 1:
            yield Goal(FSYNC.name, "even", 1, rival.name)
            yield Goal(GROUP.name, "even", 1, rival.name)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}es"
