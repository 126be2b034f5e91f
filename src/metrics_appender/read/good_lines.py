"""The good lines of a log that come next, as records or bytes; corrupt ones raised or skipped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from .. import logger
from ..errors import CorruptLineError
from ..records.ndjson import decode_line
from .lines import is_blank
from .raw_lines import are_objects
from .skipped import collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .log_tail import LogTail
    from .skipped import OnError


class Followed(NamedTuple):
    """A record, and the cursor of the position behind it, where a later follower goes on."""

    record: dict[str, Any]
    cursor: str


class GoodLines:
    """Takes the lines of a log's `tail`, and treats corrupt ones as `on_error` says."""

    def __init__(self, tail: LogTail, on_error: OnError) -> None:
        """Raise `InvalidRecordError` for an `on_error` that is none."""
        self._tail = tail
        self._on_error = on_error
        self._skipped = collector(on_error)

    def take_records(self, records: list[Followed], most: int, wait: Callable[[], bool]) -> None:
        """Add pending records up to `most` of them in all, and pass their lines.

        Fewer where no more are pending, or some are to be read again; see `Repairs` for `wait`.
        Raises `CorruptLineError`, and has not passed the line then.
        """
        tail, reader = self._tail, self._tail.reader
        while reader.has_lines and len(records) < most:
            line = reader.line()
            try:
                record = decode_line(line)
            except json.JSONDecodeError as error:
                self._pass_bad(line, error, wait)
            else:
                tail.advance(len(line) + 1)
                records.append(Followed(record, str(reader.position.cursor())))

    def pass_line(self) -> None:
        """Pass the next pending line, whatever it is."""
        self._tail.advance(len(self._tail.reader.line()) + 1)

    def take_block(self, most_bytes: int, wait: Callable[[], bool]) -> tuple[bytes, int]:
        """Return pending lines as they stand in the file, and how many they are; pass them.

        As many as fit `most_bytes`, one at least; none where the next one is to be read again. Ends
        in front of a corrupt line that is raised, and raises where that is the first.
        """
        block = self._tail.reader.block(most_bytes)
        if are_objects(block):
            count = block.count(b"\n")
            self._tail.advance(len(block), count)
            return block, count
        lines: list[bytes] = []
        try:
            self._take_one_by_one(block, lines, wait)
        except Exception as error:
            if not lines:  # else they are given first: the next call meets the error again
                if isinstance(error, CorruptLineError):
                    self.pass_line()
                raise
        return b"".join(lines), len(lines)

    def _take_one_by_one(self, block: bytes, lines: list[bytes], wait: Callable[[], bool]) -> None:
        for line in block[:-1].split(b"\n"):
            try:
                decode_line(line)
            except json.JSONDecodeError as error:
                self._pass_bad(line, error, wait)
                if not self._tail.has_lines:  # they are to be read again, or this was the last
                    return
            else:
                self._tail.advance(len(line) + 1)
                lines.append(line + b"\n")

    def _pass_bad(self, line: bytes, error: json.JSONDecodeError, wait: Callable[[], bool]) -> None:
        """Pass a line that is no object, unless it is raised or to be read again."""
        tail = self._tail
        if is_blank(line):
            tail.advance(len(line) + 1)
        elif tail.is_corrupt(line, wait):
            reader = tail.reader
            corrupt = CorruptLineError(
                error.msg,
                error.doc,
                error.pos,
                reader.source.path,
                tail.number(),
                reader.position.offset,
            )
            if self._skipped is None:
                raise corrupt from error
            tail.advance(len(line) + 1)
            self._skipped.count += 1
            self._skipped.first = self._skipped.first or corrupt
            if self._on_error == "skip":
                logger.warn("1 corrupt line skipped: %s", corrupt)
