"""Reading a file for its faults, from the first line on or from where the scan before ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..read.lines import is_blank
from ..read.position import Position
from ..read.tail_reader import TailReader
from .classify import Span, Verdict, excerpt_of, judge_line, objects_in
from .report import LineFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..segment.source import Source
    from .schema import Schema


class Found(NamedTuple):
    """A fault, a fingerprint of its line.

    The verdicts on the objects of a line in which they are glued.
    """

    fault: LineFault
    fingerprint: int
    pieces: Sequence[tuple[Span, Verdict | None]] = ()


class Scan:
    """What was found in one open file by now.

    `position` is where the next line begins, `lines` how many stand before it; `size` is what was
    read, a torn tail with it. `records` counts the good ones by kind, `first_time` and `last_time`
    are their least and greatest timestamps.
    """

    def __init__(self, source: Source, schema: Schema, ids: set[str]) -> None:
        """Take the open file, what its lines have to be, and the ids of the segments before it."""
        self.position = 0
        self.lines = 0
        self.size = 0
        self.records: Counter[str] = Counter()
        self.first_time: float | None = None
        self.last_time: float | None = None
        self._source = source
        self._schema = schema
        self._ids = ids

    def read_on(self, progress: Callable[[int], None] = lambda _: None) -> Iterator[Found]:
        """Read the whole lines that are not read yet, and yield the faulty ones.

        `progress` is told how many bytes were read.
        """
        reader = TailReader(self._source, Position(self.position), is_guarded=False)
        while not reader.read() and (lines := reader.lines()):
            length = sum(map(len, lines)) + len(lines)
            records = self._read_quickly(lines)
            if records is None:
                ids: set[str] = set()
                judged = [None if is_blank(line) else self._judge(line, ids) for line in lines]
                faults = list(self._faults(lines, judged))
                if faults and self._source.read_at(length, self.position) != b"".join(
                    line + b"\n" for line in lines
                ):
                    # A writer has taken a line back, or a repair is at work: read it as it is now.
                    reader.forget()
                    continue
                records = [
                    record
                    for record in judged
                    if record is not None and not isinstance(record, Verdict)
                ]
                self._ids |= ids
                yield from faults
            self._note(records)
            reader.advance_to_end()
            self.position += length
            self.size = self.position
            self.lines += len(lines)
            progress(length)

    def find_torn_tail(self, is_at_rest: Callable[[], bool]) -> Found | None:
        """Return the bytes behind the last whole line, if there are any and nobody is in the middle of writing them.

        `is_at_rest` tells whether the file's lock is free. A writer holds it until its line is
        whole, and whoever mends a torn line until that is done: where it is held, the tail is not
        torn, or will not be for long.
        """
        while tail := self._read_tail():
            if not is_at_rest():
                break
            if self._read_tail() == tail:
                self.size = self.position + len(tail)
                verdict = Verdict(
                    "torn_tail", f"{len(tail)} bytes without a newline, which nobody is writing"
                )
                return self._found(verdict, tail, self.lines + 1, self.position)
        return None

    def _read_tail(self) -> bytes:
        """Return what stands behind the last whole line that was read, nothing once it is a whole line too."""
        tail = self._source.read_at(max(0, self._source.size - self.position), self.position)
        return b"" if b"\n" in tail else tail

    def _read_quickly(self, lines: list[bytes]) -> list[Any] | None:
        """Return the records of lines that are all good, `None` when one is not."""
        try:
            found = list(map(self._schema.decode, lines))
        except (ValueError, RecursionError):
            return None
        ids = self._schema.ids_of(found)
        return found if len(set(ids)) == len(ids) and self._ids.isdisjoint(ids) else None

    def _judge(self, line: bytes, ids: set[str]) -> Any:
        """Return a line's record or the verdict on it, with its objects where they are glued.

        Add to the ids of the block.
        """
        judged = judge_line(line, self._schema)
        if isinstance(judged, Verdict):
            if judged.kind != "glued":
                return judged
            parts = [
                (span, self._judge(line[span.start : span.end], ids)) for span in objects_in(line)
            ]
            return judged._replace(
                pieces=[(span, part if isinstance(part, Verdict) else None) for span, part in parts]
            )
        for event_id in self._schema.ids_of([judged]):
            if event_id in self._ids or event_id in ids:
                return Verdict("duplicate_id", f"the event_id {event_id} stands in the log already")
            ids.add(event_id)
        return judged

    def _note(self, found: list[Any]) -> None:
        """Count the good records of a block."""
        if not found:
            return
        self.records.update(self._schema.count_kinds(found))
        self._ids.update(self._schema.ids_of(found))
        times = self._schema.times_of(found)
        if times:
            self.first_time = (
                min(times) if self.first_time is None else min(self.first_time, *times)
            )
            self.last_time = max(times) if self.last_time is None else max(self.last_time, *times)

    def _faults(self, lines: list[bytes], judged: list[Any]) -> Iterator[Found]:
        offset = self.position
        for number, (line, verdict) in enumerate(zip(lines, judged, strict=True), self.lines + 1):
            if isinstance(verdict, Verdict):
                yield self._found(verdict, line, number, offset)
            offset += len(line) + 1

    def _found(self, verdict: Verdict, line: bytes, number: int, offset: int) -> Found:
        fault = LineFault(
            verdict.kind,
            self._source.path,
            number,
            offset,
            len(line),
            verdict.reason,
            excerpt_of(line),
        )
        return Found(fault, hash(line), verdict.pieces)
