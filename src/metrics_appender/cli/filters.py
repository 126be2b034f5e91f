"""Filters for `read`: by time, by skill, and by the value of a field."""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import typer

from .options import parse_duration

Filter = Callable[[dict[str, Any]], bool]

_MISSING: Final = object()


def make_filter(since: str | None, skill: str | None, where: Iterable[str]) -> Filter | None:
    """Return a function that says whether a record is wanted, or `None` if all are.

    Raises `typer.BadParameter` for a filter that cannot be parsed.
    """
    filters = [*map(_has_value, where)]
    if since is not None:
        filters.append(_is_since(since))
    if skill is not None:
        filters.append(lambda record: record.get("skill_name") == skill)
    return (lambda record: all(is_wanted(record) for is_wanted in filters)) if filters else None


def _is_since(text: str) -> Filter:
    """Return a filter for records with a `timestamp` of this instant or later."""
    start = _parse_instant(text)

    def is_since(record: dict[str, Any]) -> bool:
        timestamp = record.get("timestamp")
        return isinstance(timestamp, int | float) and timestamp >= start

    return is_since


def _parse_instant(text: str) -> float:
    """Return the seconds since the epoch of an ISO 8601 instant, or of a duration before now.

    An instant without an offset is in local time.
    """
    seconds = parse_duration(text)
    if seconds is not None:
        return time.time() - seconds
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        message = (
            f"{text!r} is neither a length of time (90s, 45m, 36h, 30d, 4w) nor an instant "
            "(2025-10-20, 2025-10-20T14:25:09Z)"
        )
        raise typer.BadParameter(message, param_hint="--since") from None


def _has_value(text: str) -> Filter:
    """Return a filter for `field=value`, where a dot in the field leads into an object.

    The value is compared as text and as JSON.
    """
    field, separator, wanted = text.partition("=")
    if not separator or not field:
        message = f"{text}: pass field=value, such as agent=ai_overseer or correct=false"
        raise typer.BadParameter(message, param_hint="--where")
    try:
        value = json.loads(wanted)
    except ValueError:
        value = _MISSING

    def has_value(record: dict[str, Any]) -> bool:
        actual = _value_at(record, field)
        # In Python, 1, 1.0 and true are equal.
        return actual == wanted or (
            actual == value and isinstance(actual, bool) == isinstance(value, bool)
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
