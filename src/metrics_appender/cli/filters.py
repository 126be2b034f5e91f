"""Which records `read` shows: the newer ones, those of a skill, those with certain values."""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import typer

from .options import seconds_in

Filter = Callable[[dict[str, Any]], bool]

_MISSING: Final = object()


def all_of(since: str | None, skill: str | None, where: Iterable[str]) -> Filter | None:
    """Return what tells whether a record is wanted, `None` where all are.

    `typer.BadParameter` for what cannot be understood.
    """
    filters = [*map(_has_value, where)]
    if since is not None:
        filters.append(_is_since(since))
    if skill is not None:
        filters.append(lambda record: record.get("skill_name") == skill)
    return (lambda record: all(is_wanted(record) for is_wanted in filters)) if filters else None


def _is_since(text: str) -> Filter:
    """Return whether a record's `timestamp` is no older; a record without one is."""
    moment = _moment(text)

    def is_since(record: dict[str, Any]) -> bool:
        timestamp = record.get("timestamp")
        return isinstance(timestamp, int | float) and timestamp >= moment

    return is_since


def _moment(text: str) -> float:
    """Return seconds since the epoch for an instant in ISO 8601 (of this place where it has no offset), or `2h` for so long ago."""
    seconds = seconds_in(text)
    if seconds is not None:
        return time.time() - seconds
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        message = f"{text!r} is neither a length of time (90s, 45m, 36h, 30d, 4w) nor an instant (2025-10-20, 2025-10-20T14:25:09Z)"
        raise typer.BadParameter(message, param_hint="--since") from None


def _has_value(text: str) -> Filter:
    """Return whether a field, named by its path (`automated_checks.passed`), has a value.

    A text as it stands, or JSON.
    """
    field, found, wanted = text.partition("=")
    if not found or not field:
        message = f"{text}: pass field=value, such as agent=ai_overseer or correct=false"
        raise typer.BadParameter(message, param_hint="--where")
    try:
        value = json.loads(wanted)
    except ValueError:
        value = _MISSING

    def has_value(record: dict[str, Any]) -> bool:
        there = _value_at(record, field)
        # 1, 1.0 and true are equal to Python.
        return there == wanted or (
            there == value and isinstance(there, bool) == isinstance(value, bool)
        )

    return has_value


def _value_at(record: Any, field: str) -> Any:
    if isinstance(record, dict):
        if field in record:
            return record[field]
        name, _, rest = field.partition(".")
        if rest and name in record:
            return _value_at(record[name], rest)
    return ...
