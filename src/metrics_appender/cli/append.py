"""The command `append`: records from standard input to a file, or one typed record from options."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..append_log import DEFAULT_LOCK_TIMEOUT, AppendLog, Durability
from ..appender import MetricsAppender
from ..errors import MetricsAppenderError
from ..ndjson import decode_line
from .failures import PlainErrors, describe, fail
from .signals import held_signals
from .streams import StandardOutputError

_FILE = "FILE"
_KINDS = ("performance", "outcome", "fidelity", "promotion", "rollback")

Skill = Annotated[str, typer.Option("--skill", help="The skill's name, as people write it.")]
ExecutionId = Annotated[str, typer.Option(help="Which execution this is about.")]
Agent = Annotated[str, typer.Option(help="Who executed the skill.")]
FromState = Annotated[str, typer.Option(help="The state before.")]
ToState = Annotated[str, typer.Option(help="The state after.")]
Timestamp = Annotated[float | None, typer.Option(help="Seconds since the epoch; now, unless given.", show_default=False)]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="The directory of the metrics; else $METRICS_APPENDER_DIR, else recursive_improvement/metrics."),
]
SyncedBy = Annotated[
    Durability, typer.Option(help="What an acknowledged record survives: 'os' the process's end, the others a power cut too.")
]
LockTimeout = Annotated[float, typer.Option(help="Seconds to wait for other writers at most; 'inf' waits for ever.")]


def _json_object(text: str) -> dict[str, Any]:
    try:
        return decode_line(text.encode())
    except (json.JSONDecodeError, UnicodeEncodeError) as error:
        message = describe(error)
        raise typer.BadParameter(message) from error


PatternsDetail = typer.Option(parser=_json_object, metavar="JSON", help='Which were followed: {"greets": true, "thanks": false}')
AutomatedChecks = typer.Option(parser=_json_object, metavar="JSON", help='What the checks said: {"tests": "passed"}')


class FileOrKind(PlainErrors):
    """The words after `append`: a kind of record, or else the arguments of the command that takes a file."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command by its first word."""
        if args[0] in self.commands and args[0] != _FILE:
            return super().resolve_command(ctx, args)
        return "", self.commands[_FILE], args


append_app = typer.Typer(
    cls=FileOrKind,
    no_args_is_help=True,
    rich_markup_mode=None,
    subcommand_metavar="FILE | KIND [OPTIONS]",
    context_settings={"ignore_unknown_options": True},  # those before FILE are FILE's
)


@append_app.callback()
def append() -> None:
    """Append records, each acknowledged once it is whole and on disk.

    With a FILE, every line of standard input that holds a JSON object is appended to it. With a KIND, one
    record of a skill is appended to the skill's file; a FILE of such a name is written ./performance.
    """


@append_app.command(_FILE)
def append_file(
    file: Annotated[str, typer.Argument(metavar=_FILE, help="The NDJSON file; made if it is not there.", show_default=False)],
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append the JSON objects of standard input to FILE, one a line.

    A line is appended as it comes, so a pipe may live long. Blank lines are passed over. The first line that is
    no JSON object ends it with status 1 and is named by its number; the records before it stay. How many
    were acknowledged is said on standard output, at the end in any case.
    """
    if file in {*_KINDS, "-"}:
        message = f"records come from standard input; for a file of this name pass ./{file}"
        raise typer.BadParameter(message, param_hint=_FILE)
    log = AppendLog(file, durability=durability, lock_timeout=lock_timeout)
    acknowledged = 0
    with held_signals() as signals:
        try:
            with signals.let_through():
                for number, line in enumerate(_input_lines(), 1):
                    if not line.isspace():
                        _append_line(log, number, line)
                        acknowledged += 1
        finally:
            _tell(acknowledged, file)


def _input_lines() -> Iterator[bytes]:
    try:
        yield from sys.stdin.buffer
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard input") from None


def _append_line(log: AppendLog, number: int, line: bytes) -> None:
    try:
        log.append(decode_line(line))
    except (MetricsAppenderError, OSError, json.JSONDecodeError) as error:
        fail(f"standard input, line {number}: {describe(error)}")


def _tell(acknowledged: int, where: str | Path) -> None:
    records = f"{acknowledged} record{'' if acknowledged == 1 else 's'}"
    try:
        typer.echo(f"{records} acknowledged in {where}")
    except StandardOutputError as error:
        error.add_note(f"{where}: {records} {'was' if acknowledged == 1 else 'were'} acknowledged")
        raise


@contextlib.contextmanager
def _opened(directory: Path | None, durability: Durability, lock_timeout: float) -> Iterator[MetricsAppender]:
    """Open a directory of metrics for one record, and tell of it when it is there."""
    with MetricsAppender(directory, durability=durability, lock_timeout=lock_timeout) as metrics:
        yield metrics
    _tell(1, metrics.metrics_dir)


@append_app.command()
def performance(
    skill: Skill,
    execution_id: ExecutionId,
    execution_time_ms: Annotated[int, typer.Option(help="How long it took, in milliseconds.")],
    agent: Agent,
    exception_occurred: Annotated[bool, typer.Option(help="Whether it failed.")] = False,
    exception_type: Annotated[str | None, typer.Option(help="The exception's name, if it failed.")] = None,
    memory_usage_mb: Annotated[float | None, typer.Option(help="How much memory it took, in megabytes.")] = None,
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append how long an execution took, and whether it failed."""
    with _opened(directory, durability, lock_timeout) as metrics:
        metrics.append_performance_metric(
            skill, execution_id, execution_time_ms, agent, exception_occurred, exception_type, memory_usage_mb, timestamp
        )


@append_app.command()
def outcome(
    skill: Skill,
    execution_id: ExecutionId,
    decision: Annotated[str, typer.Option(help="What was decided.")],
    correct: Annotated[bool, typer.Option("--correct/--incorrect", help="Whether that was right.", show_default=False)],
    confidence: Annotated[float, typer.Option(help="How sure the skill was, from 0 to 1.")],
    reasoning: Annotated[str, typer.Option(help="Why it was decided so.")],
    agent: Agent,
    expected_decision: Annotated[str | None, typer.Option(help="What should have been decided, if that is known.")] = None,
    timestamp: Timestamp = None,
    directory: Directory = None,
    durability: SyncedBy = "fsync",
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Append what an execution decided, and whether that was right."""
    with _opened(directory, durability, lock_timeout) as metrics:
        metrics.append_outcome_metric(skill, execution_id, decision, expected_decision, correct, confidence, reasoning, agent, timestamp)


@append_app.command()
def fidelity(
    skill: Skill,
    execution_id: ExecutionId,
    pattern_fidelity: Annotated[float, typer.Option(help="How closely the patterns were kept to, from 0 to 1.")],
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
    with _opened(directory, durability, lock_timeout) as metrics:
        metrics.append_fidelity_metric(
            skill, execution_id, pattern_fidelity, patterns_followed, patterns_missed, patterns_detail, agent, timestamp
        )


@append_app.command()
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
    with _opened(directory, durability, lock_timeout) as metrics:
        metrics.append_promotion_event(skill, from_state, to_state, approver, approval_ticket, reason, automated_checks, timestamp)


@append_app.command()
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
    with _opened(directory, durability, lock_timeout) as metrics:
        metrics.append_rollback_event(skill, from_state, to_state, trigger_reason, trigger_metric, automated, timestamp)
