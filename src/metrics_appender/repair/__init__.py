"""Repairing logs while writers append: what is wrong moves to `.torn`, the rest stays in place.

Only the entry point is here; the code behind it is imported at first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..check.report import FaultKind
    from .report import RepairReport


def repair(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    keep: Collection[FaultKind] = (),
    lock_timeout: float | None = 30.0,
    progress: Callable[[int, int], None] | None = None,
) -> RepairReport:
    """Move what `check` finds wrong in a log, or in every log of a directory, to `{file}.torn`.

    Each faulty line is copied durably to `{file}.torn`, then overwritten with spaces, which become
    white space of the next line, or of the previous one at the end of the file. Valid lines keep
    their offsets, so neither writers nor followers are disturbed. Objects glued into one line get
    lines of their own: in place, where the line has a byte of white space to spare for each
    newline; otherwise the first object stays and the others are appended to the log. A torn tail is
    cut off, as an append does it. A compressed segment is left as it is, and reported.

    Writers may go on: the log is read without a lock; the lock is held only to read what was added
    since, and to write the repairs. A crash at any point loses no byte (each is in the file or in
    `.torn`) and turns no part of a line into a record; the next repair continues.

    Args:
        path: A log, or a directory whose logs are all repaired; see `check`.
        dry_run: Change nothing; the report says what would be changed.
        keep: Kinds of faults to leave as they are, such as `{"schema", "duplicate_id"}`: such
            records can be read. A torn tail cannot be kept.
        lock_timeout: How many seconds to wait at most for the lock of writers, and as long for
            other maintenance of the log; `None` waits without limit.
        progress: Called with the bytes read so far and the bytes in total.

    Returns:
        What became of each fault. In a directory, a log that cannot be repaired is one of the
        report's `errors`, its `exit_status` is 2, and the other logs are repaired.

    Raises:
        FileNotFoundError: Neither a file nor a sealed segment is there.
        InvalidRecordError: (a `ValueError`) `keep` holds a kind that cannot be kept; nothing was
            changed.
        LockTimeoutError: A lock was not free in time; nothing was changed.
        OSError: A file could not be read or written. A note says what became of its bytes: unless
            nothing was written, each is in the file or in `.torn`, and another repair continues.

    Example:
        >>> log = AppendLog("events.ndjson")
        >>> log.append_line(b'{"a": 1}{"b": 2}\\n')
        >>> log.append_line(b'oops\\n')
        >>> [change.action for change in repair("events.ndjson").changes]
        ['split', 'put_aside']
        >>> log.read()
        [{'a': 1}, {'b': 2}]
    """
    from .repair_all import repair_all

    return repair_all(
        os.path.abspath(os.fspath(path)),
        is_dry_run=dry_run,
        keep=keep,
        lock_timeout=lock_timeout,
        progress=progress,
    )
