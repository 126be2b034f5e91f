"""Rotation: when a log's file is sealed, and what becomes of the sealed segments."""

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
    """When a log's file is sealed and the next one begun, and what becomes of the sealed segments.

        >>> Rotation(max_bytes=64_000_000, keep_segments=30, compress="gzip").max_bytes
        64000000

    The append that finds `max_bytes` or more in the file, or finds it `max_age` old (seconds, or a
    `timedelta`, since its first line), seals it before it writes. So a segment holds `max_bytes`
    and at most one append's lines more, and a log that nobody appends to is not sealed by its age.
    With neither, only `rotate()` seals.

    `compress` is `"gzip"`, `"zstd"` (of the extra `zstd`) or `None`. `keep_segments` is how many
    sealed segments are kept, `keep_age` how long after its last line each is. The newest one is
    never compressed nor deleted. Nor is deleted what a named cursor has still to read, unless
    `keep_unread` is false.

    A first line that another log has written is taken to be as old as the file, by its birth time,
    though that may have lain empty since a `rotate()`; where the file system keeps no such time, as
    old as this log's first sight of it. Raises `InvalidRecordError` (a `ValueError`) for values it
    cannot take, and where `zstd` is not installed.
    """

    max_bytes: int | None = None
    max_age: float | timedelta | None = None
    keep_segments: int | None = None
    keep_age: float | timedelta | None = None
    compress: Compression | None = None
    keep_unread: bool = True

    def __post_init__(self) -> None:
        """Check every value, and name every wrong one."""
        faults = tuple(_faults(self))
        if faults:
            raise InvalidRecordError(faults)

    @property
    def has_cleaning(self) -> bool:
        """Whether anything is to be done with sealed segments."""
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
