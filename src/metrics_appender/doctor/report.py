"""What the doctor found, as data: one check, and the report of all of them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

Status = Literal["ok", "limit", "unfit"]

_SEVERITY: Final[tuple[Status, ...]] = ("ok", "limit", "unfit")
_VERDICTS: Final = ("works", "works with limits", "do not use")


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Its name, `"ok"`, `"limit"` or `"unfit"`, a sentence, and the figures behind it.

    The figures' names say their unit: `p50_ms`, `free_bytes`.
    """

    name: str
    status: Status
    message: str
    measured: dict[str, Any] = msgspec.field(default_factory=dict)


class FilesystemReport(msgspec.Struct, frozen=True):
    """What was found of a directory.

    On which file system it lies, how that is mounted, and each check.

    `file_system` is its type (`"ext4"`, `"nfs4"`), `"unknown"` where the system does not tell;
    `source` and `mount_point` are its device or server, and where it is mounted. The checks are in
    the order of the table that `metrics-appender doctor` shows.
    """

    directory: str
    file_system: str
    source: str
    mount_point: str
    mount_options: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def exit_status(self) -> int:
        """0 when all is well, 1 when something limits the promise, 2 when the directory is unfit for it."""
        return max(_SEVERITY.index(check.status) for check in self.checks)

    @property
    def verdict(self) -> str:
        """`"works"`, `"works with limits"` or `"do not use"`."""
        return _VERDICTS[self.exit_status]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain dicts and lists, verdict and exit status first.

        What `--json` prints.
        """
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return {"verdict": self.verdict, "exit_status": self.exit_status, **facts}
