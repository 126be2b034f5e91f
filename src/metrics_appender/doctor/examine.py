"""Running the doctor: read the mount, run the checks, and make the report."""

from __future__ import annotations

import resource
from typing import Any, Final

from ..fs.lock import FileLock
from . import mounts
from .checks import ANSWER_SECONDS, reason_of, run_checks
from .report import Check, FilesystemReport, Status
from .workers import Workers

# The lock to check, by name: it is looked up in the worker processes.
LOCK: Final = f"{FileLock.__module__}:{FileLock.__qualname__}"
_LOWEST_OPEN_LIMIT: Final = 64
_LOW_ROOM_BYTES: Final = 100_000_000
_LOW_ROOM_FILES: Final = 1000


def examine(directory: str, lock_name: str) -> FilesystemReport:
    """Check a directory with the class of this name (`module:class`) as its lock."""
    with Workers(lock_name) as workers:
        worker = workers.worker(0)  # not in the `try`: that no process can be started is no answer
        try:
            seen = worker.request("survey", directory, timeout_seconds=ANSWER_SECONDS)
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
            return _report(directory, mount, [failed, _check_open_limit()])
        directory = seen["directory"]
        mount = mounts.mount_of(directory, mounts.read_mounts(), seen["mount_id"])
        return _report(
            directory,
            mount,
            [*run_checks(workers, directory), _check_open_limit(), _check_room(seen)],
        )


def _report(directory: str, mount: mounts.Mount, checks: list[Check]) -> FilesystemReport:
    about_type, *about_options = mounts.meanings_of(mount)
    checks = [
        _check_mount("file_system", [about_type]),
        _check_mount("mount_options", about_options),
        *checks,
    ]
    return FilesystemReport(
        directory, mount.file_system, mount.source, mount.mount_point, mount.options, tuple(checks)
    )


def _check_mount(name: str, meanings: list[mounts.Meaning]) -> Check:
    status: Status = "limit" if any(meaning.is_limit for meaning in meanings) else "ok"
    return Check(
        name,
        status,
        "; ".join(meaning.text for meaning in meanings) or "none that weakens the promise is known",
    )


def _check_open_limit() -> Check:
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


def _check_room(seen: dict[str, Any]) -> Check:
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
