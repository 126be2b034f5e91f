"""A cursor as a text, and what it says of a file."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_appender import CursorGoneError, InvalidRecordError
from metrics_appender.read.cursor import Cursor
from metrics_appender.read.position import Position

LINES = [b'{"n":%d}\n' % number for number in range(2000)]
DATA = b"".join(LINES)
HEX = st.integers(0, 2**32 - 1)


def reader(data: bytes) -> Any:
    """Read from bytes as from a file."""
    return lambda length, offset: data[offset : offset + length]


def cursor_at(data: bytes, offset: int) -> Cursor:
    """Return the cursor that a reader has there."""
    return Position(offset, inode=7, generation=3).look_back(reader(data)).cursor()


@given(
    st.integers(0, 10**18),
    st.integers(0, 10**18),
    st.integers(0, 2**64 - 1),
    HEX,
    HEX,
    st.integers(0, 2**64 - 1),
)
def test_a_cursor_is_read_back_from_its_text(
    start: int, offset: int, inode: int, generation: int, line: int, content: int
) -> None:
    """Whatever its parts."""
    cursor = Cursor(start, offset, inode, generation, f"{line:08x}", f"{content:016x}")
    assert Cursor.parse(str(cursor), "start") == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "end",
        "1.1.1.1.1.0123abcd.0123456789abcdeg",
        "1.-1.1.1.1.0123abcd.0123456789abcdef",
        5,
        None,
        b"1",
    ],
)
def test_what_is_no_cursor_is_refused_with_the_name_of_the_field(text: Any) -> None:
    """A text of another library, of another version, or none."""
    with pytest.raises(InvalidRecordError, match="that"):
        Cursor.parse(text, "that")


@pytest.mark.parametrize("count", [1, 2, 50, 400, 2000])
def test_a_reader_that_came_and_one_that_starts_there_have_the_same_cursor(count: int) -> None:
    """However far it has come."""
    position = Position(inode=7, generation=3)
    for line in LINES[:count]:
        position.advance(line, 0, len(line))
    assert position.cursor() == cursor_at(DATA, position.offset)
    assert position.cursor().matches(reader(DATA), is_certain=False)


def test_a_reader_whose_lines_were_taken_back_has_the_cursor_of_what_is_there() -> None:
    """Of the beginning of the file too."""
    position = Position(inode=7, generation=3)
    for line in LINES[:3]:
        position.advance(line, 0, len(line))
    now = LINES[0] + LINES[9] + LINES[8]
    assert position.reconcile(reader(now)) == "same"
    assert position.offset == len(LINES[0])
    assert position.cursor() == cursor_at(now, position.offset)
    assert position.reconcile(reader(b"")) == "replaced"


def test_a_change_of_what_stands_in_front_is_noticed() -> None:
    """In the first 4096 bytes and the last 1024; one that ends before the cursor never fits."""
    cursor = cursor_at(DATA, len(DATA))
    assert not cursor.matches(reader(DATA[:-1]), is_certain=True)
    for place in (0, 4095, len(DATA) - 1024, len(DATA) - 3):
        changed = DATA[:place] + b"?" + DATA[place + 1 :]
        assert not cursor.matches(reader(changed), is_certain=False)


def test_where_the_file_is_certain_a_blanked_line_is_no_reason_to_refuse() -> None:
    """The record in front is enough; without it nothing is."""
    offset = len(b"".join(LINES[:10]))
    cursor = cursor_at(DATA, offset)
    blanked = DATA.replace(LINES[8], b" " * len(LINES[8]))
    assert cursor.matches(reader(blanked), is_certain=True)
    assert not cursor.matches(reader(blanked), is_certain=False)
    assert not cursor.matches(reader(DATA.replace(LINES[9], b'{"m":9}\n')), is_certain=True)


@pytest.mark.parametrize("newline", [b" ", b"\n"])
def test_where_the_file_is_certain_the_spaces_of_the_record_itself_are_enough(
    newline: bytes,
) -> None:
    """A repair may have put it aside; its newline is a space too, where a line follows."""
    begin, offset = len(b"".join(LINES[:9])), len(b"".join(LINES[:10]))
    cursor = cursor_at(DATA, offset)
    blanked = DATA[:begin] + b" " * (offset - begin - 1) + newline + DATA[offset:]
    assert cursor.matches(reader(blanked), is_certain=True)
    assert not cursor.matches(reader(blanked), is_certain=False)


@pytest.mark.parametrize(
    ("now", "is_enough"),
    [
        (b'    {"n":0}\n{"n":1}\n', True),
        (b'{"n":0}    \n{"n":1}\n', True),
        (b'{"n":0}\n    {"n":1}\n', True),
        (b'{"n":0}\n{"n":1}    \n', True),
        (b'{"n":0}\noop\n{"n":1} ', True),
        (b'{"n":0,"a":0}\n{"n":1}\n', False),
        (b'    {"n":0}\n{"n":2}\n', False),
        (b'    {"n":0}\n{"n":1}{"n":2}\n', False),
    ],
)
def test_where_the_file_is_likely_the_record_is_enough_beside_the_spaces_of_a_repair(
    now: bytes, is_enough: bool
) -> None:
    """Other bytes without any are another file's."""
    cursor = cursor_at(b'{"n":0}\noop\n{"n":1}\n', 20)
    assert cursor.matches(reader(now), is_certain=False, is_likely=True) == is_enough
    assert not cursor.matches(reader(now), is_certain=False)


def test_the_error_of_a_gone_cursor_survives_pickling() -> None:
    """With its facts and its words."""
    error = CursorGoneError("/var/log/events.ndjson", "1.0.0", "gone")
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.cursor, again.reason, str(again)) == (
        error.path,
        error.cursor,
        error.reason,
        str(error),
    )
    assert isinstance(again, LookupError)
