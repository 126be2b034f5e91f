"""MetricsAppender: append and read the metrics of skills, a typed method for each kind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from . import disk, naming, reader, records
from .append_log import DEFAULT_LOCK_TIMEOUT, AppendLog, Durability, check_durability, check_lock_timeout
from .errors import NOTHING_WRITTEN, explain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_MOST_LOGS: Final = 1024


class MetricsAppender:
    """The metrics of many skills in one directory, four NDJSON files a skill, shared by threads and processes.

    When an `append_…` method returns, its record's line is whole and on disk. `metrics_dir` is the
    directory, made if it is not there; without it, `$METRICS_APPENDER_DIR`, else `recursive_improvement/metrics`
    (see `naming.default_directory`). `durability` and `lock_timeout` (seconds) are those of `AppendLog`.

        >>> with MetricsAppender("metrics") as metrics:
        ...     metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
        ...     metrics.read_metrics("YouTube Live Chat_performance.json")[0]["execution_time_ms"]
        25

    Every method raises `InvalidRecordError` (a `ValueError`), naming every wrong field, before anything is opened;
    `LockTimeoutError` (a `TimeoutError`) when other writers kept the lock too long, with nothing written; and
    `OSError` when the disk fails, with a note that says what became of the record.

    `timestamp` is seconds since the epoch; the present when it is not given. A whole float is taken for
    a whole number, a NumPy scalar for its value; a bool is no number.
    """

    def __init__(
        self,
        metrics_dir: Path | str | None = None,
        *,
        durability: Durability = "fsync",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
    ) -> None:
        """Make the directory if it is not there."""
        check_durability(durability)
        check_lock_timeout(lock_timeout)
        self._directory = naming.default_directory() if metrics_dir is None else os.path.abspath(os.fspath(metrics_dir))
        self._durability: Durability = durability
        self._lock_timeout = lock_timeout
        self._is_closed = False
        self._logs: dict[str, AppendLog] = {}
        self._tokens = records.EventTokens()
        disk.make_directory(self._directory)

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
        """Append how long one execution took (milliseconds, 0 or more), and whether it failed.

        To `{skill_name}_performance.json`. `memory_usage_mb` is in megabytes, 0 or more.
        """
        line = records.encode_metric(
            records.PerformanceMetric,
            naming.PERFORMANCE,
            {
                "execution_id": execution_id,
                "timestamp": timestamp,
                "skill_name": skill_name,
                "agent": agent,
                "execution_time_ms": execution_time_ms,
                "exception_occurred": exception_occurred,
                "exception_type": exception_type,
                "memory_usage_mb": memory_usage_mb,
            },
        )
        self._append(skill_name, naming.PERFORMANCE, line)

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
        """Append what one execution decided and whether that was right; `confidence` is from 0 to 1.

        To `{skill_name}_outcomes.json`.
        """
        line = records.encode_metric(
            records.OutcomeMetric,
            naming.OUTCOMES,
            {
                "execution_id": execution_id,
                "timestamp": timestamp,
                "skill_name": skill_name,
                "agent": agent,
                "decision": decision,
                "expected_decision": expected_decision,
                "correct": correct,
                "confidence": confidence,
                "reasoning": reasoning,
            },
        )
        self._append(skill_name, naming.OUTCOMES, line)

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
        """Append how closely one execution kept to its skill's patterns; `pattern_fidelity` is from 0 to 1.

        To `{skill_name}_fidelity.json`. `patterns_detail` says of each pattern whether it was followed.
        """
        line = records.encode_metric(
            records.FidelityMetric,
            naming.FIDELITY,
            {
                "execution_id": execution_id,
                "timestamp": timestamp,
                "skill_name": skill_name,
                "agent": agent,
                "pattern_fidelity": pattern_fidelity,
                "patterns_followed": patterns_followed,
                "patterns_missed": patterns_missed,
                "patterns_detail": patterns_detail,
            },
        )
        self._append(skill_name, naming.FIDELITY, line)

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

        To `{skill_name}_promotion_log.json`. `automated_checks` may hold what JSON can, and datetimes, paths, UUIDs,
        enums, dataclasses and NumPy scalars.
        """
        line = records.encode_event(
            records.PromotionEvent,
            naming.PROMOTION_LOG,
            {
                "timestamp": timestamp,
                "skill_name": skill_name,
                "from_state": from_state,
                "to_state": to_state,
                "approver": approver,
                "approval_ticket": approval_ticket,
                "reason": reason,
                "automated_checks": automated_checks,
            },
            "promo",
            self._tokens.take(),
        )
        self._append(skill_name, naming.PROMOTION_LOG, line)

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
        """Append that a skill was rolled back, and which metric triggered it, with an `event_id` of its own.

        To `{skill_name}_promotion_log.json`, the file of the promotions.
        """
        line = records.encode_event(
            records.RollbackEvent,
            naming.PROMOTION_LOG,
            {
                "timestamp": timestamp,
                "skill_name": skill_name,
                "from_state": from_state,
                "to_state": to_state,
                "trigger_reason": trigger_reason,
                "trigger_metric": trigger_metric,
                "automated": automated,
            },
            "rollback",
            self._tokens.take(),
        )
        self._append(skill_name, naming.PROMOTION_LOG, line)

    def read_metrics(self, filename: str, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the most recent `limit` records of a file of the directory, oldest first; all without a limit.

        `[]` for a file that is not there. Takes no lock; the cost grows with the limit, not with the file.
        Raises `ValueError` for a negative limit or a name that leaves the directory, `CorruptLineError` (a
        `json.JSONDecodeError`) for a whole line that is no JSON object.
        """
        return reader.read_last(self._path_of(filename), limit)

    def iter_metrics(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield every record of a file of the directory, oldest first, in constant memory; as `read_metrics` else."""
        return reader.iter_records(self._path_of(filename))

    def close(self) -> None:
        """Refuse appends from now on; those under way are finished. Closing again does nothing."""
        self._is_closed = True
        for log in list(self._logs.values()):
            log.close()

    def __enter__(self) -> Self:
        """Return the appender itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: the other process makes an appender of its own for the same directory."""
        return _remade, (self._directory, self._durability, self._lock_timeout)

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"MetricsAppender({self._directory!r}, durability={self._durability!r}, lock_timeout={self._lock_timeout!r})"

    def _path_of(self, filename: str) -> str:
        return os.path.join(self._directory, naming.check_file_name(filename))

    def _append(self, skill_name: str, suffix: str, line: bytes) -> None:
        name = skill_name + suffix
        log = self._logs.get(name) or self._new_log(naming.file_name(skill_name, suffix))
        try:
            log.append_line(line)
        except FileNotFoundError:
            # The directory was removed while this appender lived: it is made again, as at the start.
            try:
                disk.make_directory(self._directory)
            except OSError as error:
                raise explain(error, log.path, NOTHING_WRITTEN) from None
            log.append_line(line)

    def _new_log(self, name: str) -> AppendLog:
        if len(self._logs) >= _MOST_LOGS:
            self._logs.clear()  # they hold nothing between appends; one in use lives on with its user
        log = AppendLog(os.path.join(self._directory, name), durability=self._durability, lock_timeout=self._lock_timeout)
        log = self._logs.setdefault(name, log)
        if self._is_closed:
            log.close()
        return log


def _remade(directory: str, durability: Durability, lock_timeout: float | None) -> MetricsAppender:
    return MetricsAppender(directory, durability=durability, lock_timeout=lock_timeout)
