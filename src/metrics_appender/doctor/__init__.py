"""What a directory's file system can keep of the promise: told by its mount, and tried.

Only the door is here: what is behind it starts processes, and is loaded when it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import FilesystemReport


def check_filesystem(path: str | os.PathLike[str]) -> FilesystemReport:
    """Try in a directory what the promise stands on, and return what was found.

    Four processes count under one lock, a holder of a lock is killed, a file is renamed under its
    lock, appends and syncs are timed, all on real files in a new directory inside this one, which
    is removed afterwards. That takes a second or two on a local disk. Whatever touches the
    directory is done in other processes and waited for with a deadline: a mount that does not
    answer is told of, after ten seconds as a rule and two minutes at most. What fails is a check of
    the report, not an exception.

        >>> report = check_filesystem(".")
        >>> report.verdict in {"works", "works with limits"}
        True
        >>> [check.name for check in report.checks][:5]
        ['file_system', 'mount_options', 'access', 'exclusion', 'killed_holder']

    What one host cannot see is not found: whether a lock excludes other hosts too, and whether a
    disk that says so has written.

    Raises `FileNotFoundError` or `NotADirectoryError` for a path that is no directory, and the
    `OSError` of a process that cannot be started. Nothing is made then.
    """
    from .examine import LOCK, examine

    return examine(os.path.abspath(os.fspath(path)), LOCK)
