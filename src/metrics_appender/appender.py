"""MetricsAppender: append and read the metrics of skills, a typed method for each kind."""

from __future__ import annotations

import functools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from .append_log import (
    CHUNK_BYTES,
    DEFAULT_LOCK_TIMEOUT,
    Durability,
    check_durability,
    check_lock_timeout,
    import_the_rest,
    open_writer,
)
from .fs import calls
from .outcome import NOTHING_WRITTEN, explain, note_partly_written
from .records import naming
from .records.metric_lines import TypedMethods
from .records.metrics import FiledLine, by_file, encode_records
from .records.ndjson import chunked
from .write.log_writer import LogWriter, check_rotation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from .read.follower import Follower, Stop
    from .read.skipped import OnError
    from .records.metrics import Record
    from .segment.rotation import Rotation


_MOST_LOGS: Final = 1024


class MetricsAppender(TypedMethods):
    """The metrics of many skills in one directory, four NDJSON files a skill, shared by threads and processes.

    When an `append_…` method returns, its record's line is whole and on disk. `metrics_dir` is the
    directory, made if it is not there; without it, `$METRICS_APPENDER_DIR`, else
    `recursive_improvement/metrics` (see `naming.default_directory`). `durability`, `lock_timeout`
    (seconds) and `rotation` are those of `AppendLog`.

        >>> with MetricsAppender("metrics") as metrics:
        ...     metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
        ...     metrics.read_metrics("YouTube Live Chat_performance.json")[0]["execution_time_ms"]
        25

    Every method raises `InvalidRecordError` (a `ValueError`), naming every wrong field, before
    anything is opened; `LockTimeoutError` (a `TimeoutError`) when other writers kept the lock too
    long, with nothing written; and `OSError` when the disk fails, with a note that says what became
    of the record.

    `timestamp` is seconds since the epoch; the present when it is not given. A whole float is taken
    for a whole number, a `Decimal` or a NumPy scalar for its value; a bool is no number.
    """

    def __init__(
        self,
        metrics_dir: Path | str | None = None,
        *,
        durability: Durability = "fsync",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Make the directory if it is not there."""
        super().__init__()
        check_durability(durability)
        check_lock_timeout(lock_timeout)
        check_rotation(rotation)
        import_the_rest(is_rotating=rotation is not None)
        self._directory = (
            naming.default_directory()
            if metrics_dir is None
            else naming.absolute_path("metrics_dir", metrics_dir)
        )
        self._durability: Durability = durability
        self._lock_timeout = lock_timeout
        self._rotation = rotation
        self._is_closed = False
        self._logs: dict[str, LogWriter] = {}
        make_directory(self._directory, self._directory)

    @property
    def metrics_dir(self) -> Path:
        """The directory, as an absolute path."""
        from pathlib import Path

        return Path(self._directory)

    def append_many(self, records: Iterable[Record]) -> int:
        """Append typed records, of any kinds and skills, many at the price of one; return how many.

            >>> from metrics_appender.records.metrics import PerformanceMetric
            >>> runs = [("run-1", 25), ("run-2", 31)]
            >>> MetricsAppender("metrics").append_many(
            ...     PerformanceMetric(skill_name="YouTube Live Chat", execution_id=run, execution_time_ms=ms, agent="ai_overseer")
            ...     for run, ms in runs
            ... )
            2

        Each file takes one lock, one write and one sync, and its lines are all or nothing: after an
        error none of them is in it. Past 16 MiB of lines that holds for every 16 MiB by themselves.
        All are checked before any is written, as the `append_…` methods do, and a fault names its
        record by its place. An error's note says how many lines of which files are acknowledged.
        """
        acknowledged: Counter[str] = Counter()
        try:
            for chunk in chunked(
                encode_records(records, self.tokens), CHUNK_BYTES, FiledLine.count_bytes
            ):
                for name, lines in by_file(chunk).items():
                    self._append(self._logs.get(name) or self._new_log(name), b"".join(lines))
                    acknowledged[name] += len(lines)
        except BaseException as error:
            note_acknowledged_files(error, self._directory, acknowledged)
            raise
        return acknowledged.total()

    def read_metrics(
        self, filename: str, limit: int | None = None, *, on_error: OnError = "raise"
    ) -> list[dict[str, Any]]:
        """Return the most recent `limit` records of a file of the directory, oldest first.

        All without a limit.

        `[]` for a file that is not there. Takes no lock; the cost grows with the limit, not with
        the file. Raises `ValueError` for a negative limit or a name that leaves the directory,
        `CorruptLineError` (a `json.JSONDecodeError`) for a whole line that is no JSON object,
        unless `on_error` (see `AppendLog.read`) says otherwise.
        """
        from .read.reader import read_last

        return read_last(self._path_of(filename), limit, on_error)

    def iter_metrics(
        self, filename: str, *, on_error: OnError = "raise"
    ) -> Iterator[dict[str, Any]]:
        """Yield every record of a file of the directory, oldest first, in constant memory.

        As `read_metrics` else.
        """
        from .read.reader import iter_records

        return iter_records(self._path_of(filename), on_error)

    def rotate(self, filename: str) -> str | None:
        """Seal a file of the directory now, and return the name of the segment.

        As `AppendLog.rotate`.
        """
        name = naming.check_file_name(filename)
        return (self._logs.get(name) or self._new_log(name)).rotate()

    def follow(
        self,
        filename: str,
        start: str = "end",
        *,
        poll_seconds: float | None = None,
        stop: Stop | None = None,
        on_error: OnError = "raise",
        notify: bool | None = None,
    ) -> Follower:
        """Yield each record of a file of the directory from `start` on, as soon as it is whole.

        See `AppendLog.follow`.

        >>> metrics = MetricsAppender("metrics")
        >>> metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
        >>> with metrics.follow("YouTube Live Chat_performance.json", "beginning") as records:
        ...     record, cursor = next(records)
        """
        from .read.follower import Follower

        return Follower(
            self._path_of(filename),
            start,
            poll_seconds=poll_seconds,
            stop=stop,
            on_error=on_error,
            notify=notify,
        )

    def save_cursor(self, filename: str, name: str, cursor: str) -> None:
        """Store a cursor by name, beside the file, in place of the one before.

        Durable when this returns.

        Retention deletes no segment that a stored cursor still needs. A name is of 64 bytes at the
        most, without dots. Raises `ValueError` for another name or what is no cursor, `OSError`
        when the disk fails.
        """
        from .read.saved_cursors import save_cursor

        save_cursor(self._path_of(filename), name, cursor)

    def load_cursor(self, filename: str, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` when there is none."""
        from .read.saved_cursors import load_cursor

        return load_cursor(self._path_of(filename), name)

    def drop_cursor(self, filename: str, name: str) -> None:
        """Forget a stored cursor, so that retention no longer waits for it.

        Nothing happens when there is none.
        """
        from .read.saved_cursors import drop_cursor

        drop_cursor(self._path_of(filename), name)

    def cursors(self, filename: str) -> dict[str, str]:
        """Return every stored cursor by its name."""
        from .read.saved_cursors import list_cursors

        return list_cursors(self._path_of(filename))

    def close(self) -> None:
        """Refuse appends from now on.

        Those under way are finished, and so is the upkeep of segments. Closing again does nothing.
        """
        self._is_closed = True
        for log in list(self._logs.values()):
            log.close()

    def __enter__(self) -> Self:
        """Return the appender itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments.

        The other process makes an appender of its own for the same directory.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        make = functools.partial(
            type(self),
            durability=self._durability,
            lock_timeout=self._lock_timeout,
            rotation=self._rotation,
        )
        return make, (self._directory,)

    def __repr__(self) -> str:
        """Show the arguments."""
        rotation = "" if self._rotation is None else f", rotation={self._rotation!r}"
        return f"MetricsAppender({self._directory!r}, durability={self._durability!r}, lock_timeout={self._lock_timeout!r}{rotation})"

    def _path_of(self, filename: str) -> str:
        return os.path.join(self._directory, naming.check_file_name(filename))

    def _hand_in(self, skill_name: str, suffix: str, line: bytes) -> None:
        """Append the line to its file."""
        if type(skill_name) is not str:
            skill_name = naming.plain_text(skill_name)
        log = self._logs.get(skill_name + suffix) or self._new_log(
            naming.file_name(skill_name, suffix)
        )
        self._append(log, line)

    def _append(self, log: LogWriter, block: bytes) -> None:
        try:
            log.append(block)
        except FileNotFoundError:
            make_directory(self._directory, log.path)
            log.append(block)

    def _new_log(self, name: str) -> LogWriter:
        if len(self._logs) >= _MOST_LOGS:
            for known, log in list(self._logs.items()):
                if (
                    not log.is_cleaning
                ):  # else it holds nothing between appends; one in use lives on with its user
                    self._logs.pop(known, None)
        path = os.path.join(self._directory, name)
        log = open_writer(path, self._durability, self._lock_timeout, self._rotation)
        log = self._logs.setdefault(name, log)
        if self._is_closed:
            log.close()
        return log


def note_acknowledged_files(
    error: BaseException, directory: str, counts: Mapping[str, int]
) -> None:
    """Note on the error of an `append_many` which of its records stay."""
    if counts:
        listed = ", ".join(f"{count} in {name}" for name, count in counts.items())
        paths = [os.path.join(directory, name) for name in counts]
        note_partly_written(error, directory, f"of these records are acknowledged: {listed}", paths)


def make_directory(directory: str, path: str) -> None:
    """Make the directory, if it is not there, for what is to be written at `path`.

    An error says that nothing was.
    """
    try:
        calls.make_directory(directory)
    except OSError as error:
        raise explain(error, path, NOTHING_WRITTEN) from None
