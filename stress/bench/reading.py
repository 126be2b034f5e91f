"""Reading races: the last hundred records against tail(1), a whole file against a decoder.

And the import.

`iter_metrics` yields dicts, so its baseline is msgspec decoding to dicts, `Decoder(dict[str,
Any])`, line by line from bytes that are in memory already. That is the fastest such loop, and the
stricter baseline: `decode_lines` over the same bytes takes half as long again or more, because it
keeps every dict until the last is made.
"""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from metrics_appender import MetricsAppender

from .record import line_of, record_of
from .results import Entry, Goal, Run, waits_of
from .rounds import Race, Racer

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final = 100
_CALLS: Final = 50
_STARTS: Final = 3
_LINES_A_WRITE: Final = 1 << 12
_OURS_LAST: Final = f"read_metrics(limit={LIMIT})"
_OURS_WHOLE: Final = "iter_metrics"
_OURS_IMPORT: Final = "import metrics_appender"


class Library:
    """A directory with files of so many bytes to read, written when first asked for."""

    def __init__(self, directory: str, size_bytes: int) -> None:
        """Name the directory."""
        self.metrics = MetricsAppender(os.path.join(directory, "reading"))
        self.size_bytes = size_bytes

    def file_of(self, size_bytes: int) -> str:
        """Return the name of a file of about that size."""
        name = f"{size_bytes}.json"
        path = self.path_of(name)
        if not os.path.exists(path):
            lines = line_of(record_of(0)) * _LINES_A_WRITE
            with open(path, "wb") as file:
                while file.tell() < size_bytes:
                    file.write(lines)
        return name

    def records_in(self, name: str) -> int:
        """Return how many lines it has."""
        return os.path.getsize(self.path_of(name)) // len(line_of(record_of(0)))

    def path_of(self, name: str) -> str:
        """Return where it is."""
        return os.path.join(self.metrics.metrics_dir, name)


def reading_races(directory: str, size_bytes: int) -> tuple[Race, ...]:
    """Return the races of readers.

    The last records are read from a file of that size, a tenth of it is read as a whole.
    """
    library = Library(directory, size_bytes)
    last = Race(
        f"the last {LIMIT} records of {size_bytes / 1e9:g} GB",
        (
            _baseline(
                f"tail -n {LIMIT}",
                "posix_spawn, output to /dev/null",
                functools.partial(_turn_of_tail, library),
            ),
            _ours(_OURS_LAST, "dicts", functools.partial(_turn_of_last, library)),
        ),
        (Goal(_OURS_LAST, "rate", 8), Goal(_OURS_LAST, "ms", 1)),
    )
    whole = Race(
        f"every record of {size_bytes / 1e10:g} GB",
        (
            _baseline(
                "msgspec, in memory",
                "Decoder(dict[str, Any]), line by line",
                functools.partial(_turn_of_decoder, library),
            ),
            _ours(_OURS_WHOLE, "dicts, from the file", functools.partial(_turn_of_whole, library)),
        ),
        (Goal(_OURS_WHOLE, "rate", 1 / 1.5),),
    )
    return last, whole


def import_race() -> Race:
    """Return how long an interpreter takes with the import, against without."""
    return Race(
        "starting Python",
        (
            _baseline("python -c pass", "", functools.partial(_turn_of_python, "pass")),
            _ours(_OURS_IMPORT, "", functools.partial(_turn_of_python, _OURS_IMPORT)),
        ),
        (Goal(_OURS_IMPORT, "ms over", 60),),
    )


def _baseline(name: str, note: str, turn: Callable[[], Run]) -> Racer:
    return Racer(
        Entry(name, note, is_durable=None, is_process_safe=None, side="peer", is_baseline=True),
        turn,
    )


def _ours(name: str, note: str, turn: Callable[[], Run]) -> Racer:
    return Racer(
        Entry(name, note, is_durable=None, is_process_safe=None, side="ours", is_baseline=False),
        turn,
    )


def _turn_of_last(library: Library) -> Run:
    name = library.file_of(library.size_bytes)
    return _time(lambda: library.metrics.read_metrics(name, LIMIT), _CALLS, LIMIT)


def _turn_of_tail(library: Library) -> Run:
    path = library.path_of(library.file_of(library.size_bytes))
    actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]

    def tail() -> None:
        child = os.posix_spawnp(
            "tail", ["tail", "-n", str(LIMIT), path], os.environ, file_actions=actions
        )
        assert os.waitpid(child, 0)[1] == 0, "tail failed"

    return _time(tail, _CALLS, LIMIT)


def _turn_of_whole(library: Library) -> Run:
    name = library.file_of(library.size_bytes // 10)

    records = library.records_in(name)

    def read() -> None:
        for _ in library.metrics.iter_metrics(name):
            pass

    return _time(read, 1, records)


def _turn_of_decoder(library: Library) -> Run:
    name = library.file_of(library.size_bytes // 10)
    records = library.records_in(name)
    with open(library.path_of(name), "rb") as file:
        data = io.BytesIO(file.read())
    decode = msgspec.json.Decoder(dict[str, Any]).decode

    def read() -> None:
        for line in data:
            decode(line)

    return _time(read, 1, records)


def _turn_of_python(code: str) -> Run:
    return _time(lambda: subprocess.run([sys.executable, "-c", code], check=True), _STARTS)


def _time(call: Callable[[], object], count: int, records: int = 1) -> Run:
    """Return the rate of calls that read so many records, each call timed."""
    waits = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        waits.append(time.perf_counter() - start)
    return Run(rate=count * records / sum(waits), evenness=1.0, waits=waits_of(waits))
