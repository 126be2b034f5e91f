"""What a reader makes of a change behind it.

A repair, lines that were taken back, or another content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from metrics_appender import repair
from metrics_appender.fs import calls as fs_calls
from metrics_appender.read.position import Position
from metrics_appender.segment.source import PlainFile

BAD = {
    "glued, with a byte to spare": b'{"a": 1}{"b": 2}\n',
    "glued, with white space between": b'{"a":1} {"b":2}\n',
    "glued, with no byte to spare": b'{"a":1}{"b":2}{"c":3}\n',
    "half an object and a whole one": b'{"a":1,"te{"b": 2}\n',
    "no object": b"oops\n",
}
LINES = [b'{"n":%d}\n' % number for number in range(3)]


def position_behind(data: bytes) -> Position:
    """Return the position of a reader that has passed these lines."""
    position = Position(inode=7, generation=3)
    for line in data.splitlines(keepends=True):
        position.advance(line, 0, len(line))
    return position


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("last", [b"", b"oops\n"], ids=["", "and the last line bad"])
def test_at_no_moment_of_a_repair_is_a_reader_sent_back(
    path: str, bad: bytes, place: int, last: bytes
) -> None:
    """Whatever the repair makes of a bad line that was passed, and wherever that stands.

    No other moves.
    """
    data = b"".join([*LINES[:place], bad, *LINES[place:], last])
    Path(path).write_bytes(data)
    position, overwrite = position_behind(data), fs_calls.overwrite
    standings: set[tuple[str, int]] = set()

    def overwrite_and_look(fd: int, piece: bytes, offset: int) -> None:
        overwrite(fd, piece, offset)
        standings.add((position.reconcile(source.read_at), position.offset))

    with PlainFile(path) as source, mock.patch.object(fs_calls, "overwrite", overwrite_and_look):
        assert repair(path).changes
    assert standings == {("same", len(data))}


@pytest.mark.parametrize(
    ("passed", "now"),
    [
        (b'{"n":1}\n{"n":2,}\n', b'{"n":1}\n{"n":23}\n'),
        (b'{"n":1}\n{"n":23}\n', b'{"n":1}\n{"n": 3}\n'),
        (b'{"n":1}\noops\n', b'{"n":1}\n{}{}\n'),
        (b'{"n":1}\n{"n":2}\n{"n":3}\n', b'{"n":1}\n{"n":4}\n{"n":3}\n'),
    ],
)
def test_what_no_repair_makes_of_a_line_is_another_line(passed: bytes, now: bytes) -> None:
    """A bad line has only its own bytes left, and an object none.

    A reader goes back to read the new one.
    """
    position = position_behind(passed)

    def read_at(length: int, offset: int) -> Any:
        return now[offset : offset + length]

    assert position.reconcile(read_at) == "same"
    assert position.offset == len(b'{"n":1}\n')
