"""Follower processes: each notes records and cursors outside the log, and resumes after a kill."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from metrics_appender import AppendLog

from . import messages, verifier
from .writers import await_start, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .verifier import Mark


@dataclass(frozen=True, slots=True)
class FollowTask:
    """What one follower does: note all records in `notes` until the line of `last_caller`."""

    path: str
    callers: tuple[int, ...]
    notes: str
    last_caller: int
    notify: bool
    sabotage: str = ""


def follow_and_note(task: FollowTask, outbox: Connection, go: Connection) -> None:
    """Follow from the last noted cursor on: the body of a follower process.

    A record and its cursor are noted by one write, so that a kill separates no two of them.
    """
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    cursor = _last_cursor(task.notes)
    with (
        AppendLog(task.path).follow(
            cursor or "beginning", notify=task.notify, poll_seconds=0.01
        ) as follower,
        open(task.notes, "ab", buffering=0) as notes,
    ):
        await_start(reporter, task, go)
        count = 0
        for record, behind in follower:
            line = json.dumps(record).encode()
            notes.write(line + b"\t" + behind.encode() + b"\n")
            count += 1
            if verifier.read_mark(line + b"\n").caller == task.last_caller:
                break
    reporter.report(messages.PHASE_OVER, task.callers[0], number=count)


def _last_cursor(notes: str) -> str | None:
    """Return the cursor of the last whole note, and cut off the part of one behind it."""
    if not os.path.exists(notes):
        return None
    with open(notes, "r+b") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        file.truncate(end)
    return data[:end].rpartition(b"\t")[2].decode().strip() or None


def noted_lines(notes: str) -> BinaryIO:
    """Return the records that a follower noted, as lines of a file for the verifier."""
    with open(notes, "rb") as file:
        return io.BytesIO(b"".join(note.rpartition(b"\t")[0] + b"\n" for note in file))


def noted_marks(notes: str) -> list[Mark]:
    """Return the marks of the lines that a follower noted, in its order."""
    return [verifier.read_mark(line) for line in noted_lines(notes)]
