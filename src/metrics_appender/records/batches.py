"""Many records as lines: encoded together, cut into batches, with errors that name the record."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from ..errors import InvalidRecordError
from .ndjson import encode_line, is_plain_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_T = TypeVar("_T")
_U = TypeVar("_U")

_encode_into: Final = msgspec.json.Encoder().encode_into
_encode_lines: Final = msgspec.json.Encoder().encode_lines
# How many records one call of the encoder gets at most: enough to make the call's own cost small.
_RECORDS_AT_ONCE: Final = 256


class Block(NamedTuple):
    """The joined lines of some records, and the number of the records."""

    lines: bytes
    records: int

    def count_bytes(self) -> int:
        """Return the lines' length in bytes."""
        return len(self.lines)


def encode_blocks(records: Iterable[Mapping[str, Any]], most_bytes: int) -> Iterator[Block]:
    """Yield the lines of many records in blocks of `most_bytes` bytes, or a little more.

    Each record is encoded before the next is asked for, since a generator may fill one dict anew
    for every record. An error names the record by its index.
    """
    if type(records) is list or type(records) is tuple:  # all items exist already
        return _encode_together(records, most_bytes)
    return _encode_one_by_one(records, most_bytes)


def encode_each(records: Iterable[_T], encode: Callable[[_T], _U], start: int = 0) -> Iterator[_U]:
    """Yield each record encoded; an error names the record by its index, counted from `start`."""
    for number, record in enumerate(records, start):
        try:
            encoded = encode(record)
        except InvalidRecordError as error:
            faults = tuple(
                fault._replace(field=f"records[{number}]: {fault.field}") for fault in error.faults
            )
            raise InvalidRecordError(faults) from None
        yield encoded


def batched(
    items: Iterable[_T], most_bytes: int, size_of: Callable[[_T], int]
) -> Iterator[list[_T]]:
    """Yield consecutive items in lists of up to `most_bytes` bytes, or of one larger item."""
    batch: list[_T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and total + size > most_bytes:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def _encode_together(records: Iterable[Mapping[str, Any]], most_bytes: int) -> Iterator[Block]:
    source = iter(records)
    encoded: list[bytes] = []
    start = count = size = 0
    at_once = 1
    while some := list(itertools.islice(source, at_once)):
        lines = _encode_some(some, start + count)
        encoded.append(lines)
        count += len(some)
        size += len(lines)
        at_once = min(_RECORDS_AT_ONCE, most_bytes * len(some) // len(lines) or 1)
        if size >= most_bytes:
            yield Block(b"".join(encoded), count)
            encoded, start, count, size = [], start + count, 0, 0
    if encoded:
        yield Block(b"".join(encoded), count)


def _encode_some(records: list[Any], start: int) -> bytes:
    try:
        if all(type(record) is dict and is_plain_object(record) for record in records):
            return _encode_lines(records)
    except (ValueError, RecursionError):
        pass  # found and named below
    return b"".join(encode_each(records, encode_line, start))


def _encode_one_by_one(records: Iterable[Mapping[str, Any]], most_bytes: int) -> Iterator[Block]:
    lines = bytearray()
    start = 0
    for number, record in enumerate(records):
        if not _add_plain_line(record, lines):
            lines += b"".join(encode_each((record,), encode_line, number))
        if len(lines) >= most_bytes:
            yield Block(bytes(lines), number + 1 - start)
            lines, start = bytearray(), number + 1
    if lines:
        yield Block(bytes(lines), number + 1 - start)


def _add_plain_line(record: Any, lines: bytearray) -> bool:
    """Add the line of a plain dict and return true; leave `lines` as it was for another record."""
    size = len(lines)
    try:
        if type(record) is dict and is_plain_object(record):
            _encode_into(record, lines, size)
            lines += b"\n"
            return True
    except (ValueError, RecursionError):
        del lines[size:]
    return False
