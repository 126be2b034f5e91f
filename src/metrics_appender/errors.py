"""The errors of this library, as one tree.

    MetricsAppenderError
    ├── InvalidRecordError   (ValueError)            a record or a name that cannot be written
    ├── LockTimeoutError     (TimeoutError)          the lock was not free before the deadline
    ├── CorruptLineError     (json.JSONDecodeError)  a whole line that is not a JSON object
    ├── CorruptSegmentError  (OSError)               a compressed segment that is damaged
    ├── CursorGoneError      (LookupError)           the file that a cursor points into is gone
    ├── PositionError        (ValueError)            a block that does not belong where the log ends
    └── ClosedError          (ValueError)            an append after `close()`

Errors of the operating system stay `OSError`s with their errno, so that `except PermissionError`
works as usual. Such an error names the file, and its note says what became of the record:
`NOTHING_WRITTEN`, or `MAY_BE_WRITTEN` if the line could not be rolled back either.

All of them can be pickled with their attributes and notes, since they cross process boundaries.
"""

from __future__ import annotations

import errno
import json
from typing import Any, Final, NamedTuple

NOTHING_WRITTEN = "nothing was written"
NOTHING_MORE_WRITTEN = "nothing more was written"
MAY_BE_WRITTEN = "the line may be in the file"
_SHOWN_CHARACTERS: Final = 60


class MetricsAppenderError(Exception):
    """The root of the tree: the base class of all errors that this library defines.

    Attributes:
        outcome: What became of the record, if anything was to be written: "nothing was written", or
            "nothing more was written" if the first records of many were acknowledged. Empty
            otherwise.

    Example:
        >>> try:
        ...     AppendLog("events.ndjson").append({"value": float("nan")})
        ... except MetricsAppenderError as error:
        ...     print(error.outcome)
        nothing was written
    """

    outcome = ""


def show(value: object) -> str:
    """Return a value as errors show it: its repr, cut to a readable length, and its type."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the caller's `__repr__` must not hide the fault
        text = f"<no repr: {type(error).__name__}>"
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return f"{text} ({type(value).__name__})"


class Fault(NamedTuple):
    """One wrong field of a record.

    Attributes:
        field: Its name, or its path within the record.
        value: The value that was passed, as text.
        reason: What to pass instead.
    """

    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        """Return the field, the value and the remedy, in this order."""
        return f"{self.field}: got {self.value}; {self.reason}"


class InvalidRecordError(MetricsAppenderError, ValueError):
    """A record, a name or an argument that is not valid; nothing was opened or written.

    Attributes:
        faults: Every wrong field, in the order of the fields.
    """

    def __init__(self, faults: tuple[Fault, ...], outcome: str = NOTHING_WRITTEN) -> None:
        """Take the faults; the outcome is empty where nothing was to be written."""
        super().__init__(faults)
        self.faults = faults
        self.outcome = outcome

    def __str__(self) -> str:
        """Return the faults, one on each line if there are several."""
        outcome = f" ({self.outcome})" if self.outcome else ""
        if len(self.faults) == 1:
            return f"{self.faults[0]}{outcome}"
        listed = "".join(f"\n  {fault}" for fault in self.faults)
        return f"{len(self.faults)} wrong fields{outcome}:{listed}"


class LockTimeoutError(MetricsAppenderError, TimeoutError):
    """The lock of the file was not free before the deadline; nothing was written or will be.

    Attributes:
        filename: The file.
        timeout_seconds: How long the caller waited at least.
    """

    def __init__(self, path: str, timeout_seconds: float) -> None:
        """Take the path of the file, and the timeout in seconds."""
        super().__init__(
            errno.ETIMEDOUT,
            f"no lock within {timeout_seconds:g} s, for another writer holds it; "
            "find the holder with `fuser`, or pass a longer lock_timeout",
            path,
        )
        self.timeout_seconds = timeout_seconds
        self.outcome = NOTHING_WRITTEN

    def __str__(self) -> str:
        """Return the message with what became of the record."""
        return f"{super().__str__()} ({self.outcome})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, and the attributes and notes added since."""
        return type(self), (self.filename, self.timeout_seconds), vars(self)


