"""The processes that follow.

Each notes what it was given, with the cursor, outside the log, and goes on from there when it is
killed.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from metrics_appender import AppendLog

from . import claims, verifier
from .writers import await_go, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .verifier import Mark


@dataclass(frozen=True, slots=True)
class Errand:
    """What one follower is to do.

    Note in `notes` all there is of the log, until the line of `last_caller` comes.
    """

    path: str
    callers: tuple[int, ...]
    notes: str
    last_caller: int
    notify: bool
    sabotage: str = ""


def follow_and_note(errand: Errand, outbox: Connection, go: Connection) -> None:
    """Follow from the last note's cursor on: the body of a follower process.

    A record and its cursor are noted by one write, so that they stand or fall together.
    """
    prepare(errand.sabotage)
    voice = claims.Voice(outbox)
    cursor = _last_cursor(errand.notes)
    with (
        AppendLog(errand.path).follow(
            cursor or "beginning", notify=errand.notify, poll_seconds=0.01
        ) as follower,
        open(errand.notes, "ab", buffering=0) as notes,
    ):
        await_go(voice, errand, go)
        count = 0
        for record, behind in follower:
            line = json.dumps(record).encode()
            notes.write(line + b"\t" + behind.encode() + b"\n")
            count += 1
            if verifier.read_mark(line + b"\n").caller == errand.last_caller:
                break
    voice.say(claims.PHASE_OVER, errand.callers[0], number=count)


def _last_cursor(notes: str) -> str | None:
    """Return the cursor of the last whole note.

    Cut off what a killed follower left behind it.
    """
    if not os.path.exists(notes):
        return None
    with open(notes, "r+b") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        file.truncate(end)
    return data[:end].rpartition(b"\t")[2].decode().strip() or None


def noted_lines(notes: str) -> BinaryIO:
    """Return the records that a follower noted, as lines of a file for the judge."""
    with open(notes, "rb") as file:
        return io.BytesIO(b"".join(note.rpartition(b"\t")[0] + b"\n" for note in file))


def noted_marks(notes: str) -> list[Mark]:
    """Return the lines that a follower noted, in its order."""
    return [verifier.read_mark(line) for line in noted_lines(notes)]
