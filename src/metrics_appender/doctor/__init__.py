"""Checking what a directory's file system guarantees, by its mount options and by experiment.

Only the entry point is here; the code behind it starts processes, and is imported at first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import FilesystemReport


def check_filesystem(path: str | os.PathLike[str]) -> FilesystemReport:
    """Check whether durable, locked appends work in a directory, and return what was found.

    The type and the options of the mount are read. Then real processes use real files in a
    temporary directory below this one: four processes increment a counter under one lock, the
    holder of a lock is killed, a file is renamed under its lock, and appends and syncs are timed.
    This takes a second or two on a local disk.

    Only child processes touch the directory, each with a deadline: a mount that does not answer is
    reported as such, as a rule after ten seconds, at most after two minutes. What one host cannot
    see is not checked: whether a lock also excludes other hosts, and whether a disk that
    acknowledges a sync has written its cache.

    Args:
        path: An existing directory in which files can be made.

    Returns:
        One check for each property, and a verdict on all of them. What fails is a check of the
        report, not an exception.

    Raises:
        FileNotFoundError: The directory does not exist; nothing was made.
        NotADirectoryError: `path` is something else; nothing was made.
        OSError: A process cannot be started; nothing was made.

    Example:
        >>> report = check_filesystem(".")
        >>> report.verdict in {"works", "works with limits"}
        True
        >>> [check.name for check in report.checks][:5]
        ['file_system', 'mount_options', 'access', 'exclusion', 'killed_holder']
    """
    from .examine import LOCK, examine

    return examine(os.path.abspath(os.fspath(path)), LOCK)
