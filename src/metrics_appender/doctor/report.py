"""The result of the doctor as data: one check, and the whole report."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

Status = Literal["ok", "limit", "unfit"]

_SEVERITY: Final[tuple[Status, ...]] = ("ok", "limit", "unfit")
_VERDICTS: Final = ("works", "works with limits", "do not use")


class Check(msgspec.Struct, frozen=True):
    """The result of one check.

    Attributes:
        name: Which check it was, such as `"exclusion"`.
        status: `"ok"`, `"limit"` (something limits the promise) or `"unfit"` (do not append here).
        message: What was found, for a person to read.
        measured: The figures behind it; their names say their unit (`p50_ms`, `free_bytes`).
    """

    name: str
    status: Status
    message: str
    measured: dict[str, Any] = msgspec.field(default_factory=dict)


class FilesystemReport(msgspec.Struct, frozen=True):
    """The result of `check_filesystem`.

    Attributes:
        directory: The absolute path that was checked, without symbolic links.
        file_system: The type of its file system (`"ext4"`, `"nfs4"`), or `"unknown"`.
        source: The device or the server of the file system.
        mount_point: Where it is mounted.
        mount_options: How it is mounted.
        checks: What was found, in the order in which `metrics-appender doctor` shows it.
    """

    directory: str
    file_system: str
    source: str
    mount_point: str
    mount_options: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def exit_status(self) -> int:
        """0 if every check is `"ok"`, 1 if the worst is `"limit"`, 2 if it is `"unfit"`."""
        return max(_SEVERITY.index(check.status) for check in self.checks)

    @property
    def verdict(self) -> str:
        """`"works"`, `"works with limits"` or `"do not use"`."""
        return _VERDICTS[self.exit_status]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts and lists, verdict first, as `--json` prints it."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return {"verdict": self.verdict, "exit_status": self.exit_status, **facts}
