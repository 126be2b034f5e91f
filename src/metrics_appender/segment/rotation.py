"""The rotation of a log: when its file is sealed, and what becomes of the sealed segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ..errors import Fault, InvalidRecordError, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .blocks import Compression

_AN_AGE: Final = "pass seconds above 0, or a timedelta"


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """When the file of a log is sealed and the next one begun, and what becomes of sealed segments.

    An append seals the file before it writes, if the file has reached `max_bytes` or `max_age`. So
    a segment can exceed `max_bytes` by the lines of one append, and a log without appends is not
    sealed by its age. With neither, only `rotate()` seals. The newest sealed segment is never
    compressed or deleted.

    Args:
        max_bytes: The size in bytes at which the file is sealed.
        max_age: The age at which the file is sealed, in seconds or as a `timedelta`, counted from
            its first line. If another log object or process wrote that line, from the birth time of
            the file, which may have been empty for a while after a `rotate()`; and where the file
            system has no birth times, from when this log first saw the file.
        keep_segments: How many sealed segments are kept; `None` for all.
        keep_age: How long a segment is kept after its last line, in seconds or as a `timedelta`.
        compress: How segments are compressed: `"gzip"`, `"zstd"` (needs the extra `zstd`) or
            `None`.
        keep_unread: Whether to keep segments that a named cursor has still to read.

    Raises:
        InvalidRecordError: (a `ValueError`) A value is not valid, or `zstd` is not installed.

    Example:
        >>> rotation = Rotation(max_bytes=64_000_000, keep_segments=30, compress="gzip")
        >>> with AppendLog("events.ndjson", rotation=rotation) as log:
        ...     log.append({"any": "record"})
    """

    max_bytes: int | None = None
    max_age: float | timedelta | None = None
    keep_segments: int | None = None
    keep_age: float | timedelta | None = None
    compress: Compression | None = None
    keep_unread: bool = True

    def __post_init__(self) -> None:
        """Check all values; the error names every wrong one."""
        faults = tuple(_faults(self))
        if faults:
            raise InvalidRecordError(faults)

    @property
    def has_cleaning(self) -> bool:
        """Whether sealed segments are to be compressed or deleted."""
        return (
            self.compress is not None or self.keep_segments is not None or self.keep_age is not None
        )


def _faults(rotation: Rotation) -> Iterator[Fault]:
    for field in ("max_bytes", "keep_segments"):
        count = getattr(rotation, field)
        if count is not None and (type(count) is not int or count < 1):
            yield Fault(field, show(count), "pass a whole number (int) of 1 or more, or None")
    for field in ("max_age", "keep_age"):
        age = getattr(rotation, field)
        if age is not None and not _is_age(age):
            yield Fault(field, show(age), _AN_AGE)
    if rotation.compress is not None:
        reason = _reason_against(rotation.compress)
        if reason:
            yield Fault("compress", show(rotation.compress), reason)


def _is_age(age: Any) -> bool:
    if isinstance(age, timedelta):
        return age > timedelta(0)
    return isinstance(age, int | float) and not isinstance(age, bool) and age > 0


def _reason_against(compression: Any) -> str:
    from .blocks import ENDINGS, codec_of

    if not isinstance(compression, str) or compression not in ENDINGS:
        return "pass 'gzip', 'zstd' or None"
    try:
        codec_of(compression)
    except ImportError:
        return "it is not installed: pip install 'metrics-appender[zstd]', or pass 'gzip'"
    return ""


def seconds(age: float | timedelta) -> float:
    """Return an age in seconds."""
    return age.total_seconds() if isinstance(age, timedelta) else age
