"""Options that several commands share: durations, timeouts, and choices of words."""

import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as 90s, 45m, 36h, 30d or 4w, `None` for other text."""
    matched = _WRITTEN.fullmatch(text)
    return float(matched[1]) * _SECONDS[matched[2]] if matched else None


def parse_age(text: str) -> float:
    """Return the seconds of a duration above 0; anything else is a usage error."""
    seconds = parse_duration(text)
    if seconds is None:
        message = f"{text!r} is no length of time; write it as 90s, 45m, 36h, 30d or 4w"
        raise typer.BadParameter(message)
    if not seconds:
        raise typer.BadParameter("pass a length of time above 0, such as 36h, 30d or 4w")
    return seconds


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser that accepts these words; any other is a usage error."""

    def parse(text: str) -> str:
        if text not in words:
            message = f"{text!r} is not one of {', '.join(words)}"
            raise typer.BadParameter(message)
        return text

    return parse


def _check_timeout(seconds: float) -> float:
    if not seconds >= 0:  # false for NaN too
        raise typer.BadParameter("pass seconds of 0 or more, or 'inf' to wait for ever")
    return seconds


LockTimeout = Annotated[
    float,
    typer.Option(
        callback=_check_timeout,
        help="Seconds to wait for other writers at most; 'inf' waits for ever.",
    ),
]
SyncedBy = Annotated[
    Any,
    typer.Option(
        parser=one_of("fsync", "group", "os"),
        metavar="fsync|group|os",
        help="What an acknowledged record survives: 'os' the process's end, the others a power "
        "cut too.",
    ),
]
