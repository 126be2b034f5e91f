"""What a check found, as data: one fault, one file, the whole."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

from ..records.instants import iso_utc

FaultKind = Literal["torn_tail", "nul_run", "no_object", "glued", "schema", "duplicate_id"]

KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
MOST_FAULTS: Final = 10_000
_CLEAN, _FAULTY, _UNREAD = range(3)


class LineFault(msgspec.Struct, frozen=True):
    """One line that is not as it should be: what is wrong, and where.

    `kind` is `"torn_tail"` (bytes after the last newline that nobody is writing), `"nul_run"` (a
    line with NUL bytes, as a power cut leaves it), `"no_object"` (no JSON object), `"glued"`
    (several whole objects in one line), `"schema"` (an object that is not the record its file is
    for) or `"duplicate_id"` (an event whose `event_id` stands further up in the log already).
    `line_number` counts from 1, `byte_offset` is that of the line's first byte in its file
    (uncompressed), and `length` is that of the line in bytes, without its newline. `reason` is a
    sentence, `excerpt` the line's beginning, in printable characters.
    """

    kind: FaultKind
    path: str
    line_number: int
    byte_offset: int
    length: int
    reason: str
    excerpt: str

    def __str__(self) -> str:
        """Name the place, then what is wrong there."""
        return f"{self.path}, line {self.line_number} (byte {self.byte_offset}): {self.kind}: {self.reason}"


class FileReport(msgspec.Struct, frozen=True):
    """What is in one file.

    `bytes` is its size (uncompressed), `lines` how many whole lines it has; `records` counts the
    good ones by kind (`"other"` in a file that is not one of a skill's four); `first_time` and
    `last_time` are the least and the greatest `timestamp` among them. `faults` holds the first
    10,000, and `fault_counts` counts all. `error` says why the file could not be read to its end,
    if so.
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
    """What a check found.

    A report for each file, in the order of their names, sealed segments before the active file.
    """

    path: str
    files: tuple[FileReport, ...]

    @property
    def faults(self) -> tuple[LineFault, ...]:
        """The faults of all files."""
        return tuple(fault for file in self.files for fault in file.faults)

    @property
    def exit_status(self) -> int:
        """0 when all is clean, 1 when there are faults, 2 when a file could not be read."""
        if any(file.error for file in self.files):
            return _UNREAD
        return _FAULTY if any(file.fault_counts for file in self.files) else _CLEAN

    @property
    def is_clean(self) -> bool:
        """Whether everything was read, and nothing is wrong."""
        return self.exit_status == _CLEAN

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain dicts and lists, the exit status first.

        What `--json` prints.
        """
        facts: dict[str, Any] = msgspec.to_builtins(self)
        for file in facts["files"]:
            for name in ("first_time", "last_time"):
                file[f"{name}_iso"] = None if file[name] is None else iso_utc(file[name])
        return {"exit_status": self.exit_status, **facts}
