"""What a repair did, or would do, as data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..check.report import LineFault  # noqa: TC001 - msgspec looks at the types of a struct's fields

Action = Literal["put_aside", "split", "moved", "cut", "left"]
_DONE, _LEFT, _FAILED = range(3)


class Change(msgspec.Struct, frozen=True):
    """What became of one fault.

    `action` is `"put_aside"` (the line is in `.torn`, spaces stand in its place), `"split"`
    (objects that were glued have lines of their own, in place), `"moved"` (the first of them
    stayed, the others are lines at the end of the log), `"cut"` (the torn tail is in `.torn`) or
    `"left"` (as it was; `detail` says why).
    """

    fault: LineFault
    action: Action
    detail: str = ""

    def __str__(self) -> str:
        """Name the fault, then what became of it."""
        return f"{self.fault}; {self.action.replace('_', ' ')}{f': {self.detail}' if self.detail else ''}"


class Failure(msgspec.Struct, frozen=True):
    """A log of a directory that could not be repaired.

    Its path, why, and what became of its bytes.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        """Name the log, then the reason."""
        return f"{self.path}: {self.reason}"


class RepairReport(msgspec.Struct, frozen=True):
    """What a repair changed, in the order of the lines; with `is_dry_run`, what it would change.

    `errors` holds the logs of a directory that could not be repaired; the others were.
    """

    path: str
    is_dry_run: bool
    changes: tuple[Change, ...]
    errors: tuple[Failure, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 when nothing is wrong any more, 1 when something was left as it was or it is a dry run that found something, 2 with errors."""
        if self.errors:
            return _FAILED
        is_open = any(self.is_dry_run or change.action == "left" for change in self.changes)
        return _LEFT if is_open else _DONE

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain dicts and lists, the exit status first.

        What `--json` prints.
        """
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return {"exit_status": self.exit_status, **facts}
