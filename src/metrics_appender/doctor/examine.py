"""The examination: the mount is read, everything is tried, and what was found is put together."""

from __future__ import annotations

import resource
from typing import Any, Final

from . import mounts
from .checks import ANSWER_SECONDS, reason_of, try_all
from .report import Check, FilesystemReport, Status
from .workers import Crew

LOCK: Final = "metrics_appender.fs.lock:FileLock"
_LOWEST_OPEN_LIMIT: Final = 64
_LOW_ROOM_BYTES: Final = 100_000_000
_LOW_ROOM_FILES: Final = 1000


def examine(directory: str, lock_name: str) -> FilesystemReport:
    """Check a directory, with the class `module:class` as the lock."""
    with Crew(lock_name) as crew:
        member = crew.member(0)
        try:
            seen = member.ask("survey", directory, timeout_seconds=ANSWER_SECONDS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise type(error)(error.errno, error.strerror, directory) from None
        except OSError as error:
            mount = mounts.mount_of(directory, mounts.read_mounts())
            failed = Check(
                "access",
                "unfit",
                f"the directory cannot be opened: {reason_of(error)}",
                {"errno": error.errno},
            )
            return _report(directory, mount, [failed, _judge_open_limit()])
        directory = seen["directory"]
        mount = mounts.mount_of(directory, mounts.read_mounts(), seen["mount_id"])
        return _report(
            directory, mount, [*try_all(crew, directory), _judge_open_limit(), _judge_room(seen)]
        )


def _report(directory: str, mount: mounts.Mount, checks: list[Check]) -> FilesystemReport:
    about_type, *about_options = mounts.meanings_of(mount)
    checks = [
        _judge("file_system", [about_type]),
        _judge("mount_options", about_options),
        *checks,
    ]
    return FilesystemReport(
        directory, mount.file_system, mount.source, mount.mount_point, mount.options, tuple(checks)
    )


def _judge(name: str, meanings: list[mounts.Meaning]) -> Check:
    status: Status = "limit" if any(meaning.is_limit for meaning in meanings) else "ok"
    return Check(
        name,
        status,
        "; ".join(meaning.text for meaning in meanings) or "none that weakens the promise is known",
    )


def _judge_open_limit() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    measured = {
        name: None if limit == resource.RLIM_INFINITY else limit
        for name, limit in (("soft", soft), ("hard", hard))
    }
    if soft == resource.RLIM_INFINITY:
        return Check("open_limit", "ok", "a process may have any number of files open", measured)
    message = f"a process may have {soft:,} files open"
    if soft < _LOWEST_OPEN_LIMIT:
        return Check(
            "open_limit",
            "limit",
            f"{message}, and each append under way takes one or two (ulimit -n)",
            measured,
        )
    return Check("open_limit", "ok", message, measured)


def _judge_room(seen: dict[str, Any]) -> Check:
    free_bytes, free_files = seen["free_bytes"], seen["free_inodes"]
    measured = {"free_bytes": free_bytes, "free_inodes": free_files}
    files = "" if free_files is None else f" and {free_files:,} files"
    is_low = free_bytes < _LOW_ROOM_BYTES or (
        free_files is not None and free_files < _LOW_ROOM_FILES
    )
    room = f"room for {free_bytes / 1e6:,.0f} MB{files}"
    return Check(
        "free_room", "limit" if is_low else "ok", f"only {room}" if is_low else room, measured
    )
