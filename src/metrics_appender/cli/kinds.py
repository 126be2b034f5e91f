"""The commands `append performance` to `append rollback`: one typed record from options."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..append_log import DEFAULT_LOCK_TIMEOUT, Durability
from ..appender import MetricsAppender
from ..outcome import add_detail
from ..records import naming
from ..records.ndjson import decode_line
from .failures import describe
from .options import LockTimeout, SyncedBy
from .streams import StandardOutputError

Skill = Annotated[str, typer.Option("--skill", help="The skill's name, as people write it.")]
ExecutionId = Annotated[str, typer.Option(help="Which execution this is about.")]
Agent = Annotated[str, typer.Option(help="Who executed the skill.")]
FromState = Annotated[str, typer.Option(help="The state before.")]
ToState = Annotated[str, typer.Option(help="The state after.")]
Timestamp = Annotated[
    float | None,
    typer.Option(help="Seconds since the epoch; now, unless given.", show_default=False),
]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The directory of the metrics; else $METRICS_APPENDER_DIR, else "
        "recursive_improvement/metrics.",
    ),
]


def _json_object(text: str) -> dict[str, Any]:
    try:
        return decode_line(text.encode())
    except (json.JSONDecodeError, UnicodeEncodeError) as error:
        message = describe(error)
        raise typer.BadParameter(message) from error


PatternsDetail = typer.Option(
    parser=_json_object,
    metavar="JSON",
    help='Which were followed: {"greets": true, "thanks": false}',
)
AutomatedChecks = typer.Option(
    parser=_json_object, metavar="JSON", help='What the checks said: {"tests": "passed"}'
)


def report_acknowledged(acknowledged: int, where: str | Path) -> None:
    """Print how many records are durable; if that fails, add the number to the error."""
    records = f"{acknowledged} record{'' if acknowledged == 1 else 's'}"
    try:
        typer.echo(f"{records} acknowledged in {where}")
    except StandardOutputError as error:
        add_detail(
            error, str(where), f"{records} {'was' if acknowledged == 1 else 'were'} acknowledged"
        )
        raise


@contextlib.contextmanager
def _opened(
    skill: str, suffix: str, directory: Path | None, durability: Durability, lock_timeout: float
) -> Iterator[MetricsAppender]:
    """Open a directory of metrics to append one record, then print the acknowledgement."""
    with MetricsAppender(directory, durability=durability, lock_timeout=lock_timeout) as metrics:
        yield metrics
    report_acknowledged(1, metrics.metrics_dir / naming.file_name(skill, suffix))


def performance(
    skill: Skill,
    execution_id: ExecutionId,
    execution_time_ms: Annotated[int, typer.Option(help="How long it took, in milliseconds.")],
    agent: Agent,
    exception_occurred: Annotated[bool, typer.Option(help="Whether it failed.")] = False,
    exception_type: Annotated[
        str | None, typer.Option(help="The exception's name, if it failed.")
    ] = None,
    memory_usage_mb: Annotated[
        float | None, typer.Option(help="How much memory it took, in megabytes.")
    ] = None,
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append how long an execution took, and whether it failed."""
    with _opened(skill, naming.PERFORMANCE, directory, durability, lock_timeout) as metrics:
        metrics.append_performance_metric(
            skill,
            execution_id,
            execution_time_ms,
            agent,
            exception_occurred,
            exception_type,
            memory_usage_mb,
            timestamp,
        )


def outcome(
    skill: Skill,
    execution_id: ExecutionId,
    decision: Annotated[str, typer.Option(help="What was decided.")],
    correct: Annotated[
        bool,
        typer.Option("--correct/--incorrect", help="Whether that was right.", show_default=False),
    ],
    confidence: Annotated[float, typer.Option(help="How sure the skill was, from 0 to 1.")],
    reasoning: Annotated[str, typer.Option(help="Why it was decided so.")],
    agent: Agent,
    expected_decision: Annotated[
        str | None, typer.Option(help="What should have been decided, if that is known.")
    ] = None,
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append what an execution decided, and whether that was right."""
    with _opened(skill, naming.OUTCOMES, directory, durability, lock_timeout) as metrics:
        metrics.append_outcome_metric(
            skill,
            execution_id,
            decision,
            expected_decision,
            correct,
            confidence,
            reasoning,
            agent,
            timestamp,
        )


def fidelity(
    skill: Skill,
    execution_id: ExecutionId,
    pattern_fidelity: Annotated[
        float, typer.Option(help="How closely the patterns were kept to, from 0 to 1.")
    ],
    patterns_followed: Annotated[int, typer.Option(help="How many patterns were followed.")],
    patterns_missed: Annotated[int, typer.Option(help="How many patterns were missed.")],
    patterns_detail: Annotated[dict[str, Any], PatternsDetail],
    agent: Agent,
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append how closely an execution kept to its skill's patterns."""
    with _opened(skill, naming.FIDELITY, directory, durability, lock_timeout) as metrics:
        metrics.append_fidelity_metric(
            skill,
            execution_id,
            pattern_fidelity,
            patterns_followed,
            patterns_missed,
            patterns_detail,
            agent,
            timestamp,
        )


def promotion(
    skill: Skill,
    from_state: FromState,
    to_state: ToState,
    approver: Annotated[str, typer.Option(help="Who approved it.")],
    approval_ticket: Annotated[str, typer.Option(help="Where the approval is recorded.")],
    reason: Annotated[str, typer.Option(help="Why the skill was promoted.")],
    automated_checks: Annotated[dict[str, Any], AutomatedChecks],
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append that a skill was promoted, by whom and why."""
    with _opened(skill, naming.PROMOTION_LOG, directory, durability, lock_timeout) as metrics:
        metrics.append_promotion_event(
            skill,
            from_state,
            to_state,
            approver,
            approval_ticket,
            reason,
            automated_checks,
            timestamp,
        )


def rollback(
    skill: Skill,
    from_state: FromState,
    to_state: ToState,
    trigger_reason: Annotated[str, typer.Option(help="Why the skill was rolled back.")],
    trigger_metric: Annotated[str, typer.Option(help="Which metric showed it.")],
    automated: Annotated[bool, typer.Option(help="Whether a program decided it.")] = True,
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append that a skill was rolled back, and why."""
    with _opened(skill, naming.PROMOTION_LOG, directory, durability, lock_timeout) as metrics:
        metrics.append_rollback_event(
            skill, from_state, to_state, trigger_reason, trigger_metric, automated, timestamp
        )


KINDS = (performance, outcome, fidelity, promotion, rollback)
