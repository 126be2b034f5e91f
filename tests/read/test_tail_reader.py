"""The reader of one file: whole lines in blocks, and what it notices of changes behind it."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from followers import put

from metrics_appender.read import tail_reader
from metrics_appender.read.position import KEPT_BYTES, Position
from metrics_appender.read.tail_reader import TailReader
from metrics_appender.segment.source import PlainFile

LINES = [b'{"n":%d}\n' % number for number in range(10)]


def read_all(reader: TailReader) -> list[bytes]:
    """Return the lines of every block until there are none."""
    found: list[bytes] = []
    while not reader.read() and reader.has_lines:
        found += reader.lines()
        reader.advance_to_end()
    return found


@pytest.mark.parametrize("is_guarded", [True, False])
@pytest.mark.parametrize("size", [1, 5, 8, 9, 64, 1 << 18])
def test_every_whole_line_comes_once_whatever_the_block(
    path: str, size: int, is_guarded: bool
) -> None:
    """One that is longer than a block too; half a line when its end has come."""
    put(path, b"".join(LINES) + b"x" * 100 + b"\nhalf")
    with PlainFile(path) as source, mock.patch.object(tail_reader, "_BLOCK_BYTES", size):
        reader = TailReader(source, Position(), is_guarded=is_guarded)
        assert read_all(reader) == [line[:-1] for line in LINES] + [b"x" * 100]
        put(path, b" a line\n")
        assert read_all(reader) == [b"half a line"]


def test_lines_are_passed_one_by_one_in_blocks_or_all_together(path: str) -> None:
    """And those that are pending can be read again."""
    put(path, b"".join(LINES))
    with PlainFile(path) as source:
        reader = TailReader(source, Position(len(LINES[0])))
        assert reader.read() is None
        assert reader.line() + b"\n" == LINES[1]
        assert [reader.block(most) for most in (1, 8, 15, 16, 17)] == [
            *[LINES[1]] * 3,
            *[LINES[1] + LINES[2]] * 2,
        ]
        reader.advance(16)
        assert reader.position.offset == 24
        reader.forget()
        assert not reader.has_lines
        assert reader.read() is None
        assert reader.lines() == [line[:-1] for line in LINES[3:]]
        reader.advance_to_end()
        assert reader.position.offset == os.path.getsize(path)


@pytest.mark.parametrize(
    ("now", "standing", "offset"),
    [
        ([*LINES[:2], LINES[7]], "same", 16),
        (LINES[:2], "shorter", 32),
        (LINES[5:6], "replaced", 32),
    ],
)
def test_a_change_of_what_was_passed_is_returned_with_the_cursor_of_before(
    path: str, now: list[bytes], standing: str, offset: int
) -> None:
    """Nothing is pending then."""
    put(path, b"".join(LINES[:4]))
    with PlainFile(path) as source:
        reader = TailReader(source, Position())
        read_all(reader)
        Path(path).write_bytes(b"".join(now))
        change = reader.read()
        assert change is not None
        assert (change.standing, change.passed.offset) == (standing, 32)
        assert (reader.has_lines, reader.position.offset) == (False, offset)


def test_what_is_pending_is_forgotten_where_it_was_taken_back(path: str) -> None:
    """Its last bytes say so."""
    put(path, b"".join(LINES))
    with PlainFile(path) as source:
        reader = TailReader(source, Position())
        reader.read()
        reader.advance(len(LINES[0]))
        assert reader.is_unchanged()
        assert reader.has_lines
        os.truncate(path, os.path.getsize(path) - 1)
        assert not reader.is_unchanged()
        assert not reader.has_lines


@pytest.mark.parametrize("length", [100, 1 << 16, 8 * KEPT_BYTES])
def test_what_is_kept_of_the_passed_bytes_is_bounded(path: str, length: int) -> None:
    """However they came."""
    position = Position()
    line = b"x" * (length - 1) + b"\n"
    for _ in range(3 * KEPT_BYTES // length + 2):
        data = bytes(bytearray(line))
        position.advance(data, 0, length)
        kept = sum(len(run.data) for run in position._runs)
        assert kept <= 4 * KEPT_BYTES
    assert position._passed(KEPT_BYTES).endswith(line[-KEPT_BYTES:])
