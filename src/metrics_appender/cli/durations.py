"""Lengths of time as people write them on a command line: 90s, 45m, 36h, 30d."""

import re

import typer

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def seconds_of(text: str) -> float:
    """Return so many seconds; a usage error for what is no length of time."""
    matched = _WRITTEN.fullmatch(text)
    if matched is None:
        message = f"{text!r} is no length of time; write it as 90s, 45m, 36h, 30d or 4w"
        raise typer.BadParameter(message)
    return float(matched[1]) * _SECONDS[matched[2]]
