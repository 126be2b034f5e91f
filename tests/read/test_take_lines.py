"""Following by lines as bytes: what follow would give, undecoded, without waiting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from followers import WAYS, put, take
from hypothesis import given
from hypothesis import strategies as st

from metrics_appender import (
    AppendLog,
    CorruptLineError,
    CursorGoneError,
    InvalidRecordError,
    Rotation,
    SkippedLines,
)
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.watch import FileWatcher
from metrics_appender.read.follower import Follower
from metrics_appender.read.raw_lines import are_objects
from metrics_appender.records.ndjson import decode_line, encode_line

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 1 << 18


@pytest.fixture(autouse=True)
def _never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of these tests may sleep."""

    def sleep(*_: object) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(FileWatcher, "sleep", sleep)


def lines_of(*numbers: int) -> bytes:
    """Return the lines of these numbers."""
    return b"".join(b'{"n":%d}\n' % number for number in numbers)


def drain(follower: Follower, most_bytes: int = MOST) -> list[bytes]:
    """Return the lines of every call until there is nothing new."""
    found: list[bytes] = []
    while True:
        lines, count, cursor = follower.take_lines(most_bytes)
        assert (lines.count(b"\n"), cursor) == (count, follower.cursor)
        if not count:
            return found
        found.append(lines)


def test_what_is_new_comes_once_and_then_nothing(path: str, log: AppendLog) -> None:
    """At once, with the cursor behind it; half a line is not there yet."""
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST) == (b"", 0, None)
        log.append_many({"n": n} for n in range(3))
        put(path, b'{"n"')
        lines, count, cursor = follower.take_lines(MOST)
        assert (lines, count) == (lines_of(0, 1, 2), 3)
        assert follower.take_lines(MOST) == (b"", 0, cursor)
        put(path, b":3}\n")
        assert follower.take_lines(MOST)[:2] == (lines_of(3), 1)
    assert cursor is not None
    assert rest_of(path, cursor) == lines_of(3)


def rest_of(path: str, cursor: str) -> bytes:
    """Return the lines that a new follower takes from a cursor on."""
    with Follower(path, cursor) as follower:
        return b"".join(drain(follower))


@pytest.mark.parametrize("most", [1, 7, 8, 9, 100, 4096, MOST])
def test_a_call_returns_as_many_lines_as_fit_and_one_at_least(
    path: str, log: AppendLog, most: int
) -> None:
    """Every cursor goes on behind its lines."""
    log.append_many({"n": n, "text": "x" * (n % 50)} for n in range(300))
    log.append({"n": 300, "text": "x" * (1 << 19)})
    log.append({"n": 301})
    data = Path(path).read_bytes()
    with Follower(path, "beginning") as follower:
        found = drain(follower, most)
    assert b"".join(found) == data
    assert all(len(lines) <= most or lines.count(b"\n") == 1 for lines in found)
    longest = max(map(len, data.splitlines(keepends=True)[:300]))
    full = [lines for lines in found if len(lines) < most - longest]
    assert len(full) <= 3  # in front of the long line, behind it, and where a block ends


def test_a_call_may_return_more_than_a_usual_block(path: str, log: AppendLog) -> None:
    """As much as is asked for."""
    log.append_many({"n": n, "text": "x" * 1000} for n in range(2000))
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(1 << 24)[:2] == (Path(path).read_bytes(), 2000)


def test_blank_lines_are_left_out(path: str) -> None:
    """As what a repair leaves; they are not counted."""
    put(path, b"   \n" + lines_of(0) + b"  \n" + b" " * 8 + lines_of(1) + b" \n")
    with Follower(path, "beginning") as follower:
        lines, count, cursor = follower.take_lines(MOST)
        assert (lines, count) == (lines_of(0) + b" " * 8 + lines_of(1), 2)
        assert follower.take_lines(MOST) == (b"", 0, cursor)
        put(path, b"   \n")
        assert follower.take_lines(MOST) == (b"", 0, cursor)
        put(path, lines_of(2))
        assert follower.take_lines(MOST)[0] == lines_of(2)


def test_a_corrupt_line_is_raised_once_behind_those_in_front_of_it(path: str) -> None:
    """With its number; the next call goes on behind it."""
    put(path, lines_of(0, 1) + b"bad\n" + lines_of(2))
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST)[0] == lines_of(0, 1)
        cursor = follower.cursor
        with pytest.raises(CorruptLineError) as caught:
            follower.take_lines(MOST)
        assert (caught.value.line_number, caught.value.byte_offset) == (3, 16)
        assert follower.cursor == cursor
        assert follower.take_lines(MOST)[0] == lines_of(2)


