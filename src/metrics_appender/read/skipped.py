"""Corrupt lines that a reader skips: how many, and where the first of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .. import logger
from ..errors import Fault, InvalidRecordError, show

if TYPE_CHECKING:
    from ..errors import CorruptLineError


class SkippedLines:
    """Counts the corrupt lines that a reading skips; pass one as `on_error`.

    It is filled while the reading goes on, and may be used for several.

    Attributes:
        count: How many whole lines were no JSON object.
        first: The error of the first of them, which names its file, line number and byte offset.

    Example:
        >>> skipped = SkippedLines()
        >>> records = AppendLog("events.ndjson").read(on_error=skipped)
        >>> skipped.count, skipped.first
        (0, None)
    """

    def __init__(self) -> None:
        """Nothing was skipped yet."""
        self.count = 0
        self.first: CorruptLineError | None = None

    def add(self, other: SkippedLines, *, is_in_front: bool) -> None:
        """Count what another one has collected, in front of what was counted here or behind it."""
        self.count += other.count
        if other.first is not None and (self.first is None or is_in_front):
            self.first = other.first

    def __repr__(self) -> str:
        """Show both facts."""
        return f"SkippedLines(count={self.count}, first={self.first!r})"


OnError = Literal["raise", "skip"] | SkippedLines


def collector(on_error: OnError) -> SkippedLines | None:
    """Return what counts the lines that are skipped, `None` where the first one is to be raised.

    Raises `InvalidRecordError` for what is no way to treat an error.
    """
    if isinstance(on_error, SkippedLines):
        return on_error
    if on_error == "raise":
        return None
    if on_error == "skip":
        return SkippedLines()
    raise InvalidRecordError(
        (Fault("on_error", show(on_error), "pass 'raise', 'skip' or a SkippedLines()"),), outcome=""
    )


def report(skipped: SkippedLines | None, on_error: Any) -> None:
    """Log what was skipped, once for a reading, unless the caller counts it."""
    if on_error == "skip" and skipped is not None and skipped.first is not None:
        lines = "1 corrupt line" if skipped.count == 1 else f"{skipped.count} corrupt lines"
        logger.warn("%s skipped, the first: %s", lines, skipped.first)
