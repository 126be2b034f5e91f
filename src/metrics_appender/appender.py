"""MetricsAppender: append and read the metrics of skills, a typed method for each kind."""

from __future__ import annotations

import functools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from .append_log import CHUNK_BYTES, open_writer
from .fs import calls
from .log_options import DEFAULT_LOCK_TIMEOUT, check_options
from .outcome import NOTHING_WRITTEN, explain, note_partly_written
from .records import metric_lines, naming
from .records.batches import batched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from .read.follower import Follower, Stop
    from .read.skipped import OnError
    from .records.metric_lines import FiledLine
    from .records.metrics import Record
    from .segment.rotation import Rotation
    from .write.durability import Durability
    from .write.log_writer import LogWriter


# How many files an appender keeps a writer for.
_MOST_WRITERS: Final = 1024


class MetricsAppender:
    """The metrics of many skills in one directory, four NDJSON files a skill.

    Any number of threads and processes may append at once. When an `append_…` method returns, its
    record's line is whole and on disk: a crash of the process, of the kernel, or the loss of power
    tears no line, mixes no two, and loses none that was acknowledged. Share one among threads, keep
    it over a fork, pickle it for a spawned worker.

    A value is taken by its meaning: a whole float for a whole number, a `Decimal` or a NumPy scalar
    for its value. A bool is no number. What cannot be written is refused, never guessed.

    Args:
        metrics_dir: the directory, made if it does not exist. Without it,
            `$METRICS_APPENDER_DIR`; else `recursive_improvement/metrics`, below
            `modules/infrastructure/wre_core` where that folder exists.
        durability: `"fsync"`, `"group"` or `"os"`, as of `AppendLog`.
        lock_timeout: the seconds that an append waits for other writers at most; 0 tries once,
            `None` waits for ever.
        rotation: when a file is sealed and the next one begun (see `Rotation`); never, without it.

    Raises:
        InvalidRecordError: an argument of a wrong type or value (also a `ValueError`). Nothing was
            made.
        OSError: the directory cannot be made.

    Example:
        >>> with MetricsAppender("metrics") as metrics:
        ...     metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
        ...     metrics.read_metrics("YouTube Live Chat_performance.json")[0]["execution_time_ms"]
        25
    """

    def __init__(
        self,
        metrics_dir: Path | str | None = None,
        *,
        durability: Durability = "fsync",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Make the directory if it does not exist; no file is opened before the first append."""
        self._options = check_options(durability, lock_timeout, rotation)
        self._directory = naming.metrics_directory(metrics_dir)
        self._is_closed = False
        self._writers: dict[str, LogWriter] = {}
        make_directory(self._directory, self._directory)

    @property
    def metrics_dir(self) -> Path:
        """The directory, as an absolute path."""
        from pathlib import Path

        return Path(self._directory)

    def append_performance_metric(
        self,
        skill_name: str,
        execution_id: str,
        execution_time_ms: int,
        agent: str,
        exception_occurred: bool = False,
        exception_type: str | None = None,
        memory_usage_mb: float | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Append how long one execution took and whether it failed.

        The record goes to `{skill_name}_performance.json`.

        Args:
            skill_name: the skill, in any script; blanks and dots are welcome. It names the file, so
                it is neither empty nor `.` nor `..`, holds no `/`, no backslash and no control
                character, and the file's name has 255 bytes at most.
            execution_id: which execution it was.
            execution_time_ms: how long it took, in milliseconds, 0 or more.
            agent: the agent that executed the skill.
            exception_occurred: whether the execution failed.
            exception_type: the exception's type, if there was one.
            memory_usage_mb: how much memory it used, in megabytes, 0 or more.
            timestamp: seconds since the epoch; the time of the call, if not given.

        Raises:
            InvalidRecordError: a field that cannot be written; every wrong field is named (also a
                `ValueError`). Nothing was opened.
            LockTimeoutError: other writers kept the lock past the deadline (also a `TimeoutError`).
                Nothing was written, and the line does not appear later.
            OSError: the disk failed. Its `outcome`, which its note shows too, is "nothing was
                written", or "the line may be in the file" where taking it back failed as well.
            ClosedError: `close()` was called before. Nothing was written.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
        """
        self._append(
            metric_lines.performance_line(
                skill_name,
                execution_id,
                execution_time_ms,
                agent,
                exception_occurred,
                exception_type,
                memory_usage_mb,
                timestamp,
            )
        )

    def append_outcome_metric(
        self,
        skill_name: str,
        execution_id: str,
        decision: str,
        expected_decision: str | None,
        correct: bool,
        confidence: float,
        reasoning: str,
        agent: str,
        timestamp: float | None = None,
    ) -> None:
        """Append what one execution decided and whether that was right.

        The record goes to `{skill_name}_outcomes.json`.

        Args:
            skill_name: the skill, as of `append_performance_metric`.
            execution_id: which execution it was.
            decision: what it decided.
            expected_decision: what it should have decided, if that is known.
            correct: whether the decision was right.
            confidence: how sure it was, from 0 to 1.
            reasoning: why it decided so.
            agent: the agent that executed the skill.
            timestamp: seconds since the epoch; the time of the call, if not given.

        Raises:
            InvalidRecordError, LockTimeoutError, OSError, ClosedError: as
                `append_performance_metric` does, with the same outcomes.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> metrics.append_outcome_metric(
            ...     "YouTube Live Chat", "run-1", "reply", "reply", True, 0.9, "named", "qwen"
            ... )
        """
        self._append(
            metric_lines.outcome_line(
                skill_name,
                execution_id,
                decision,
                expected_decision,
                correct,
                confidence,
                reasoning,
                agent,
                timestamp,
            )
        )

    def append_fidelity_metric(
        self,
        skill_name: str,
        execution_id: str,
        pattern_fidelity: float,
        patterns_followed: int,
        patterns_missed: int,
        patterns_detail: dict[str, bool],
        agent: str,
        timestamp: float | None = None,
    ) -> None:
        """Append how closely one execution kept to its skill's patterns.

        The record goes to `{skill_name}_fidelity.json`.

        Args:
            skill_name: the skill, as of `append_performance_metric`.
            execution_id: which execution it was.
            pattern_fidelity: how closely it kept to the patterns, from 0 to 1.
            patterns_followed: how many patterns it followed, 0 or more.
            patterns_missed: how many patterns it missed, 0 or more.
            patterns_detail: whether it followed each pattern, by the pattern's name.
            agent: the agent that executed the skill.
            timestamp: seconds since the epoch; the time of the call, if not given.

        Raises:
            InvalidRecordError, LockTimeoutError, OSError, ClosedError: as
                `append_performance_metric` does, with the same outcomes.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> followed = {"greets": True, "thanks": False}
            >>> metrics.append_fidelity_metric(
            ...     "YouTube Live Chat", "run-1", 0.5, 1, 1, followed, "gemma"
            ... )
        """
        self._append(
            metric_lines.fidelity_line(
                skill_name,
                execution_id,
                pattern_fidelity,
                patterns_followed,
                patterns_missed,
                patterns_detail,
                agent,
                timestamp,
            )
        )

    def append_promotion_event(
        self,
        skill_name: str,
        from_state: str,
        to_state: str,
        approver: str,
        approval_ticket: str,
        reason: str,
        automated_checks: dict[str, Any],
        timestamp: float | None = None,
    ) -> None:
        """Append that a skill was promoted, by whom and why, with an `event_id` of its own.

        The record goes to `{skill_name}_promotion_log.json`.

        Args:
            skill_name: the skill, as of `append_performance_metric`.
            from_state: the state before.
            to_state: the state after.
            approver: the person or program that approved it.
            approval_ticket: the ticket of the approval.
            reason: why.
            automated_checks: what the automated checks found. It holds what JSON can, and
                datetimes, paths, UUIDs, enums, dataclasses and NumPy scalars.
            timestamp: seconds since the epoch; the time of the call, if not given.

        Raises:
            InvalidRecordError, LockTimeoutError, OSError, ClosedError: as
                `append_performance_metric` does, with the same outcomes.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> checks = {"tests": "passed", "fidelity": 0.97}
            >>> metrics.append_promotion_event(
            ...     "YouTube Live Chat", "prototype", "staged", "0102", "T-1", "fidelity", checks
            ... )
        """
        self._append(
            metric_lines.promotion_line(
                skill_name,
                from_state,
                to_state,
                approver,
                approval_ticket,
                reason,
                automated_checks,
                timestamp,
            )
        )

    def append_rollback_event(
        self,
        skill_name: str,
        from_state: str,
        to_state: str,
        trigger_reason: str,
        trigger_metric: str,
        automated: bool = True,
        timestamp: float | None = None,
    ) -> None:
        """Append that a skill was rolled back and what triggered it, with an `event_id` of its own.

        The record goes to `{skill_name}_promotion_log.json`, the file of the promotions.

        Args:
            skill_name: the skill, as of `append_performance_metric`.
            from_state: the state before.
            to_state: the state after.
            trigger_reason: why.
            trigger_metric: which metric triggered it.
            automated: whether a program decided it.
            timestamp: seconds since the epoch; the time of the call, if not given.

        Raises:
            InvalidRecordError, LockTimeoutError, OSError, ClosedError: as
                `append_performance_metric` does, with the same outcomes.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> metrics.append_rollback_event(
            ...     "YouTube Live Chat", "staged", "prototype", "too slow", "execution_time_ms"
            ... )
        """
        self._append(
            metric_lines.rollback_line(
                skill_name,
                from_state,
                to_state,
                trigger_reason,
                trigger_metric,
                automated,
                timestamp,
            )
        )

    def append_many(self, records: Iterable[Record]) -> int:
        """Append typed records of any kinds and skills, many at the price of one.

        Each file takes one lock, one write and one sync, and its lines are all or nothing. Past
        16 MiB of lines in all, that holds for every 16 MiB by themselves, so that an iterable of
        any length takes a bounded memory. All records of 16 MiB are checked before any is written.

        Args:
            records: structs of `metrics_appender.records`. Each is encoded before the next is asked
                for, so that a generator may reuse what it yields. The fields that are made
                (`timestamp_iso`, `event_id`) are replaced.

        Returns:
            How many records were appended.

        Raises:
            InvalidRecordError: a record that cannot be written; each fault names it by its index,
                from 0. Nothing of its 16 MiB was opened.
            LockTimeoutError, OSError, ClosedError: as `append_performance_metric` does. Nothing of
                this batch is in the file that the error names; a note says how many lines of which
                files are acknowledged, and the outcome is "nothing more was written" for them.
            Exception: whatever the iterable raises, with the same note.

        Example:
            >>> from metrics_appender.records import PerformanceMetric
            >>> run = PerformanceMetric(
            ...     skill_name="YouTube Live Chat",
            ...     execution_id="run-1",
            ...     execution_time_ms=25,
            ...     agent="ai_overseer",
            ... )
            >>> MetricsAppender("metrics").append_many([run])
            1
        """
        acknowledged: Counter[str] = Counter()
        filed_lines = metric_lines.encode_records(records)
        try:
            for batch in batched(filed_lines, CHUNK_BYTES, metric_lines.count_bytes):
                for file_name, lines in metric_lines.lines_by_file(batch).items():
                    self._append((file_name, b"".join(lines)))
                    acknowledged[file_name] += len(lines)
        except BaseException as error:
            note_acknowledged_files(error, self._directory, acknowledged)
            raise
        return acknowledged.total()

    def read_metrics(
        self, filename: str, limit: int | None = None, *, on_error: OnError = "raise"
    ) -> list[dict[str, Any]]:
        """Return the most recent records of a file of the directory, oldest first.

        Takes no lock. The cost grows with the limit, not with the file.

        Args:
            filename: the file's name, such as `"YouTube Live Chat_performance.json"`.
            limit: how many records at most, 0 or more; all of them without it.
            on_error: what happens at a whole line that is no JSON object, as of `AppendLog.read`:
                `"raise"`, `"skip"`, or a `SkippedLines()` that collects them.

        Returns:
            The records; none for a file that does not exist.

        Raises:
            InvalidRecordError: a name that leaves the directory (also a `ValueError`).
            ValueError: a negative limit.
            CorruptLineError: a whole line that is no JSON object (also a `json.JSONDecodeError`).
            OSError: the file cannot be read.

        Example:
            >>> MetricsAppender("metrics").read_metrics("none_performance.json", limit=100)
            []
        """
        from .read.reader import read_last

        return read_last(self._path_of(filename), limit, on_error)

    def iter_metrics(
        self, filename: str, *, on_error: OnError = "raise"
    ) -> Iterator[dict[str, Any]]:
        """Yield every record of a file of the directory, oldest first, in constant memory.

        Args:
            filename: the file's name.
            on_error: as of `read_metrics`.

        Returns:
            An iterator of the records.

        Raises:
            InvalidRecordError: at the call, a name that leaves the directory.
            CorruptLineError, OSError: as `read_metrics` does, when the line is reached.

        Example:
            >>> list(MetricsAppender("metrics").iter_metrics("none_performance.json"))
            []
        """
        from .read.reader import iter_records

        return iter_records(self._path_of(filename), on_error)

    def rotate(self, filename: str) -> str | None:
        """Seal a file of the directory now; the next append begins the next one.

        Args:
            filename: the file's name.

        Returns:
            The path of the segment, or `None` where there is no whole line to seal.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            LockTimeoutError, OSError, ClosedError: as `AppendLog.rotate` does. The file is sealed
                then or as it was, and no line is lost.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
            >>> segment = metrics.rotate("YouTube Live Chat_performance.json")
            >>> len(metrics.read_metrics("YouTube Live Chat_performance.json"))
            1
        """
        return self._writer_for(naming.check_file_name(filename)).rotate()

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

        Args:
            filename: the file's name. The file need not exist yet.
            start: `"end"`, `"beginning"`, or a cursor that came with a record.
            poll_seconds: the seconds between two reads of the file.
            stop: a `threading.Event` that ends it.
            on_error: as of `read_metrics`.
            notify: whether the kernel is asked to wake it. All but the name are those of
                `AppendLog.follow`.

        Returns:
            An iterator of `(record, cursor)`, without an end, and a context manager that closes it.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            CursorGoneError, CorruptLineError, ValueError, OSError: as `AppendLog.follow` does.

        Example:
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
        """Store a cursor by name, beside the file, in place of the one before; durably.

        Retention deletes no segment that a stored cursor still needs.

        Args:
            filename: the file's name.
            name: the cursor's name, of 64 bytes at most and without dots.
            cursor: a cursor that came with a record of this file.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            ValueError: no name of a cursor, or no cursor. Nothing was stored.
            OSError: the disk failed. The cursor that is stored may be the one before.

        Example:
            >>> metrics = MetricsAppender("metrics")
            >>> metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
            >>> filename = "YouTube Live Chat_performance.json"
            >>> with metrics.follow(filename, "beginning") as records:
            ...     record, cursor = next(records)
            >>> metrics.save_cursor(filename, "promoter", cursor)
            >>> metrics.load_cursor(filename, "promoter") == cursor
            True
        """
        from .read.saved_cursors import save_cursor

        save_cursor(self._path_of(filename), name, cursor)

    def load_cursor(self, filename: str, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` where there is none.

        Args:
            filename: the file's name.
            name: the cursor's name.

        Returns:
            The cursor, to `follow` from.

        Raises:
            InvalidRecordError, ValueError, OSError: as `save_cursor` does.

        Example:
            >>> MetricsAppender("metrics").load_cursor("none_performance.json", "promoter")
        """
        from .read.saved_cursors import load_cursor

        return load_cursor(self._path_of(filename), name)

    def drop_cursor(self, filename: str, name: str) -> None:
        """Delete a stored cursor, so that retention no longer waits for it.

        Args:
            filename: the file's name.
            name: the cursor's name. Nothing happens where no cursor is stored under it.

        Raises:
            InvalidRecordError, ValueError, OSError: as `save_cursor` does.

        Example:
            >>> MetricsAppender("metrics").drop_cursor("none_performance.json", "promoter")
        """
        from .read.saved_cursors import drop_cursor

        drop_cursor(self._path_of(filename), name)

    def cursors(self, filename: str) -> dict[str, str]:
        """Return every stored cursor of a file by its name.

        Args:
            filename: the file's name.

        Returns:
            The cursors; none for a file that does not exist.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            OSError: the directory cannot be read.

        Example:
            >>> MetricsAppender("metrics").cursors("none_performance.json")
            {}
        """
        from .read.saved_cursors import list_cursors

        return list_cursors(self._path_of(filename))

    def close(self) -> None:
        """Refuse appends from now on.

        Returns when those under way are done, and the cleaning of segments too. Reading goes on;
        closing again does nothing.

        Example:
            >>> MetricsAppender("metrics").close()
        """
        self._is_closed = True
        for writer in list(self._writers.values()):
            writer.close()

    def __enter__(self) -> Self:
        """Return the appender itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the appender."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: the other process makes an appender of its own.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        return functools.partial(type(self), **self._options._asdict()), (self._directory,)

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"MetricsAppender({self._directory!r}, {self._options})"

    def _path_of(self, filename: str) -> str:
        return os.path.join(self._directory, naming.check_file_name(filename))

    def _append(self, filed: FiledLine) -> None:
        """Append a line, or several joined ones, to its file."""
        file_name, block = filed
        writer = self._writers.get(file_name) or self._writer_for(file_name)
        try:
            writer.append(block)
        except FileNotFoundError:
            make_directory(self._directory, writer.path)
            writer.append(block)

    def _writer_for(self, file_name: str) -> LogWriter:
        writer = self._writers.get(file_name)
        if writer is not None:
            return writer
        if len(self._writers) >= _MOST_WRITERS:
            # A writer without cleaning under way holds nothing between two appends; one that
            # another thread uses lives on with that thread.
            for known, writer in list(self._writers.items()):
                if not writer.is_cleaning:
                    self._writers.pop(known, None)
        path = os.path.join(self._directory, file_name)
        writer = self._writers.setdefault(file_name, open_writer(path, *self._options))
        if self._is_closed:
            writer.close()
        return writer


def note_acknowledged_files(
    error: BaseException, directory: str, counts: Mapping[str, int]
) -> None:
    """Note on the error of an `append_many` how many of its records each file keeps."""
    if counts:
        listed = ", ".join(f"{count} in {name}" for name, count in counts.items())
        paths = [os.path.join(directory, name) for name in counts]
        note_partly_written(error, directory, f"of these records are acknowledged: {listed}", paths)


def make_directory(directory: str, path: str) -> None:
    """Make the directory if it does not exist; an error says that nothing was written at `path`."""
    try:
        calls.make_directory(directory)
    except OSError as error:
        raise explain(error, path, NOTHING_WRITTEN) from None
