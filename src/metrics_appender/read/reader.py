"""A log to its records, backwards or forwards, through its segments as if they were one file.

No lock is taken, and no writer waits. Bytes behind the last newline of a file are no record yet. A
whole line that is no JSON object is raised, or skipped and reported; a line of nothing but spaces
is what a repair leaves in passing, and no record.
"""

from __future__ import annotations

import contextlib
import json
import operator
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import logger
from ..errors import CorruptLineError, Fault, InvalidRecordError, show
from ..records.ndjson import decode_line
from ..segment import snapshot
from ..segment.source import CompressedFile
from .lines import is_blank, last_lines, line_number, with_offsets
from .position import Position
from .repair_mark import Repairs
from .skipped import SkippedLines, collector, report
from .tail_reader import TailReader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from ..segment.source import Source
    from .skipped import OnError

    Record = dict[str, Any]

_REPAIR_SECONDS: Final = 0.002  # how often a line is looked at that is being repaired


class _Corrupt(NamedTuple):
    """A whole line that is no JSON object: its offset in the file, and the decoder's error."""

    offset: int
    error: json.JSONDecodeError


def read_last(path: str, limit: int | None, on_error: OnError = "raise") -> list[Record]:
    """Return the last `limit` records of a log, oldest first, all of them for `None`.

    `[]` if it is not there. The cost grows with the limit, not with the log. Raises
    `InvalidRecordError` (a `ValueError`) for a negative limit, `CorruptLineError` for a whole line
    that is no object, unless `on_error` says to skip it.
    """
    if limit is None:
        return list(iter_records(path, on_error))
    skipped = collector(on_error)
    limit = _checked_limit(limit)
    records: list[Record] | None = None if limit else []
    while records is None:
        records = _read_backwards(path, limit, skipped)
    report(skipped, on_error)
    return records


def iter_records(path: str, on_error: OnError = "raise") -> Generator[Record]:
    """Yield a log's records from the first on, in constant memory; none if it is not there."""
    return _iter_records(path, on_error, collector(on_error))


def _iter_records(path: str, on_error: OnError, skipped: SkippedLines | None) -> Generator[Record]:
    repairs = Repairs()
    try:
        with contextlib.closing(snapshot.open_all(path)) as sources:
            for source in sources:
                for records in _record_blocks(source, skipped, repairs):
                    yield from records
    finally:
        report(skipped, on_error)


def _record_blocks(
    source: Source, skipped: SkippedLines | None, repairs: Repairs
) -> Iterator[Iterable[Record]]:
    """Yield a file's records, those of one block of lines together."""
    reader = TailReader(source, Position(), is_guarded=not isinstance(source, CompressedFile))
    while _read_on(reader):
        try:
            records = list(map(decode_line, reader.lines()))
        except json.JSONDecodeError:
            yield _sound_records(source, _decode_one_by_one(reader, repairs), skipped)
        else:
            yield records
            reader.advance_to_end()


def _read_on(reader: TailReader) -> bool:
    """Read the lines that come next; return whether there are any.

    Where a writer has taken back lines that were given, they are those that stand in their place;
    where the file was cut to nothing in place, those that it holds now, and a warning is logged.
    """
    while change := reader.read():
        if change.standing == "shorter":
            return False
        if change.standing == "replaced":
            logger.warn(
                "%s was cut to nothing in place: "
                "what was written behind byte %d before that is not read",
                reader.source.path,
                reader.position.offset,
            )
            reader.restart()
    return reader.has_lines


def _decode_one_by_one(reader: TailReader, repairs: Repairs) -> Iterator[Record | _Corrupt]:
    """Decode the pending lines, of which one fails, up to a line that is to be read again."""
    while reader.has_lines:
        line, offset = reader.line(), reader.position.offset
        found: Record | _Corrupt | None = None
        try:
            found = decode_line(line)
        except json.JSONDecodeError as error:
            if not is_blank(line):
                if not repairs.is_corrupt(line, reader.source, offset, offset, _wait_for_repair):
                    reader.forget()
                    return
                found = _Corrupt(offset, error)
        reader.advance(len(line) + 1)
        if found is not None:
            yield found


