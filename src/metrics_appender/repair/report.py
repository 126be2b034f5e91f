"""The result of a repair as data: what became of each fault, and what failed."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..check.report import LineFault  # noqa: TC001 - msgspec looks at the types of a struct's fields

Action = Literal["put_aside", "split", "moved", "cut", "left"]
_DONE, _LEFT, _FAILED = range(3)


class Change(msgspec.Struct, frozen=True):
    """What became of one fault, or would become of it in a dry run.

    Attributes:
        fault: The fault as `check` reports it.
        action: `"put_aside"` (the line is in `.torn`, spaces are in its place), `"split"` (glued
            objects have lines of their own, in place), `"moved"` (the first of the glued objects
            stayed, the others are lines at the end of the log), `"cut"` (the torn tail is in
            `.torn`) or `"left"` (unchanged).
        detail: Why it was left, or how many objects were split or moved; may be empty.
    """

    fault: LineFault
    action: Action
    detail: str = ""

    def __str__(self) -> str:
        """Return the fault, then what became of it."""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.fault}; {self.action.replace('_', ' ')}{detail}"


class Failure(msgspec.Struct, frozen=True):
    """A log of a directory that could not be repaired.

    Attributes:
        path: The log.
        reason: Why, and what became of its bytes, for a person to read.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        """Return the log, then the reason."""
        return f"{self.path}: {self.reason}"


class RepairReport(msgspec.Struct, frozen=True):
    """The result of `repair`.

    Attributes:
        path: The absolute path that was repaired.
        is_dry_run: Whether nothing was changed, and `changes` says what would be.
        changes: What became of each fault, in the order of the lines.
        errors: The logs of a directory that could not be repaired; the others were.
    """

    path: str
    is_dry_run: bool
    changes: tuple[Change, ...]
    errors: tuple[Failure, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 if no faults remain, 1 if some were left or a dry run found some, 2 with errors."""
        if self.errors:
            return _FAILED
        is_open = any(self.is_dry_run or change.action == "left" for change in self.changes)
        return _LEFT if is_open else _DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts and lists, exit status first, as `--json` prints it."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return {"exit_status": self.exit_status, **facts}
