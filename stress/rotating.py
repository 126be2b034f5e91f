"""Processes that rotate and compress, and the files of a rotated log for the verifier."""

from __future__ import annotations

import gzip
import io
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import zstandard

from metrics_appender import AppendLog
from metrics_appender.segment.cleaner import clean_segments

from . import messages
from .power_writers import require_gone
from .writers import StopRequests, await_start, prepare

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from .writers import Task

_NAME: Final = re.compile(r"\.(\d{15})-(\d{15})(\.gz|\.zst|)")


def rotate_often(task: Task, outbox: Connection, go: Connection) -> None:
    """Rotate by hand again and again."""
    log = AppendLog(task.path, lock_timeout=task.lock_timeout)
    _repeat(lambda: log.rotate() is not None, 0.01, task, outbox, go)


def keep_up(task: Task, outbox: Connection, go: Connection) -> None:
    """Clean sealed segments again and again."""
    rotation = task.rotation
    assert rotation is not None
    _repeat(lambda: clean_segments(task.path, rotation), 0.001, task, outbox, go)


def _repeat(
    act: Callable[[], bool], pause: float, task: Task, outbox: Connection, go: Connection
) -> None:
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    stop_requests = StopRequests()
    await_start(reporter, task, go)
    count = 0
    while not stop_requests.count:
        try:
            count += act()
        except OSError as error:
            require_gone(error, task.path)
            return
        time.sleep(pause)
    reporter.report(messages.PHASE_OVER, task.callers[0], number=count)


class Piece(NamedTuple):
    """A sealed segment by its name, with its files: plain, compressed, or both after a kill."""

    start: int
    end: int
    endings: tuple[str, ...]


def find_pieces(path: str) -> list[Piece]:
    """Return the segments of a log, oldest first, without the library."""
    found: dict[tuple[int, int], list[str]] = {}
    for name in os.listdir(os.path.dirname(path)):
        if name.startswith(os.path.basename(path)):
            matched = _NAME.fullmatch(name, len(os.path.basename(path)))
            if matched:
                found.setdefault((int(matched[1]), int(matched[2])), []).append(matched[3])
    return [Piece(*span, tuple(sorted(endings))) for span, endings in sorted(found.items())]


def open_pieces(path: str, opened: contextlib.ExitStack) -> list[BinaryIO]:
    """Open every segment and the active file, in order.

    Check that each segment has the length in its name and begins where the one before it ends.
    """
    files: list[BinaryIO] = []
    place = 0
    for piece in find_pieces(path):
        assert piece.start == place, (
            f"bytes {place} to {piece.start} of the stream are in no segment, or in two"
        )
        contents = {
            _unpack(f"{path}.{piece.start:015d}-{piece.end:015d}{ending}", ending)
            for ending in piece.endings
        }
        assert len(contents) == 1, f"{piece} is there twice, and not the same"
        (content,) = contents
        assert len(content) == piece.end - piece.start, f"{piece} holds {len(content)} bytes"
        files.append(opened.enter_context(io.BytesIO(content)))
        place = piece.end
    if os.path.exists(path):
        files.append(opened.enter_context(io.BytesIO(Path(path).read_bytes())))
    return files


def _unpack(path: str, ending: str) -> bytes:
    ways: dict[str, Any] = {"": open, ".gz": gzip.open, ".zst": zstandard.open}
    with ways[ending](path, "rb") as file:
        return cast("bytes", file.read())