def _wait_for_repair() -> bool:
    time.sleep(_REPAIR_SECONDS)
    return True


def _checked_limit(limit: Any) -> int:
    try:
        count = operator.index(limit)
    except TypeError:
        count = -1
    if count < 0 or isinstance(limit, bool):
        raise InvalidRecordError(
            (
                Fault(
                    "limit", show(limit), "pass a whole number (int) of 0 or more, or None for all"
                ),
            ),
            outcome="",
        )
    return count


def _read_backwards(path: str, limit: int, skipped: SkippedLines | None) -> list[Record] | None:
    """Return the last records; `None` when the active file was sealed before all was found."""
    found = _Backwards(limit, are_skipped=skipped is not None)
    with snapshot.open_if_there(path) or contextlib.nullcontext() as active:
        if active is not None:
            found.take(active)
        # A listing may take longer than all the rest, where a directory holds thousands of files.
        if not found.missing:
            return found.finish(skipped)
        base = snapshot.base_of(active, path)
    if base is None:
        return None
    with contextlib.closing(snapshot.open_before(path, base)) as older:
        for source in older:
            found.take(source)
            if not found.missing:
                break
    return found.finish(skipped)


class _Backwards:
    """The last records, gathered file by file from the newest on; `missing` are still to find."""

    def __init__(self, limit: int, *, are_skipped: bool) -> None:
        self.missing = limit
        self._are_skipped = are_skipped
        self._skipped = SkippedLines()
        self._repairs = Repairs()
        self._parts: list[list[Record]] = []

    def take(self, source: Source) -> None:
        """Take a file's last records; raise the first corrupt line among them, or skip it."""
        count = self.missing
        while True:
            start, lines = last_lines(source, count)
            try:
                records = list(map(decode_line, lines))
                break
            except json.JSONDecodeError:
                decoded = _decode_in_place(source, start, lines, self._repairs)
            if decoded is None:
                continue
            items, are_enough = self._last_items(decoded)
            if are_enough or len(lines) < count:
                skipped = SkippedLines()
                records = list(
                    _sound_records(source, items, skipped if self._are_skipped else None)
                )
                self._skipped.add(skipped, is_in_front=True)
                break
            count *= 2
        self._parts.append(records)
        self.missing -= len(records)

    def _last_items(self, items: list[Record | _Corrupt]) -> tuple[list[Record | _Corrupt], bool]:
        """Return the last items that hold as many records as are missing, and whether they do.

        Corrupt lines count unless they are skipped.
        """
        missing = self.missing
        first = len(items)
        while missing and first:
            first -= 1
            missing -= not (self._are_skipped and isinstance(items[first], _Corrupt))
        return items[first:], not missing

    def finish(self, skipped: SkippedLines | None) -> list[Record]:
        """Return the records, oldest first, and count what was skipped among them."""
        if skipped is not None:
            skipped.add(self._skipped, is_in_front=False)
        return [record for part in reversed(self._parts) for record in part]


def _decode_in_place(
    source: Source, start: int, lines: list[bytes], repairs: Repairs
) -> list[Record | _Corrupt] | None:
    """Decode lines of which one fails; `None` where they are to be read again."""
    items: list[Record | _Corrupt] = []
    for offset, line in with_offsets(start, lines):
        try:
            items.append(decode_line(line))
        except json.JSONDecodeError as error:
            if is_blank(line):
                continue
            if not repairs.is_corrupt(line, source, offset, offset, _wait_for_repair):
                return None
            items.append(_Corrupt(offset, error))
    return items


def _sound_records(
    source: Source, items: Iterable[Record | _Corrupt], skipped: SkippedLines | None
) -> Iterator[Record]:
    for item in items:
        if not isinstance(item, _Corrupt):
            yield item
        elif skipped is None:
            raise _placed(source, item) from item.error
        else:
            skipped.count += 1
            skipped.first = skipped.first or _placed(source, item)


def _placed(source: Source, corrupt: _Corrupt) -> CorruptLineError:
    offset, error = corrupt
    return CorruptLineError(
        error.msg, error.doc, error.pos, source.path, line_number(source, offset), offset
    )