class CorruptLineError(MetricsAppenderError, json.JSONDecodeError):
    """A line that ends in a newline but is not a JSON object; reading changed nothing.

    `msg`, `doc` and `pos` are those of `json.JSONDecodeError`, with the line as the document. The
    message counts characters from 1, as editors do.

    Attributes:
        path: The file that holds the line.
        line_number: Which line it is, from 1.
        byte_offset: Where the line begins in the file.
    """

    def __init__(
        self, msg: str, doc: str, pos: int, path: str, line_number: int, byte_offset: int
    ) -> None:
        """Take the error of the decoder, then the position of the line."""
        super().__init__(msg, doc, pos)
        self.path = path
        self.line_number = line_number
        self.byte_offset = byte_offset

    def __str__(self) -> str:
        """Return where the line is, what is wrong, and what to do."""
        return (
            f"{self.path}, line {self.line_number} (byte {self.byte_offset}): "
            f"{self.msg} at character {self.pos + 1}; "
            "another program wrote this line: move it aside, then read again"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, and the attributes and notes added since."""
        return (
            type(self),
            (self.msg, self.doc, self.pos, self.path, self.line_number, self.byte_offset),
            vars(self),
        )


class CorruptSegmentError(MetricsAppenderError, OSError):
    """A compressed segment that is damaged; reading changed nothing.

    Attributes:
        filename: The segment's file.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Take the path of the file, and what is wrong with it."""
        super().__init__(
            errno.EBADMSG,
            f"cannot be unpacked ({reason}); put back a copy of it, or move it aside to read "
            "without it",
            path,
        )
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, and the attributes and notes added since."""
        return type(self), (self.filename, self.reason), vars(self)


class CursorGoneError(MetricsAppenderError, LookupError):
    """The file that a cursor points into is gone; records may be lost with it, and none was read.

    Attributes:
        path: The log that was to be followed.
        cursor: The cursor as it was passed.
        reason: What was found in place of its file.
    """

    def __init__(self, path: str, cursor: str, reason: str) -> None:
        """Take the log, the cursor, and what was found in place of its file."""
        super().__init__(path, cursor, reason)
        self.path = path
        self.cursor = cursor
        self.reason = reason

    def __str__(self) -> str:
        """Return what is gone, and how to continue."""
        return (
            f"{self.path}: {self.reason} (cursor {self.cursor}); records in between may be lost to "
            'this follower: go on with start="beginning" for all that is left, or with start="end" '
            "for what comes from now on"
        )


class PositionError(MetricsAppenderError, ValueError):
    """A block for another position of the log's stream than its end; nothing was written.

    Positions are in bytes from the beginning of the stream.

    Attributes:
        path: The file of the log.
        expected: The position that the block is for.
        found: The position where the log ends.
    """

    def __init__(self, path: str, expected: int, found: int) -> None:
        """Take the path of the file, and both positions."""
        super().__init__(path, expected, found)
        self.path = path
        self.expected = expected
        self.found = found
        self.outcome = NOTHING_WRITTEN

    def __str__(self) -> str:
        """Return both positions, and what to do."""
        if self.found < self.expected:
            reason = f"{self.expected - self.found} bytes in between are missing: append them first"
        else:
            reason = "it holds other bytes from there on: append only what is not in it yet"
        return (
            f"{self.path}: the block is for position {self.expected}, and the log ends at "
            f"{self.found}; {reason} ({self.outcome})"
        )


class ClosedError(MetricsAppenderError, ValueError):
    """An append to a log, or to an appender's file, after `close()`; nothing was written.

    Attributes:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        """Take the path of the file."""
        super().__init__(path)
        self.path = path
        self.outcome = NOTHING_WRITTEN

    def __str__(self) -> str:
        """Return what happened, and what to do."""
        return f"{self.path}: append after close() ({self.outcome}); make a new one"
