"""Repair: what is wrong goes to `.torn`, what is good stays where it is, whatever the damage."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from metrics_appender import AppendLog, check, repair
from metrics_appender.beside import torn_path

GOOD = [b'{"n":%d,"text":"some \\" text"}' % number for number in range(4)]


def read(path: str) -> bytes:
    """Return a file's bytes, none if it is not there."""
    return Path(path).read_bytes() if os.path.exists(path) else b""


def write(path: str, *lines: bytes) -> None:
    """Write a file anew, of lines that get their newlines."""
    Path(path).write_bytes(b"".join(line + b"\n" for line in lines))


def actions(path: str, **options: Any) -> list[str]:
    """Repair, and return what became of each fault."""
    return [change.action for change in repair(path, **options).changes]


BAD = {
    "text": b"oops",
    "an empty line": b"",
    "half a record": b'{"n":1,"te',
    "half a record and a whole one": b'{"n":1,"te{"n":2}',
    "an array": b"[1]",
    "NULs": b"\0" * 5000,
    "NULs and a record": b"\0" * 700 + b'{"n":1}',
    "a mark": b"#",
    "a white space that is no blank": b"\t",
    "half a character": b'{"n":"\xe6\x8a"}',
    "megabytes": b"x" * (3 << 20),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_line_goes_aside_and_no_other_moves(path: str, bad: bytes, place: int) -> None:
    """Write, break, repair, append more, read all: first, in the middle and last."""
    lines = [*GOOD[:place], bad, *GOOD[place:]]
    write(path, *lines)
    before = read(path)
    assert actions(path) == ["put_aside"]
    after = read(path)
    assert read(torn_path(path)) == bad + b"\n"
    assert len(after) == len(before)
    assert all(after.index(line) == before.index(line) for line in GOOD)
    assert [line.strip() for line in after.splitlines()] == GOOD
    assert after.endswith(b"\n")
    assert actions(path) == []
    assert check(path).is_clean
    AppendLog(path).append({"n": "after"})
    assert AppendLog(path).read() == [*map(json.loads, GOOD), {"n": "after"}]
    assert AppendLog(path).read(2) == [json.loads(GOOD[-1]), {"n": "after"}]


def test_bad_lines_in_a_row_become_white_space_of_one_line(path: str) -> None:
    """Of the line behind them, or of the one before where they are the last."""
    write(path, b"one", b"two", GOOD[0], b"", b"three", GOOD[1], b"four", b"five")
    assert actions(path) == ["put_aside"] * 6
    assert read(path) == b" " * 8 + GOOD[0] + b"\n" + b" " * 7 + GOOD[1] + b" " * 10 + b"\n"
    assert read(torn_path(path)) == b"one\ntwo\n\nthree\nfour\nfive\n"


def test_a_file_of_nothing_but_bad_lines_is_empty_then(path: str) -> None:
    """It is cut, for there is nothing that a cut could move."""
    write(path, b"one", b"two")
    assert actions(path) == ["put_aside"] * 2
    assert read(path) == b""
    assert read(torn_path(path)) == b"one\ntwo\n"
    AppendLog(path).append({})
    assert read(path) == b"{}\n"


def test_a_torn_tail_is_cut_off_as_by_an_append(path: str) -> None:
    """Its bytes are in `.torn`; a bad line in front of it goes there too."""
    write(path, GOOD[0], b"bad")
    with open(path, "ab") as file:
        file.write(b'{"torn')
    assert actions(path) == ["put_aside", "cut"]
    assert read(path) == GOOD[0] + b"    \n"
    assert read(torn_path(path)) == b'{"tornbad\n'
    assert actions(path) == []


GLUED = {
    "white space between": (b'{"a":1} {"b":2}', b'{"a":1}\n{"b":2}', b""),
    "a tab between": (b'{"a":1}\t{"b":2}', b'{"a":1}\n{"b":2}', b""),
    "white space in the first": (b'{"a": 1, "b": 2}{"c":3}', b'{"a": 1, "b":2}\n{"c":3}', b""),
    "white space in the second": (b'{"a":1}{"b": 2}', b'{"a":1}\n{"b":2}', b""),
    "white space in texts only": (b'{"a b":"\\" c"}{"d": 1}', b'{"a b":"\\" c"}\n{"d":1}', b""),
    "three, one byte each": (b'{"a": 1}{"b": 2}{"c": 3}', b'{"a":1}\n{"b":2}\n{"c": 3}', b""),
    "no byte to spare": (b'{"a":1}{"b":2}{"c":3}', b'{"a":1}              ', b'{"b":2}\n{"c":3}\n'),
}


@pytest.mark.parametrize(("glued", "split", "moved"), GLUED.values(), ids=GLUED.keys())
def test_glued_objects_get_lines_of_their_own(path: str, glued: bytes, split: bytes, moved: bytes) -> None:
    """In place where a byte is to spare, else at the end of the log; every other line stays where it is."""
    write(path, GOOD[0], glued, GOOD[1])
    assert actions(path) == ["moved" if moved else "split"]
    assert read(path) == GOOD[0] + b"\n" + split + b"\n" + GOOD[1] + b"\n" + moved
    assert read(torn_path(path)) == (b"" if glued.translate(None, b" \t\r") == glued and not moved else read(torn_path(path)))
    assert actions(path) == []
    assert check(path).is_clean