@pytest.mark.parametrize("bad", [1, 3])
def test_corrupt_lines_are_skipped_and_counted(path: str, bad: int) -> None:
    """What is good around them comes in one call."""
    put(path, b"bad\n" * bad + lines_of(0) + b"bad\n" * bad + lines_of(1))
    skipped = SkippedLines()
    with Follower(path, "beginning", on_error=skipped) as follower:
        assert follower.take_lines(MOST)[:2] == (lines_of(0, 1), 2)
        assert follower.take_lines(MOST)[1] == 0
    assert skipped.count == 2 * bad


def test_a_line_under_repair_is_not_waited_for_and_comes_when_that_is_over(path: str) -> None:
    """The lines in front of it come, and nothing behind it, which stands where it stood."""
    put(path, lines_of(0) + b'\x18"n":1}{"n":2}\n' + lines_of(3))
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST)[0] == lines_of(0)
        assert follower.take_lines(MOST)[1] == 0
        Path(path).write_bytes(lines_of(0) + b'{"n":1}{"n":2} \n'[:7] + b"\n" + lines_of(2, 3))
        assert b"".join(drain(follower)) == lines_of(1, 2, 3)


@pytest.mark.parametrize("way", WAYS)
def test_lines_come_through_the_rotation_of_others(path: str, log: AppendLog, way: str) -> None:
    """Renamed, compressed, or copied and cut; each call's cursor goes on."""
    log.append_many({"n": n} for n in range(3))
    with Follower(path, "beginning", notify=False) as follower:
        first = follower.take_lines(1)[2]
        follower._tail.reader.forget()  # as if it had not read ahead
        WAYS[way](path)
        log.append_many({"n": n} for n in range(3, 5))
        assert b"".join(drain(follower)) == lines_of(1, 2, 3, 4)
    assert first is not None
    assert rest_of(path, first) == lines_of(1, 2, 3, 4)


@pytest.mark.parametrize("compress", [None, "gzip", "zstd"])
def test_lines_come_through_segments(path: str, compress: Any) -> None:
    """Sealed and compressed ones, from the beginning and from every cursor."""
    log = AppendLog(path, rotation=Rotation(max_bytes=200, compress=compress))
    for n in range(60):
        log.append({"n": n})
    log.close()
    cursors = []
    with Follower(path, "beginning") as follower:
        found = b""
        while (taken := follower.take_lines(30))[1]:
            found += taken[0]
            cursors.append((len(found), taken[2] or ""))
    assert found == lines_of(*range(60))
    for length, cursor in cursors:
        assert rest_of(path, cursor) == found[length:]


def test_segments_that_were_deleted_before_they_were_read_are_an_error(
    path: str, log: AppendLog
) -> None:
    """As by `next`, at every call."""
    log.append({"n": 0})
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST)[1] == 1
        segments = []
        for n in range(1, 4):
            segments.append(log.rotate() or "")
            log.append({"n": n})
        os.unlink(segments[1])
        for _ in range(2):
            with pytest.raises(CursorGoneError):
                follower.take_lines(MOST)


def test_it_takes_turns_with_next(path: str, log: AppendLog) -> None:
    """No line twice, none missed."""
    log.append_many({"n": n} for n in range(6))
    with Follower(path, "beginning") as follower:
        assert take(follower, 1) == [0]
        assert follower.take_lines(16)[0] == lines_of(1, 2)
        assert take(follower, 1) == [3]
        assert follower.take_lines(MOST)[0] == lines_of(4, 5)


def test_a_line_that_is_taken_back_and_another_in_its_place_are_each_what_was_there(
    path: str,
) -> None:
    """What stands there when it is asked again comes once."""
    put(path, lines_of(0, 1, 2))
    with Follower(path, "beginning", notify=False) as follower:
        assert follower.take_lines(MOST)[0] == lines_of(0, 1, 2)
        os.truncate(path, 8)
        put(path, lines_of(1, 3))
        assert b"".join(drain(follower)) == lines_of(3)


def watch_syncs(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], object]) -> list[int]:
    """Return the inodes of the files that are synced from now on; `act` is done before."""
    synced: list[int] = []
    real = fs_calls.sync_data

    def sync(fd: int) -> None:
        act(len(synced))
        real(fd)
        synced.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(fs_calls, "sync_data", sync)
    return synced


