"""Typed records as lines: a function for each append method, and one for a record of any kind."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import Fault, InvalidRecordError, show
from .batches import encode_each
from .field_checks import check_fields
from .instants import EventTokens, iso_utc
from .metrics import (
    EVENT_ID_PREFIXES,
    MADE_FIELDS,
    SUFFIXES,
    FidelityMetric,
    OutcomeMetric,
    PerformanceMetric,
    PromotionEvent,
    RollbackEvent,
)
from .naming import file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from msgspec import Struct

    from .metrics import Record

# The name of the file that the line is for, and the line. A plain tuple: making a named one takes a
# sixth of the time that the line takes.
FiledLine = tuple[str, bytes]

_encode: Final = msgspec.json.Encoder().encode
_convert: Final = msgspec.convert
_PLAIN_NUMBERS: Final = frozenset({int, float})
# One for the process: the tokens of two could meet.
_event_tokens: Final = EventTokens()
# A cache for each kind: looking up one argument takes half the time of two.
_file_names: Final = {
    kind: functools.lru_cache(maxsize=1024)(functools.partial(file_name, suffix=suffix))
    for kind, suffix in SUFFIXES.items()
}


def performance_line(
    skill_name: str,
    execution_id: str,
    execution_time_ms: int,
    agent: str,
    exception_occurred: bool = False,
    exception_type: str | None = None,
    memory_usage_mb: float | None = None,
    timestamp: float | None = None,
) -> FiledLine:
    """Return the line of a `PerformanceMetric`; raises as `encode_metric` does."""
    fields = {
        "execution_id": execution_id,
        "timestamp": timestamp,
        "skill_name": skill_name,
        "agent": agent,
        "execution_time_ms": execution_time_ms,
        "exception_occurred": exception_occurred,
        "exception_type": exception_type,
        "memory_usage_mb": memory_usage_mb,
    }
    return encode_metric(PerformanceMetric, fields)


def outcome_line(
    skill_name: str,
    execution_id: str,
    decision: str,
    expected_decision: str | None,
    correct: bool,
    confidence: float,
    reasoning: str,
    agent: str,
    timestamp: float | None = None,
) -> FiledLine:
    """Return the line of an `OutcomeMetric`; raises as `encode_metric` does."""
    fields = {
        "execution_id": execution_id,
        "timestamp": timestamp,
        "skill_name": skill_name,
        "agent": agent,
        "decision": decision,
        "expected_decision": expected_decision,
        "correct": correct,
        "confidence": confidence,
        "reasoning": reasoning,
    }
    return encode_metric(OutcomeMetric, fields)


def fidelity_line(
    skill_name: str,
    execution_id: str,
    pattern_fidelity: float,
    patterns_followed: int,
    patterns_missed: int,
    patterns_detail: dict[str, bool],
    agent: str,
    timestamp: float | None = None,
) -> FiledLine:
    """Return the line of a `FidelityMetric`; raises as `encode_metric` does."""
    fields = {
        "execution_id": execution_id,
        "timestamp": timestamp,
        "skill_name": skill_name,
        "agent": agent,
        "pattern_fidelity": pattern_fidelity,
        "patterns_followed": patterns_followed,
        "patterns_missed": patterns_missed,
        "patterns_detail": patterns_detail,
    }
    return encode_metric(FidelityMetric, fields)


def promotion_line(
    skill_name: str,
    from_state: str,
    to_state: str,
    approver: str,
    approval_ticket: str,
    reason: str,
    automated_checks: dict[str, Any],
    timestamp: float | None = None,
) -> FiledLine:
    """Return the line of a `PromotionEvent`; raises as `encode_event` does."""
    fields = {
        "timestamp": timestamp,
        "skill_name": skill_name,
        "from_state": from_state,
        "to_state": to_state,
        "approver": approver,
        "approval_ticket": approval_ticket,
        "reason": reason,
        "automated_checks": automated_checks,
    }
    return encode_event(PromotionEvent, fields, _event_tokens.take())


def rollback_line(
    skill_name: str,
    from_state: str,
    to_state: str,
    trigger_reason: str,
    trigger_metric: str,
    automated: bool = True,
    timestamp: float | None = None,
) -> FiledLine:
    """Return the line of a `RollbackEvent`; raises as `encode_event` does."""
    fields = {
        "timestamp": timestamp,
        "skill_name": skill_name,
        "from_state": from_state,
        "to_state": to_state,
        "trigger_reason": trigger_reason,
        "trigger_metric": trigger_metric,
        "automated": automated,
    }
    return encode_event(RollbackEvent, fields, _event_tokens.take())


def encode_metric(kind: type[Struct], fields: dict[str, Any]) -> FiledLine:
    """Return the line of a metric, after a check of its fields.

    `timestamp_iso` is filled in, and `timestamp` where it is `None`. `fields` is changed.

    Raises `InvalidRecordError`, naming every wrong field.
    """
    skill_name, timestamp = fields["skill_name"], fields["timestamp"]
    if timestamp is None:
        timestamp = fields["timestamp"] = time.time()
    # Not for a NumPy scalar, which is calculated with in its own precision, with warnings; nor for
    # a subclass of `str`, which may join in a way of its own.
    if type(timestamp) in _PLAIN_NUMBERS and type(skill_name) is str:
        try:
            fields["timestamp_iso"] = iso_utc(timestamp)
            line = _encode(_convert(fields, kind)) + b"\n"
            return _file_names[kind](skill_name), line
        except (TypeError, ValueError, OverflowError):
            pass  # made plain, or found and named, below
    check_fields(kind, fields)
    fields["timestamp_iso"] = iso_utc(fields["timestamp"])
    line = _encode(_convert(fields, kind)) + b"\n"
    return _file_names[kind](fields["skill_name"]), line


def encode_event(kind: type[Struct], fields: dict[str, Any], token: str) -> FiledLine:
    """Return the line of an event, as `encode_metric` does; its `event_id` ends in the token."""
    if fields["timestamp"] is None:
        fields["timestamp"] = time.time()
    check_fields(kind, fields)
    skill_name, timestamp = fields["skill_name"], fields["timestamp"]
    prefix = EVENT_ID_PREFIXES[kind]
    fields["event_id"] = f"{prefix}_{skill_name}_{int(timestamp)}_{token}"
    fields["timestamp_iso"] = iso_utc(timestamp)
    line = _encode(_convert(fields, kind)) + b"\n"
    return _file_names[kind](skill_name), line


def encode_record(record: Record) -> FiledLine:
    """Return the line of a record of any kind; raises as `encode_metric` does.

    What the record holds in the fields that are made is replaced.
    """
    kind = type(record)
    if kind not in SUFFIXES:
        remedy = f"pass one of {', '.join(known.__name__ for known in SUFFIXES)}"
        raise InvalidRecordError((Fault("record", show(record), remedy),))
    names = (name for name in kind.__struct_fields__ if name not in MADE_FIELDS)
    fields = {name: getattr(record, name) for name in names}
    if kind in EVENT_ID_PREFIXES:
        return encode_event(kind, fields, _event_tokens.take())
    return encode_metric(kind, fields)


def encode_records(records: Iterable[Record]) -> Iterator[FiledLine]:
    """Yield the line of each record; an error names the record by its index, from 0."""
    return encode_each(records, encode_record)


def count_bytes(filed: FiledLine) -> int:
    """Return the length of the line."""
    return len(filed[1])


def lines_by_file(filed_lines: Iterable[FiledLine]) -> dict[str, list[bytes]]:
    """Return the lines of each file, in order."""
    files: dict[str, list[bytes]] = {}
    for name, line in filed_lines:
        files.setdefault(name, []).append(line)
    return files
