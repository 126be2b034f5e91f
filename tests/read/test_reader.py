"""A file to whole lines to records.

Forwards and backwards, whole lines only, each line in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import time
import tracemalloc
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_appender import (
    AppendLog,
    CorruptLineError,
    InvalidRecordError,
    MetricsAppender,
    SkippedLines,
    repair,
)
from metrics_appender.fs import calls as fs_calls
from metrics_appender.read import lines as line_reader
from metrics_appender.read import reader, tail_reader
from metrics_appender.records.ndjson import encode_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MEGABYTE = 1 << 20
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=8)


def lines_of(texts: list[str]) -> list[bytes]:
    """Return a line for each text."""
    return [encode_line({"n": index, "text": text}) for index, text in enumerate(texts)]


def blocks_of(size: int) -> Any:
    """Let the reader take blocks of so many bytes, both ways."""
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(tail_reader, "_BLOCK_BYTES", size))
    stack.enter_context(mock.patch.object(line_reader, "_BACKWARD_BYTES", size))
    return stack


def assert_reads(path: str, records: list[dict[str, Any]]) -> None:
    """Assert what is read forwards, backwards, and one by one, with every limit."""
    assert list(reader.iter_records(path)) == records
    assert reader.read_last(path, None) == records
    for limit in range(len(records) + 2):
        assert reader.read_last(path, limit) == records[len(records) - min(limit, len(records)) :]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file's path that is written anew by each example."""
    return str(tmp_path_factory.mktemp("reader") / "any.ndjson")


def write(path: str, data: bytes) -> None:
    """Write a file anew."""
    with open(path, "wb") as file:
        file.write(data)


