"""Append metrics to NDJSON files from many processes: whole, in order, on disk on return."""

from .append_log import AppendLog
from .appender import MetricsAppender
from .check import check
from .doctor import check_filesystem
from .errors import (
    ClosedError,
    CorruptLineError,
    CorruptSegmentError,
    CursorGoneError,
    Fault,
    InvalidRecordError,
    LockTimeoutError,
    MetricsAppenderError,
    PositionError,
)
from .read.skipped import SkippedLines
from .repair import repair
from .segment.rotation import Rotation

__all__ = [
    "AppendLog",
    "ClosedError",
    "CorruptLineError",
    "CorruptSegmentError",
    "CursorGoneError",
    "Fault",
    "InvalidRecordError",
    "LockTimeoutError",
    "MetricsAppender",
    "MetricsAppenderError",
    "PositionError",
    "Rotation",
    "SkippedLines",
    "check",
    "check_filesystem",
    "repair",
]


def __dir__() -> list[str]:
    """Return the public names only, as `__all__` lists them."""
    return __all__
