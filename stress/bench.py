"""The benchmark: appends per second, beside a bare loop of system calls in the same run.

    python -m stress.bench                 # everything, about four minutes
    python -m stress.bench --only fsync    # the rows whose name holds a text

The bare loop is the least that the job can be: flock, write of as many bytes, fsync, unlock, on a descriptor kept open.
Rounds are interleaved, ratios are taken within a round, and medians of them are shown with their range: single
figures of a shared machine mean nothing. `slowest/fastest` compares the processes of one run, where a
starved one shows; `longest wait` is the longest single append, in units of the bare loop's.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from metrics_appender import AppendLog, MetricsAppender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

RECORD: dict[str, Any] = {
    "execution_id": "fix_unicode_error_1760970309",
    "timestamp": 1760970309.143542,
    "timestamp_iso": "2025-10-20T14:25:09.143542+00:00",
    "skill_name": "YouTube Live Chat",
    "agent": "ai_overseer",
    "execution_time_ms": 25,
    "exception_occurred": True,
    "exception_type": None,
    "memory_usage_mb": None,
    "metric_type": "performance",
}
LINE = json.dumps(RECORD, separators=(",", ":")).encode() + b"\n"


class Run(NamedTuple):
    """What one run of one contender showed."""

    rate: float
    evenness: float
    longest_wait: float


class Row(NamedTuple):
    """One comparison: a contender against its baseline, with so many processes of so many threads."""

    name: str
    contender: str
    baseline: str
    processes: int
    threads: int
    target: str


ROWS = (
    Row("fsync, 1 process", "fsync", "bare fsync", 1, 1, "rate 0.95"),
    *(Row(f"fsync, {count} processes", "fsync", "bare fsync", count, 1, "rate 0.85, even 0.8, wait 2") for count in (2, 8, 32)),
    Row("fsync, 8 threads", "fsync", "bare fsync", 1, 8, "rate 2.9"),
    Row("fsync, 64 threads", "fsync", "bare fsync", 1, 64, "rate 6.5"),
    Row("os, 1 process", "os", "bare", 1, 1, "rate 1/6"),
    Row("os typed, 1 process", "os typed", "bare", 1, 1, ""),
    *(Row(f"os, {count} processes", "os", "concurrent-log-handler", count, 1, "rate 3") for count in (1, 4, 16)),
)


def bare(path: str, *, is_synced: bool) -> Callable[[], object]:
    """Return the least append there is."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append() -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, LINE)
        if is_synced:
            os.fsync(fd)
        fcntl.flock(fd, fcntl.LOCK_UN)

    return append


def concurrent_log_handler(path: str) -> Callable[[], object]:
    """Return an append of the same JSON through the handler, in its default configuration but for rotation."""
    import logging

    from concurrent_log_handler import ConcurrentRotatingFileHandler

    logger = logging.Logger("bench")  # noqa: LOG001 - a logger of its own: nothing of the process's logging may take part
    logger.addHandler(ConcurrentRotatingFileHandler(path, maxBytes=0))
    return lambda: logger.info(json.dumps(RECORD))


def typed(path: str) -> Callable[[], object]:
    """Return the append of a typed metric."""
    metrics = MetricsAppender(path + ".d", durability="os")
    return lambda: metrics.append_performance_metric("YouTube Live Chat", "fix_unicode_error_1760970309", 25, "ai_overseer", True)


CONTENDERS: dict[str, Callable[[str], Callable[[], object]]] = {
    "bare": lambda path: bare(path, is_synced=False),
    "bare fsync": lambda path: bare(path, is_synced=True),
    "fsync": lambda path: functools.partial(AppendLog(path).append, RECORD),
    "os": lambda path: functools.partial(AppendLog(path, durability="os").append, RECORD),
    "os typed": typed,
    "concurrent-log-handler": concurrent_log_handler,
}