@given(TEXTS, st.data(), st.integers(1, 64))
@settings(
    deadline=None, max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_every_prefix_of_a_valid_file_reads_as_its_longest_run_of_whole_lines(
    path: str, texts: list[str], data: st.DataObject, block: int
) -> None:
    """Wherever a file ends.

    Whatever the blocks, both directions give the lines that are whole in it.
    """
    lines = lines_of(texts)
    whole = b"".join(lines)
    prefix = whole[: data.draw(st.integers(0, len(whole)), label="length")]
    write(path, prefix)
    with blocks_of(block):
        assert_reads(path, [json.loads(line) for line in lines[: prefix.count(b"\n")]])


def test_every_prefix_with_every_small_block_reads_the_same(path: str) -> None:
    """Each line crosses each boundary of blocks in every way there is."""
    lines = lines_of(["", "é", "技能", "x" * 20, ""])
    whole = b"".join(lines)
    for end in range(len(whole) - 25, len(whole) + 1):
        write(path, whole[:end])
        expected = [json.loads(line) for line in lines[: whole[:end].count(b"\n")]]
        for block in (1, 2, 3, 5, 7, 16, 30, 31, 32, 33, 63, end - 1, end, end + 1):
            with blocks_of(block):
                assert list(reader.iter_records(path)) == expected
                assert reader.read_last(path, 2) == expected[-2:]


@pytest.mark.parametrize("block", [tail_reader._BLOCK_BYTES, line_reader._BACKWARD_BYTES])
@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_a_newline_at_the_boundary_of_a_real_block_ends_a_line(
    path: str, block: int, shift: int
) -> None:
    """The byte before, at and behind a boundary may be the newline, from either end."""
    filler = b'{"text":"%s"}\n'
    first = filler % (b"a" * (block + shift - len(filler) + 2))
    assert len(first) == block + shift
    last = b'{"n":1}\n'
    for data, count in ((first + last, 2), (last + first, 2), (first + last + first, 3)):
        write(path, data)
        assert_reads(path, [json.loads(line) for line in data.splitlines()])
        assert len(reader.read_last(path, count)) == count


def test_a_line_longer_than_every_block_is_read_whole(path: str) -> None:
    """Five megabytes in one line, before, between and behind short ones, and unfinished."""
    long = encode_line({"text": "é" * (5 * MEGABYTE // 2)})
    short = encode_line({"n": 1})
    for lines in ([long, short], [short, long], [short, long, short, long, short]):
        write(path, b"".join(lines) + long[:-1])
        assert_reads(path, [json.loads(line) for line in lines])


@pytest.mark.parametrize(
    "tail",
    [b"{", b'{"n":3}', b"\xc3", b"\0" * 100, b"\0" * 5000, b"garbage", b" ", b'{"text":"\xe6\x8a'],
)
def test_bytes_behind_the_last_newline_are_no_record_and_no_error(path: str, tail: bytes) -> None:
    """Half a line, half a character, or the NUL bytes of a power cut: not a record yet."""
    lines = lines_of(["a", "b", "c"])
    for whole in (lines, []):
        write(path, b"".join(whole) + tail)
        assert_reads(path, [json.loads(line) for line in whole])


def test_a_file_that_is_not_there_or_empty_has_no_records(tmp_path: Path) -> None:
    """No file is `[]` for every way of reading, and reading makes none."""
    metrics = MetricsAppender(tmp_path)
    log = AppendLog(tmp_path / "no such directory" / "any.ndjson")
    for limit in (None, 0, 1, 100):
        assert metrics.read_metrics("none.json", limit) == log.read(limit) == []
    assert list(metrics.iter_metrics("none.json")) == list(log.iter_records()) == []
    assert os.listdir(tmp_path) == []
    (tmp_path / "empty.json").touch()
    assert_reads(str(tmp_path / "empty.json"), [])


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "link to a pipe"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    """As by an append.

    Nobody waits for the writer of a pipe, and nothing is never taken for no records.
    """
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link to a pipe").symlink_to("pipe")
    log = AppendLog("/dev/null" if kind == "device" else tmp_path / kind)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc") else []
    for read in (
        log.read,
        lambda: log.read(1),
        lambda: next(log.iter_records()),
        lambda: log.follow("beginning"),
        log.follow,
        log.rotate,
    ):
        with pytest.raises(
            OSError, match=r"not a regular file|Is a directory|symbolic links"
        ) as caught:
            read()
        assert caught.value.filename == log.path
    assert len(before) == len(os.listdir("/proc/self/fd") if before else [])


def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    """Only an append does not follow one."""
    write(str(tmp_path / "any.ndjson"), b'{"n":1}\n')
    (tmp_path / "link").symlink_to("any.ndjson")
    assert_reads(str(tmp_path / "link"), [{"n": 1}])


@pytest.mark.parametrize(
    "limit", [-1, -(2**70), True, False, 1.0, np.float64(1), "1", b"1", []], ids=repr
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_limit_that_is_no_count_is_a_value_error(
    tmp_path: Path, limit: Any, is_there: bool
) -> None:
    """Negative or not whole: refused, whether the file is there or not."""
    if is_there:
        write(str(tmp_path / "any.json"), b"{}\n")
    for read in (
        AppendLog(tmp_path / "any.json").read,
        lambda limit: MetricsAppender(tmp_path).read_metrics("any.json", limit),
    ):
        with pytest.raises(ValueError, match="limit") as caught:
            read(limit)
        assert isinstance(caught.value, InvalidRecordError)


def test_a_limit_may_be_any_whole_number(path: str) -> None:
    """NumPy's integers count, and one far above the count gives all."""
    write(path, b"".join(lines_of(["a", "b", "c"])))
    assert [record["n"] for record in reader.read_last(path, np.int64(2))] == [1, 2]  # type: ignore[arg-type]  # users pass it
    assert [record["n"] for record in reader.read_last(path, 2**70)] == [0, 1, 2]


@pytest.mark.parametrize(
    "bad", [b"", b"\t", b"[]", b"{", b"\xff\xfe", b"\0\0\0", b'{"a":NaN}', b"null", b"\r"]
)
@pytest.mark.parametrize("position", [0, 1, 4, 9])
def test_a_whole_line_that_is_no_object_is_named_by_its_place(
    path: str, bad: bytes, position: int
) -> None:
    """File, line number and byte offset are in the error, forwards.

    Backwards with whatever limit reaches it.
    """
    lines = lines_of(["é" * 5] * 10)
    lines[position] = bad + b"\n"
    write(path, b"".join(lines) + b"unfinished")
    for limit in (None, 10, 10 - position, 100):
        with pytest.raises(CorruptLineError) as caught:
            reader.read_last(path, limit)
        assert (caught.value.path, caught.value.line_number) == (path, position + 1)
        assert caught.value.byte_offset == len(b"".join(lines[:position]))
        assert f"{path}, line {position + 1} (byte {caught.value.byte_offset})" in str(caught.value)
    assert len(reader.read_last(path, 9 - position)) == 9 - position


@pytest.mark.parametrize("block", [1, 7, 64, line_reader._BACKWARD_BYTES])
def test_a_line_of_nothing_but_spaces_is_no_record(path: str, block: int) -> None:
    """It is passed over both ways, and not counted to the limit.

    Spaces before and behind a record belong to its line.
    """
    blank = [b" \n", b" " * 40 + b"\n"]
    a, b, c = lines_of(["a", "b", "c"])
    records = [json.loads(line) for line in (a, b, c)]
    with blocks_of(block):
        for lines in (
            [a, b, c, *blank],
            [*blank, a, b, c],
            [a, *blank, b, *blank, c],
            [a, b"   " + b, c[:-1] + b"   \n"],
        ):
            write(path, b"".join(lines))
            assert_reads(path, records)
        write(path, b"".join(blank))
        assert_reads(path, [])


def test_a_corrupt_line_before_the_last_records_stays_out_of_sight_beside_blank_ones(
    path: str,
) -> None:
    """More lines are read for blank ones, but none that the limit does not reach."""
    write(path, b'bad\n{"n":1}\n  \n{"n":2}\n \n')
    assert reader.read_last(path, 2) == [{"n": 1}, {"n": 2}]
    with pytest.raises(CorruptLineError, match="line 1 "):
        reader.read_last(path, 3)


def test_a_corrupt_line_is_a_json_decode_error_that_survives_pickling(tmp_path: Path) -> None:
    """`except json.JSONDecodeError` catches it, the line is its document, in any process."""
    write(str(tmp_path / "any.json"), b'{"n":1}\n{"n":]}\n')
    with pytest.raises(json.JSONDecodeError) as caught:
        MetricsAppender(tmp_path).read_metrics("any.json")
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, CorruptLineError)
    assert (again.doc.rstrip(), again.pos, again.line_number, again.byte_offset) == (
        '{"n":]}',
        5,
        2,
        8,
    )
    assert str(again) == str(error)


def test_a_corrupt_line_far_into_a_large_file_is_counted_right(path: str) -> None:
    """The line number is that of the file also where only its end was read."""
    line = encode_line({"text": "x" * 1000})
    write(path, line * 3000 + b"oops\n" + line)
    with pytest.raises(CorruptLineError) as caught:
        reader.read_last(path, 2)
    assert (caught.value.line_number, caught.value.byte_offset) == (3001, 3000 * len(line))


def peak_bytes(read: Callable[[], Iterable[Any]]) -> int:
    """Return the most memory that was in use while what a reader gives was spent."""
    tracemalloc.start()
    try:
        for _ in read():
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_iterating_a_large_file_takes_constant_memory(tmp_path: Path) -> None:
    """Thirty megabytes are read in a few."""
    line = encode_line({"text": "x" * 3000})
    write(str(tmp_path / "large.json"), line * (30 * MEGABYTE // len(line)))
    assert peak_bytes(lambda: MetricsAppender(tmp_path).iter_metrics("large.json")) < 4 * MEGABYTE


def test_the_last_records_of_a_huge_file_cost_what_they_hold(tmp_path: Path) -> None:
    """A hundred records behind a gigabyte are read in less than a megabyte of memory."""
    last = b"".join(lines_of([str(number) for number in range(100)]))
    with open(tmp_path / "huge.json", "wb") as file:
        file.truncate(1 << 30)  # a hole: it takes no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + last)
    metrics = MetricsAppender(tmp_path)
    assert [record["n"] for record in metrics.read_metrics("huge.json", 100)] == list(range(100))
    assert peak_bytes(lambda: metrics.read_metrics("huge.json", 100)) < MEGABYTE


def test_iterating_is_lazy(tmp_path: Path) -> None:
    """Nothing is opened before the first record is asked for.

    A reader may stop in the middle.
    """
    metrics = MetricsAppender(tmp_path, durability="os")
    records = metrics.iter_metrics("s_performance.json")
    for number in range(3):
        metrics.append_performance_metric("s", str(number), 1, "a")
    assert next(records)["execution_id"] == "0"
    assert [record["execution_id"] for record in records] == ["1", "2"]


def test_a_reader_never_changes_the_file(path: str) -> None:
    """A torn tail is the next writer's to mend."""
    write(path, b'{"n":1}\n{"torn')
    before = os.stat(path)
    assert_reads(path, [{"n": 1}])
    after = os.stat(path)
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ino,
    )
    assert os.listdir(os.path.dirname(path)) == ["any.ndjson"]


def read_while(path: str, change: Callable[[], None], limit: int | None) -> list[dict[str, Any]]:
    """Read in small blocks while a writer changes the file behind the reader's first read."""
    real = fs_calls.read_at
    changes = iter([change])

    def read_at(fd: int, length: int, offset: int) -> bytes:
        block = real(fd, length, offset)
        next(changes, lambda: None)()
        return block

    with blocks_of(64), mock.patch.object(fs_calls, "read_at", read_at):
        return reader.read_last(path, limit)


@pytest.mark.parametrize("limit", [None, 1, 3, 10])
def test_a_tail_that_is_recovered_under_the_reader_costs_no_whole_line(
    path: str, limit: int | None
) -> None:
    """A torn tail is cut away, and another line takes its place, between two reads.

    What stood before is read.
    """
    lines = lines_of(["a" * 10, "b" * 30, "c" * 50])
    whole = b"".join(lines)
    for tail in (b"{" * 5, b'{"torn":"' + b"x" * 100, b'{"torn":"' + b"x" * 300):
        write(path, whole + tail)
        found = read_while(path, lambda: write(path, whole + b'{"n":3}\n'), limit)
        expected = [json.loads(line) for line in lines]
        later = [*expected, {"n": 3}]
        count = len(later) if limit is None else limit
        assert found in (expected[-count:], later[-count:])


@pytest.mark.parametrize("limit", [None, 1, 10])
def test_halves_of_two_lines_never_meet(path: str, limit: int | None) -> None:
    """A line is taken back by a failed sync and another one takes its place between two reads.

    One of them is read.
    """
    taken_back = {"first": 1, "text": "x" * 100, "last": 1}
    taking_its_place = {"first": 2, "text": "x" * 100, "last": 2}
    write(path, encode_line(taken_back))
    (found,) = read_while(path, lambda: write(path, encode_line(taking_its_place)), limit)
    assert found in (taken_back, taking_its_place)


@pytest.mark.parametrize("text", ["x" * 8, "y" * 8, "y" * 3, "y" * 70])
@pytest.mark.parametrize("passed", [11, 15, 19])
def test_a_reader_goes_on_with_what_takes_the_place_of_lines_that_it_has_passed(
    path: str, text: str, passed: int
) -> None:
    """A pass whose sync failed is taken back under it.

    The next one is read from its first line, and nothing is read twice.
    """

    def lines(start: int, end: int, text: str) -> bytes:
        return b"".join(encode_line({"n": number, "text": text}) for number in range(start, end))

    write(path, lines(0, 10, "x" * 8) + lines(10, 30, "x" * 8))
    with blocks_of(64):
        records = reader.iter_records(path)
        got = [next(records)["n"] for _ in range(passed)]
        write(path, lines(0, 10, "x" * 8) + lines(110, 140, text))
        got += [record["n"] for record in records]
    old = [number for number in got if number < 100]
    assert old == list(range(len(old)))
    assert got[len(old) :] == list(range(110, 140))


@pytest.mark.parametrize("place", [0, 7, 15])
@pytest.mark.parametrize("moment", range(0, 30, 2))
def test_a_repair_under_the_reader_neither_doubles_nor_hides_a_record(
    path: str, place: int, moment: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it has passed by then.

    Glued objects, which are split, or a line that is quarantined.
    """
    lines = [encode_line({"n": number}) for number in range(30)]
    write(
        path,
        b"".join([*lines[:place], b'{"a": 1}{"b": 2}\n', *lines[place:20], b"oops\n", *lines[20:]]),
    )
    got = []
    with blocks_of(64):
        for record in reader.iter_records(path, SkippedLines()):
            got.append(record.get("n"))
            if got[-1] == moment:
                repair(path)
    assert [number for number in got if number is not None] == list(range(30))
    assert caplog.text == ""


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_file_that_is_cut_under_the_reader_is_read_from_its_beginning_and_logged(
    path: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands in it then is read, however much that is; what may be lost is logged."""
    write(path, b"".join(encode_line({"n": number}) for number in range(30)))
    with blocks_of(64):
        records = reader.iter_records(path)
        got = [next(records)["n"] for _ in range(16)]
        write(path, b"".join(encode_line({"n": number}) for number in range(100, 100 + count)))
        got += [record["n"] for record in records]
    old = [number for number in got if number < 100]
    assert got == [*range(len(old)), *range(100, 100 + count)]
    assert "was cut to nothing in place" in caplog.text


def test_the_records_before_a_corrupt_line_are_given_first(tmp_path: Path) -> None:
    """An iteration gives all that is good up to the bad line."""
    path = tmp_path / "file"
    path.write_bytes(b'{"n":1}\n{"n":2}\nbad\n{"n":4}\n')
    records = reader.iter_records(str(path))
    assert [next(records), next(records)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(CorruptLineError, match="line 3"):
        next(records)


UNDER_REPAIR = {
    "in the middle": (b'{"n":1}\n\x18"n":1}\n{"n":2}\n', b'{"n":1}\n        {"n":2}\n', [1, 2]),
    "the last": (b'{"n":1}\n{"n":2}\n\x18"n":2}\n', b'{"n":1}\n{"n":2}        \n', [1, 2]),
    "to be split": (
        b'{"n":1}\n\x18"n": 2}{"n":3}\n{"n":4}\n',
        b'{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n',
        [1, 2, 3, 4],
    ),
}


@pytest.mark.parametrize("limit", [None, 10])
@pytest.mark.parametrize(
    ("meanwhile", "then", "numbers"), UNDER_REPAIR.values(), ids=UNDER_REPAIR.keys()
)
def test_a_line_that_a_repair_is_overwriting_is_waited_for(
    path: str, meanwhile: bytes, then: bytes, numbers: list[int], limit: int | None
) -> None:
    """It is marked for a moment, whatever it was before.

    A record that stands twice is one that was read until then.
    """
    write(path, meanwhile)
    with mock.patch.object(time, "sleep", side_effect=lambda _: write(path, then)):
        assert reader.read_last(path, limit) == [{"n": number} for number in numbers]


def test_a_repair_that_was_killed_is_not_waited_for_for_ever(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is corrupt then, as any other; and the lines behind it are not waited for again."""
    naps: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(naps))
    monkeypatch.setattr(time, "sleep", naps.append)
    write(path, b'{"n":1}\n' + b'\x18"n":2}\n' * 100 + b'{"n":3}\n')
    skipped = SkippedLines()
    assert reader.read_last(path, None, skipped) == [{"n": 1}, {"n": 3}]
    assert skipped.count == 100
    assert 1 < sum(naps) < 3
    with pytest.raises(CorruptLineError, match="line 2"):
        reader.read_last(path, None)


def test_a_line_that_is_gone_when_it_is_read_again_is_none(path: str) -> None:
    """A repair cuts a file in which nothing is good."""
    write(path, b"oops\n")
    assert read_while(path, lambda: write(path, b""), None) == []


def test_a_line_that_is_blanked_under_the_reader_is_passed_over(path: str) -> None:
    """A repair turns it to spaces, and its newline too: the record behind it is read once."""
    before, bad, after = b'{"n":1}\n', b"oops\n", b'{"n":2}\n'
    write(path, before + bad + after)
    assert read_while(path, lambda: write(path, before + b"     " + after), None) == [
        {"n": 1},
        {"n": 2},
    ]