def test_with_sync_the_file_is_synced_before_its_lines_are_returned(
    path: str, log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That which they stand in; not when there is nothing new."""
    synced = watch_syncs(monkeypatch, lambda _: None)
    log.append({"n": 0})
    log.rotate()
    log.append({"n": 1})
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST, sync=True)[0] == lines_of(0)
        assert len(synced) == 1
        assert follower.take_lines(MOST, sync=True)[0] == lines_of(1)
        assert len(synced) == 2
        assert synced[1] == os.stat(path).st_ino
        assert follower.take_lines(MOST, sync=True)[1] == 0
        log.append({"n": 2})
        assert follower.take_lines(MOST)[1] == 1
    assert len(synced) == 2


def test_a_sync_that_fails_passes_no_line(
    path: str, log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call returns them."""
    log.append({"n": 0})

    def fail(count: int) -> None:
        if not count:
            raise OSError(5, "Input/output error")

    with Follower(path, "beginning") as follower:
        before = follower.cursor
        synced = watch_syncs(monkeypatch, fail)
        with pytest.raises(OSError, match="Input/output"):
            follower.take_lines(MOST, sync=True)
        assert follower.cursor == before
        synced.append(0)
        assert follower.take_lines(MOST, sync=True)[0] == lines_of(0)


def test_lines_that_are_taken_back_before_the_sync_are_not_returned(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer's own sync failed between the read and ours: what stands there by then is synced."""
    put(path, lines_of(0, 1, 2))

    def take_back(count: int) -> None:
        if not count:
            Path(path).write_bytes(lines_of(0, 3))

    watch_syncs(monkeypatch, take_back)
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST, sync=True)[:2] == (lines_of(0, 3), 2)


def test_a_closed_follower_has_nothing_new(path: str, log: AppendLog) -> None:
    """And opens nothing."""
    log.append({"n": 0})
    follower = Follower(path, "beginning")
    follower.close()
    assert follower.take_lines(MOST)[:2] == (b"", 0)
    assert not [
        name
        for name in os.listdir("/proc/self/fd")
        if os.path.realpath(f"/proc/self/fd/{name}") == path
    ]


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1", None])
def test_a_wrong_number_of_bytes_is_named(path: str, value: Any) -> None:
    """Before anything is read."""
    with Follower(path) as follower, pytest.raises(InvalidRecordError, match="most_bytes"):
        follower.take_lines(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LINE = st.one_of(
    st.dictionaries(st.text(), JSON, max_size=4).map(
        lambda record: encode_line({"n": 1}) if not record else _encoded(record)
    ),
    st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"") + b"\n"),
    st.sampled_from(
        [
            b'{"a":1}{"b":2}\n',
            b'{"a":1} {"b":2}\n',
            b'{"a":"\xff"}\n',
            b'{"\xff":1}\n',
            b'{"a":{"b":"\xed\xa0\x80"}}\n',
            b'{"a":"\\ud800"}\n',
            b'{"a":1e400}\n',
            b'{"a":NaN}\n',
            b'{"a":01}\n',
            b'{"a":' + b"9" * 5000 + b"}\n",
            b"[1]\n",
            b'{"a":1}\r\n',
            b'{"a":1}\0\n',
            b'{"a":"\t"}\n',
            b"{\n",
            b'"a":1}\n',
            b"\n",
            b"  \n",
        ]
    ),
)


def _encoded(record: dict[str, Any]) -> bytes:
    try:
        return encode_line(record)
    except InvalidRecordError:
        return b"{}\n"


def is_object(line: bytes) -> bool:
    """Return whether `follow` would give the line."""
    try:
        decode_line(line)
    except ValueError:
        return False
    return True


@given(st.lists(LINE, min_size=1, max_size=6))
def test_what_the_quick_look_takes_for_objects_are_objects(lines: list[bytes]) -> None:
    """Whatever stands in the lines."""
    block = b"".join(lines)
    if are_objects(block):
        assert all(is_object(line) for line in block.split(b"\n")[:-1])


@pytest.mark.parametrize("count", [1, 3])
def test_the_quick_look_takes_plain_lines(count: int) -> None:
    """All that the library writes usually."""
    text = 'Zoë \n \\ "'
    line = encode_line({"text": text, "numbers": [1, 2.5, -3, None, True], "in": {"": {}}})
    assert are_objects(line * count)


@given(lines=st.lists(LINE, max_size=8), most=st.sampled_from([1, 10, 50, MOST]))
def test_the_lines_are_those_that_follow_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], most: int
) -> None:
    """Of any file, with corrupt lines skipped, of which as many are counted."""
    path = str(tmp_path_factory.mktemp("lines") / "any.ndjson")
    Path(path).write_bytes(b"".join(lines))
    skipped, skipped_by_next = SkippedLines(), SkippedLines()
    with Follower(path, "beginning", notify=False, on_error=skipped) as follower:
        found = b"".join(drain(follower, most))
    with (
        Follower(path, "beginning", notify=False, on_error=skipped_by_next) as follower,
        mock.patch.object(FileWatcher, "sleep", side_effect=lambda *_: follower.close()),
    ):
        records = [followed.record for followed in follower]
    assert [decode_line(line) for line in found.split(b"\n")[:-1]] == records
    assert skipped.count == skipped_by_next.count


def test_a_line_that_is_nested_deeply_is_taken_as_follow_takes_it(path: str) -> None:
    """The quick look gives up on it."""
    line = b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}\n"
    put(path, lines_of(0) + line + lines_of(1))
    with Follower(path, "beginning") as follower:
        assert follower.take_lines(MOST)[:2] == (lines_of(0) + line + lines_of(1), 3)
