"""Every way this library can fail, as one tree.

    MetricsAppenderError
    ├── InvalidRecordError   (ValueError)            a record or a name that cannot be written
    ├── LockTimeoutError     (TimeoutError)          the lock was not free before the deadline
    ├── CorruptLineError     (json.JSONDecodeError)  a whole line that is not a JSON object
    ├── CorruptSegmentError  (OSError)               a compressed segment that cannot be unpacked
    ├── CursorGoneError      (LookupError)           what a stored cursor points into is not there any more
    ├── PositionError        (ValueError)            a block that does not belong where the log ends
    └── ClosedError          (ValueError)            an append to what was closed

What the operating system refuses stays an `OSError` with its errno, so that `except
PermissionError` works as ever. Such an error names the file and carries a note that says what
became of the record: `NOTHING_WRITTEN`, or `MAY_BE_WRITTEN` where taking the line back failed too.

All of them survive pickling with their notes, for they cross process borders.
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
    """The root: whatever this library raises of its own is one of these.

    `outcome` says what became of the record, where the text does: "nothing was written", or
    "nothing more was written" where the first of many records are acknowledged.
    """

    outcome = ""


def show(value: object) -> str:
    """Return a value as an error shows it: its type, and its repr cut to a readable length."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a repr of the caller's may raise anything, and must not hide the fault
        text = f"<no repr: {type(error).__name__}>"
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return f"{text} ({type(value).__name__})"


class Fault(NamedTuple):
    """One wrong field: which, what was passed, and what to pass instead."""

    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        """Name the field, the value and the remedy, in this order."""
        return f"{self.field}: got {self.value}; {self.reason}"


class InvalidRecordError(MetricsAppenderError, ValueError):
    """A record, a name or an argument that cannot be written as it is.

    Nothing was opened or written.

    `faults` names every wrong field, not only the first.
    """

    def __init__(self, faults: tuple[Fault, ...], outcome: str = NOTHING_WRITTEN) -> None:
        """Take every fault that was found, in the order of the fields.

        No outcome where there was nothing to write.
        """
        super().__init__(faults)
        self.faults = faults
        self.outcome = outcome

    def __str__(self) -> str:
        """List the faults, one a line when there are several."""
        outcome = f" ({self.outcome})" if self.outcome else ""
        if len(self.faults) == 1:
            return f"{self.faults[0]}{outcome}"
        listed = "".join(f"\n  {fault}" for fault in self.faults)
        return f"{len(self.faults)} wrong fields{outcome}:{listed}"


class LockTimeoutError(MetricsAppenderError, TimeoutError):
    """Another holder kept the file's lock until the deadline.

    Nothing was written, and will not be later.

    `filename` is the file, `timeout_seconds` the time that was waited at least.
    """

    def __init__(self, path: str, timeout_seconds: float) -> None:
        """Take the file's path and the deadline that passed, in seconds."""
        super().__init__(
            errno.ETIMEDOUT,
            f"no lock within {timeout_seconds:g} s, for another writer holds it; "
            "find the holder with `fuser`, or pass a longer lock_timeout",
            path,
        )
        self.timeout_seconds = timeout_seconds
        self.outcome = NOTHING_WRITTEN

    def __str__(self) -> str:
        """Say what became of the record, too."""
        return f"{super().__str__()} ({self.outcome})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the two facts, and what was noted since."""
        return type(self), (self.filename, self.timeout_seconds), vars(self)


class CorruptLineError(MetricsAppenderError, json.JSONDecodeError):
    """A line that ends in a newline but is not a JSON object; reading changed nothing.

    `path`, `line_number` (from 1) and `byte_offset` (of the line's first byte, from 0) say where;
    `msg`, `doc` and `pos` are those of `json.JSONDecodeError`, with the line as the document; the
    text counts its characters from 1, as editors do.
    """

    def __init__(
        self, msg: str, doc: str, pos: int, path: str, line_number: int, byte_offset: int
    ) -> None:
        """Take what the decoder said of the line, then where the line stands."""
        super().__init__(msg, doc, pos)
        self.path = path
        self.line_number = line_number
        self.byte_offset = byte_offset

    def __str__(self) -> str:
        """Say where the line is, what is wrong, and what to do."""
        return (
            f"{self.path}, line {self.line_number} (byte {self.byte_offset}): {self.msg} at character {self.pos + 1}; "
            "another program wrote this line: move it aside, then read again"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by all six facts, and what was noted since."""
        return (
            type(self),
            (self.msg, self.doc, self.pos, self.path, self.line_number, self.byte_offset),
            vars(self),
        )


class CorruptSegmentError(MetricsAppenderError, OSError):
    """A compressed segment that cannot be unpacked: the disk has changed it, or somebody has.

    Reading changed nothing.

    `filename` is the file, `reason` what was found.
    """

    def __init__(self, path: str, reason: str) -> None:
        """Take the file's path, and what was found."""
        super().__init__(
            errno.EBADMSG,
            f"cannot be unpacked ({reason}); put back a copy of it, or move it aside to read without it",
            path,
        )
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the two facts, and what was noted since."""
        return type(self), (self.filename, self.reason), vars(self)


class CursorGoneError(MetricsAppenderError, LookupError):
    """Nothing that is left holds the bytes a cursor points behind.

    Records may have gone with them; nothing was read.

    `path` is the followed file, `cursor` the cursor as it was passed.
    """

    def __init__(self, path: str, cursor: str, reason: str) -> None:
        """Take the followed file, the cursor, and what was found in place of its file."""
        super().__init__(path, cursor, reason)
        self.path = path
        self.cursor = cursor
        self.reason = reason

    def __str__(self) -> str:
        """Say what is gone, and how to go on."""
        return (
            f"{self.path}: {self.reason} (cursor {self.cursor}); records in between may be lost to this follower: "
            'go on with start="beginning" for all that is left, or with start="end" for what comes from now on'
        )


class PositionError(MetricsAppenderError, ValueError):
    """A block for one position of a log's stream, where the log ends at another.

    Nothing was written. `path` is the log's file, `expected` the position that the block is for and
    `found` the position where the log ends, both in bytes from the beginning of the log's stream.
    """

    def __init__(self, path: str, expected: int, found: int) -> None:
        """Take the file's path and both positions."""
        super().__init__(path, expected, found)
        self.path = path
        self.expected = expected
        self.found = found
        self.outcome = NOTHING_WRITTEN

    def __str__(self) -> str:
        """Name both positions, and say what to do."""
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

    `path` is the file.
    """

    def __init__(self, path: str) -> None:
        """Take the file's path."""
        super().__init__(path)
        self.path = path
        self.outcome = NOTHING_WRITTEN

    def __str__(self) -> str:
        """Say what to do."""
        return f"{self.path}: append after close() ({self.outcome}); make a new one"
