"""The result of a check as data: one fault, one file, the whole report."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

from ..records.instants import iso_utc

FaultKind = Literal["torn_tail", "nul_run", "no_object", "glued", "schema", "duplicate_id"]

KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
MOST_FAULTS: Final = 10_000
_CLEAN, _FAULTY, _UNREAD = range(3)


class LineFault(msgspec.Struct, frozen=True):
    """A line that is wrong: what is wrong with it, and where it is.

    Attributes:
        kind: `"torn_tail"` (bytes after the last newline which no writer is writing), `"nul_run"`
            (NUL bytes in the line, as a power cut can leave them), `"no_object"` (not a JSON
            object), `"glued"` (several whole objects in one line), `"schema"` (an object that does
            not fit the schema of its file) or `"duplicate_id"` (an event whose `event_id` already
            stands earlier in the log).
        path: The file that holds the line.
        line_number: Which line of the file it is, from 1.
        byte_offset: Where the line begins in the file (uncompressed).
        length: Bytes in the line, without its newline.
        reason: What is wrong, for a person to read.
        excerpt: The beginning of the line in printable characters.
    """

    kind: FaultKind
    path: str
    line_number: int
    byte_offset: int
    length: int
    reason: str
    excerpt: str

    def __str__(self) -> str:
        """Return where the line is, then what is wrong with it."""
        return (
            f"{self.path}, line {self.line_number} (byte {self.byte_offset}): "
            f"{self.kind}: {self.reason}"
        )


class FileReport(msgspec.Struct, frozen=True):
    """What one file holds.

    Attributes:
        path: The file.
        bytes: Its size (uncompressed).
        lines: How many whole lines it has.
        records: How many valid records of each kind it has (`"other"` in a file that is not one of
            a skill's four).
        first_time: The smallest `timestamp` of the valid records, in seconds since the epoch;
            `None` without any.
        last_time: The greatest one.
        fault_counts: How many faults of each kind it has.
        faults: The first 10,000 of them.
        error: Why the file could not be read to its end; `None` if it was.
    """

    path: str
    bytes: int
    lines: int
    records: dict[str, int]
    first_time: float | None
    last_time: float | None
    fault_counts: dict[FaultKind, int]
    faults: tuple[LineFault, ...]
    error: str | None = None


class CheckReport(msgspec.Struct, frozen=True):
    """The result of `check`.

    Attributes:
        path: The absolute path that was checked.
        files: A report for each file, logs in the order of their names, the sealed segments of a
            log before its active file.
    """

    path: str
    files: tuple[FileReport, ...]

    @property
    def faults(self) -> tuple[LineFault, ...]:
        """The faults of all files, at most 10,000 of each."""
        return tuple(fault for file in self.files for fault in file.faults)

    @property
    def exit_status(self) -> int:
        """0 without faults, 1 with faults, 2 when a file could not be read."""
        if any(file.error for file in self.files):
            return _UNREAD
        return _FAULTY if any(file.fault_counts for file in self.files) else _CLEAN

    @property
    def is_clean(self) -> bool:
        """Whether every file was read and has no faults."""
        return self.exit_status == _CLEAN

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts and lists, exit status first, as `--json` prints it."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        for file in facts["files"]:
            for name in ("first_time", "last_time"):
                file[f"{name}_iso"] = None if file[name] is None else iso_utc(file[name])
        return {"exit_status": self.exit_status, **facts}
