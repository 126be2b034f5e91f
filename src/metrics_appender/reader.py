"""A file to whole lines to records, backwards or forwards; no lock, and no wait for any writer.

Every line comes out of one read: what a dead writer left behind the last newline may be cut away and
written anew between two reads, and halves of the two must not meet.
"""

from __future__ import annotations

import json
import operator
import os
from typing import TYPE_CHECKING, Any, Final

from . import disk
from .errors import CorruptLineError, Fault, InvalidRecordError
from .ndjson import decode_line, show

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

_FORWARD_BYTES: Final = 1 << 18
_BACKWARD_BYTES: Final = 1 << 14
_LIKELY_LINE_BYTES: Final = 512
_LARGEST_STEP_BYTES: Final = 1 << 22


def read_last(path: str, limit: int | None) -> list[dict[str, Any]]:
    """Return the last `limit` records of a file, oldest first, all of them for `None`; `[]` if it is not there.

    The cost grows with the limit, not with the file. Bytes after the last newline are no record yet.
    Raises `InvalidRecordError` (a `ValueError`) for a negative limit, `CorruptLineError` for a whole line that is no object.
    """
    if limit is None:
        return list(iter_records(path))
    limit = _checked_limit(limit)
    if limit == 0:
        return []
    try:
        fd = disk.open_read(path)
    except FileNotFoundError:
        return []
    try:
        start, lines = _last_lines(fd, limit)
        return list(_decode_all(fd, path, start, lines))
    finally:
        disk.close(fd)


def iter_records(path: str) -> Generator[dict[str, Any], None, None]:
    """Yield a file's records from the first on, in constant memory; none if it is not there."""
    try:
        fd = disk.open_read(path)
    except FileNotFoundError:
        return
    try:
        for start, lines in iter_blocks(fd, 0):
            yield from _decode_all(fd, path, start, lines)
    finally:
        disk.close(fd)


def iter_blocks(fd: int, start: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield runs of whole lines, without their newlines, each with the offset of its first; `start` begins a line."""
    step = _FORWARD_BYTES
    while True:
        block = disk.read_at(fd, step, start)
        end = block.rfind(b"\n")
        if end >= 0:
            yield start, block[:end].split(b"\n")
            start += end + 1
            step = _FORWARD_BYTES
        elif len(block) < step:
            return  # the end of the file, or of what is whole in it
        else:
            step *= 2  # a line longer than the block is read again, whole


def _checked_limit(limit: Any) -> int:
    try:
        count = operator.index(limit)
    except TypeError:
        count = -1
    if count < 0 or isinstance(limit, bool):
        raise InvalidRecordError((Fault("limit", show(limit), "pass a whole number (int) of 0 or more, or None for all"),))
    return count


def _last_lines(fd: int, limit: int) -> tuple[int, list[bytes]]:
    """Return the last whole lines, at most `limit`, and the offset of the first of them."""
    end = size = disk.size_of(fd)
    blocks: list[bytes] = []
    newlines = 0
    step = min(max(_BACKWARD_BYTES, limit * _LIKELY_LINE_BYTES), _LARGEST_STEP_BYTES)
    while end > 0 and newlines <= limit:  # one more than the limit: the newline before the first line
        start = max(0, end - step)
        block = disk.read_at(fd, end - start, start)
        if len(block) < end - start:  # the file was cut shorter meanwhile
            size = start + len(block)
            blocks.clear()
            newlines = 0
        blocks.append(block)
        newlines += block.count(b"\n")
        end = start
        step = min(step * 2, _LARGEST_STEP_BYTES)
    blocks.reverse()
    data = b"".join(blocks)
    whole = data.rfind(b"\n")
    if whole < 0:
        return size, []
    start, lines = _keep_last(end, data[:whole].split(b"\n"), limit)
    if len(blocks) > 1:
        # Several reads found where the lines begin; one read gives them, so that halves of two never meet.
        data = disk.read_at(fd, end + whole + 1 - start, start)
        whole = data.rfind(b"\n")
        start, lines = _keep_last(start, data[:whole].split(b"\n") if whole >= 0 else [], limit)
    return start, lines


def _keep_last(start: int, lines: list[bytes], limit: int) -> tuple[int, list[bytes]]:
    skipped = max(0, len(lines) - limit)
    return start + sum(map(len, lines[:skipped])) + skipped, lines[skipped:]


def _decode_all(fd: int, path: str, start: int, lines: list[bytes]) -> Iterable[dict[str, Any]]:
    """Decode lines at once; where one is corrupt, those before it are given first, then its error is raised."""
    try:
        return list(map(decode_line, lines))
    except json.JSONDecodeError:
        return (_decode_with_care(fd, path, offset, line) for offset, line in _with_offsets(start, lines))


def _with_offsets(start: int, lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    for line in lines:
        yield start, line
        start += len(line) + 1


def _decode_with_care(fd: int, path: str, offset: int, line: bytes) -> dict[str, Any]:
    """Decode a line; one that fails is read once more, for a writer may have taken its line back under the reader."""
    try:
        return decode_line(line)
    except json.JSONDecodeError:
        pass
    again = disk.read_at(fd, len(line) + 1, offset)
    if not again.endswith(b"\n"):
        again = next((lines[0] for _, lines in iter_blocks(fd, offset)), b"")
    try:
        return decode_line(again)
    except json.JSONDecodeError as error:
        number = 1 + sum(piece.count(b"\n") for piece in disk.pieces(fd, 0, offset))
        raise CorruptLineError(error.msg, error.doc, error.pos, os.fspath(path), number, offset) from error
