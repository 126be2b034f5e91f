"""Putting aside what is wrong in a log, while others write to it.

Only the door is here: what is behind it is loaded when it is first used.
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
    """Put aside what `check` finds wrong in a file with its sealed segments, or in every log of a directory.

    Each faulty line goes to `{file}.torn`, durably, before spaces take its place; they become white
    space of the line behind it, or before it where it is the last. Nothing else moves: every good
    line keeps its offset, so that neither a writer nor a follower is disturbed. Objects that were
    glued into one line get lines of their own, in place where white space has a byte to spare for
    the newline; where it has not, the first stays and the others become lines at the end of the
    log. A torn tail is cut off, as by an append.

    Writers may write meanwhile: the file is read without a lock, and its lock is held for what is
    wrong and what was added since. A crash at any point loses no byte, all are in the file or in
    `.torn`, and makes no record of half a line; the next repair goes on. A compressed segment is
    left as it is, and told of.

    With `dry_run` nothing is changed, and the report tells what would be. `keep` names kinds of
    faults to leave, such as `{"schema", "duplicate_id"}`: records that every reader can read.
    `lock_timeout` is how many seconds to wait for writers, and for other maintenance, at most;
    `None` waits for ever. `progress` is called with the bytes read and the bytes there are.

        >>> log = AppendLog("events.ndjson")
        >>> log.append_line(b'{"a": 1}{"b": 2}\\n')
        >>> log.append_line(b'oops\\n')
        >>> [change.action for change in repair("events.ndjson").changes]
        ['split', 'put_aside']
        >>> log.read()
        [{'a': 1}, {'b': 2}]

    Of a directory, a log that cannot be repaired is told of in the report, in its `errors`, with
    the `exit_status` 2, and the others are repaired. Of a file it is raised.

    Raises `FileNotFoundError` where nothing is there, `InvalidRecordError` (a `ValueError`) for a
    kind that cannot be kept, `LockTimeoutError` with nothing changed, and any other `OSError` with
    a note that says what became of the bytes.
    """
    from .repair_all import repair_all

    return repair_all(
        os.path.abspath(os.fspath(path)),
        is_dry_run=dry_run,
        keep=keep,
        lock_timeout=lock_timeout,
        progress=progress,
    )