def measure(contender: str, path: str, processes: int, threads: int, seconds: float) -> Run:
    """Let so many processes of so many threads append for so long; every thread with its own descriptor or log."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes)
    pipes = []
    for _ in range(processes):
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(contender, path, threads, seconds, barrier, sender))
        worker.start()
        pipes.append((receiver, worker))
    results = [receiver.recv() for receiver, _ in pipes]
    for _, worker in pipes:
        worker.join()
    counts = [count for count, _, _ in results]
    return Run(
        rate=sum(count / elapsed for count, elapsed, _ in results),
        evenness=min(counts) / max(counts),
        longest_wait=max(longest for _, _, longest in results),
    )


def _work(contender: str, path: str, threads: int, seconds: float, barrier: Barrier, sender: Connection) -> None:
    shared = CONTENDERS[contender](path)
    is_bare = contender.startswith("bare")
    appends = [CONTENDERS[contender](path) if is_bare else shared for _ in range(threads)]
    for append in appends:
        append()
    outcomes: list[tuple[int, float]] = []
    barrier.wait()
    start = time.perf_counter()
    workers = [threading.Thread(target=_loop, args=(append, start + seconds, outcomes)) for append in appends[1:]]
    for worker in workers:
        worker.start()
    _loop(appends[0], start + seconds, outcomes)
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - start
    sender.send((sum(count for count, _ in outcomes), elapsed, max(longest for _, longest in outcomes)))


def _loop(append: Callable[[], object], end: float, outcomes: list[tuple[int, float]]) -> None:
    count = 0
    longest = 0.0
    now = time.perf_counter()
    while now < end:
        append()
        count += 1
        before, now = now, time.perf_counter()
        longest = max(longest, now - before)
    outcomes.append((count, longest))


def rounds(row: Row, directory: str, count: int, seconds: float) -> Iterator[tuple[Run, Run]]:
    """Yield (contender, baseline) of each round, the two in alternating order."""
    for number in range(count):
        pair = {}
        order = [row.contender, row.baseline] if number % 2 else [row.baseline, row.contender]
        for name in order:
            path = os.path.join(directory, f"{name.replace(' ', '-')}-{row.processes}-{row.threads}-{number}.ndjson")
            pair[name] = measure(name, path, row.processes, row.threads, seconds)
        yield pair[row.contender], pair[row.baseline]


def import_milliseconds(count: int) -> float:
    """Return how much longer `import metrics_appender` takes than `pass`, in milliseconds, the median of rounds."""

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    for code in ("pass", "import metrics_appender"):
        run(code)
    return 1000 * statistics.median(run("import metrics_appender") - run("pass") for _ in range(count))


def main() -> None:
    """Run the rows asked for and print them as a table."""
    parser = argparse.ArgumentParser(prog="python -m stress.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--dir", help="where to write; a temporary directory without it")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(
        "what",
        "against",
        "rate, x",
        "range",
        "slowest/fastest",
        "its baseline",
        "longest wait, x",
        "to reach",
        title=f"medians of {options.rounds} rounds of {options.seconds:g} s; Python {platform.python_version()}, {platform.platform()}",
    )
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        for row in ROWS:
            if options.only in row.name:
                table.add_row(*_cells(row, list(rounds(row, directory, options.rounds, options.seconds))))
    console.print(table)
    if options.only in "import":
        console.print(f"import metrics_appender: {import_milliseconds(3 * options.rounds):.0f} ms over `python -c pass` (to reach: 60)")


def _cells(row: Row, pairs: list[tuple[Run, Run]]) -> Iterator[str]:
    ratios = sorted(ours.rate / theirs.rate for ours, theirs in pairs)
    yield row.name
    yield row.baseline
    yield f"{statistics.median(ratios):.2f}"
    yield f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
    yield f"{statistics.median(ours.evenness for ours, _ in pairs):.2f}"
    yield f"{statistics.median(theirs.evenness for _, theirs in pairs):.2f}"
    yield f"{statistics.median(ours.longest_wait / theirs.longest_wait for ours, theirs in pairs):.2f}"
    yield row.target


if __name__ == "__main__":
    main()
