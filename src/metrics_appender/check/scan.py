"""Scanning a file for faults, from its beginning or from where the previous scan ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..read.lines import is_blank
from ..read.position import Position
from ..read.tail_reader import TailReader
from .classify import Span, Verdict, classify_line, excerpt_of, find_objects
from .report import LineFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..segment.source import Source
    from .schema import Schema


class Finding(NamedTuple):
    """A fault with a hash of its line and, for a glued line, its objects and their verdicts."""

    fault: LineFault
    fingerprint: int
    pieces: Sequence[tuple[Span, Verdict | None]] = ()


class Scan:
    """A scan of one open file: its position, and what it counted up to there.

    `position` is where the next line begins, and `lines` counts those before it; `size` is how many
    bytes were read, a torn tail included. `records` counts the valid records by kind, `first_time`
    and `last_time` are the smallest and the greatest of their timestamps.
    """

    def __init__(self, source: Source, schema: Schema, ids: set[str]) -> None:
        """Start at the beginning; `ids` are those of the log's events so far, and are added to."""
        self.position = 0
        self.lines = 0
        self.size = 0
        self.records: Counter[str] = Counter()
        self.first_time: float | None = None
        self.last_time: float | None = None
        self._source = source
        self._schema = schema
        self._ids = ids

    def scan_new_lines(self, progress: Callable[[int], None] = lambda _: None) -> Iterator[Finding]:
        """Read the whole lines from the position on, and yield the faulty ones.

        `progress` is called with the length of each block that was read.
        """
        reader = TailReader(self._source, Position(self.position), is_guarded=False)
        while not reader.read() and (lines := reader.lines()):
            length = sum(map(len, lines)) + len(lines)
            records = self._decode_valid(lines)
            if records is None:
                ids: set[str] = set()
                results = [None if is_blank(line) else self._classify(line, ids) for line in lines]
                findings = list(self._findings(lines, results))
                if findings and self._source.read_at(length, self.position) != b"".join(
                    line + b"\n" for line in lines
                ):
                    # A writer rolled a line back, or a repair changed one: read the block again.
                    reader.forget()
                    continue
                records = [
                    record
                    for record in results
                    if record is not None and not isinstance(record, Verdict)
                ]
                self._ids |= ids
                yield from findings
            self._count(records)
            reader.advance_to_end()
            self.position += length
            self.size = self.position
            self.lines += len(lines)
            progress(length)

    def find_torn_tail(self, is_lock_free: Callable[[], bool]) -> Finding | None:
        """Return the bytes after the last whole line, unless a writer is in the middle of them.

        `is_lock_free` tells whether the file's lock is free. A writer holds it until its line is
        whole, and a recovery until the torn line is gone: while it is held, the tail is no fault.
        """
        while tail := self._read_tail():
            if not is_lock_free():
                break
            if self._read_tail() == tail:
                self.size = self.position + len(tail)
                verdict = Verdict(
                    "torn_tail", f"{len(tail)} bytes without a newline, which nobody is writing"
                )
                return self._finding(verdict, tail, self.lines + 1, self.position)
        return None

    def _read_tail(self) -> bytes:
        """Return the bytes after the last line that was read; none if a newline is in them now."""
        tail = self._source.read_at(max(0, self._source.size - self.position), self.position)
        return b"" if b"\n" in tail else tail

    def _decode_valid(self, lines: list[bytes]) -> list[Any] | None:
        """Return the records of a block without faults, `None` when any line has to be classified.

        The fast path: a blank line or an unknown field leaves it, too.
        """
        try:
            records = list(map(self._schema.decode, lines))
        except (ValueError, RecursionError):
            return None
        ids = self._schema.ids_of(records)
        return records if len(set(ids)) == len(ids) and self._ids.isdisjoint(ids) else None

    def _classify(self, line: bytes, ids: set[str]) -> Any:
        """Return the record of a line or the verdict on it, duplicate ids included.

        The ids of the block so far are in `ids`, and the line's own are added.
        """
        result = classify_line(line, self._schema)
        if isinstance(result, Verdict):
            if result.kind != "glued":
                return result
            parts = [
                (span, self._classify(line[span.start : span.end], ids))
                for span in find_objects(line)
            ]
            return result._replace(
                pieces=[(span, part if isinstance(part, Verdict) else None) for span, part in parts]
            )
        for event_id in self._schema.ids_of([result]):
            if event_id in self._ids or event_id in ids:
                return Verdict("duplicate_id", f"the event_id {event_id} stands in the log already")
            ids.add(event_id)
        return result

    def _count(self, records: list[Any]) -> None:
        """Add the valid records of a block to the counts."""
        if not records:
            return
        self.records.update(self._schema.count_kinds(records))
        self._ids.update(self._schema.ids_of(records))
        times = self._schema.times_of(records)
        if times:
            self.first_time = (
                min(times) if self.first_time is None else min(self.first_time, *times)
            )
            self.last_time = max(times) if self.last_time is None else max(self.last_time, *times)

    def _findings(self, lines: list[bytes], results: list[Any]) -> Iterator[Finding]:
        offset = self.position
        for number, (line, result) in enumerate(zip(lines, results, strict=True), self.lines + 1):
            if isinstance(result, Verdict):
                yield self._finding(result, line, number, offset)
            offset += len(line) + 1

    def _finding(self, verdict: Verdict, line: bytes, number: int, offset: int) -> Finding:
        fault = LineFault(
            verdict.kind,
            self._source.path,
            number,
            offset,
            len(line),
            verdict.reason,
            excerpt_of(line),
        )
        return Finding(fault, hash(line), verdict.pieces)
