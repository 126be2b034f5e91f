"""Reading through segments: a log that is sealed and compressed reads as a single file."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_appender import AppendLog, CorruptLineError, SkippedLines
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.filename import sealed_path
from metrics_appender.read import lines as line_reader
from metrics_appender.read import tail_reader
from metrics_appender.records.ndjson import encode_line
from metrics_appender.segment.blocks import ENDINGS, codec_of
from metrics_appender.segment.segments import base_of_active, list_segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from metrics_appender.read.skipped import OnError
    from metrics_appender.segment.blocks import Compression

LINES = [encode_line({"n": number, "text": "é" * (number * 7 % 50)}) for number in range(12)]
FORMS: tuple[Compression | None, ...] = (None, *ENDINGS)
BAD = b"no object\n"


def seal(path: str, start: int, lines: list[bytes], compression: Compression | None = None) -> int:
    """Make a sealed segment of these lines, and return where it ends in the stream."""
    data = b"".join(lines)
    with open(
        sealed_path(path, start, start + len(data), ENDINGS[compression] if compression else ""),
        "wb",
    ) as file:
        file.write(codec_of(compression).pack(data) if compression else data)
    return start + len(data)


def lay_out(
    path: str, parts: list[tuple[list[bytes], Compression | None]], active: bytes | None
) -> None:
    """Make a log of these sealed segments and this active file."""
    for name in os.listdir(os.path.dirname(path)):
        os.unlink(os.path.join(os.path.dirname(path), name))
    start = 0
    for lines, compression in parts:
        start = seal(path, start, lines, compression)
    if active is not None:
        with open(path, "wb") as file:
            file.write(active)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a log that each example replaces."""
    return str(tmp_path_factory.mktemp("stream") / "events.ndjson")


@given(
    cuts=st.lists(st.integers(1, len(LINES)), unique=True, max_size=5).map(sorted),
    forms=st.lists(st.sampled_from(FORMS), min_size=5, max_size=5),
    tail=st.sampled_from([None, b"", b'{"torn', b"\0" * 9]),
    block=st.sampled_from([1, 7, 64, 1 << 14]),
    bad=st.sets(st.integers(0, len(LINES) - 1), max_size=3),
)
@settings(
    deadline=None, max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_a_log_in_segments_reads_as_one_file(
    shared: str,
    cuts: list[int],
    forms: list[Compression | None],
    tail: bytes | None,
    block: int,
    bad: set[int],
) -> None:
    """However it is divided and compressed, with any limit, and with corrupt lines."""
    lines = [BAD if number in bad else line for number, line in enumerate(LINES)]
    parts = [
        (lines[start:end], form) for start, end, form in zip([0, *cuts], cuts, forms, strict=False)
    ]
    rest = lines[cuts[-1] if cuts else 0 :]
    lay_out(shared, parts, b"".join(rest) + (tail or b"") if rest or tail is not None else None)
    log = AppendLog(shared)
    expected = [json.loads(line) for line in lines if line != BAD]
    with (
        mock.patch.object(tail_reader, "_BLOCK_BYTES", block),
        mock.patch.object(line_reader, "_BACKWARD_BYTES", block),
    ):
        assert_reads(log, expected, bad)


def assert_reads(log: AppendLog, expected: list[dict[str, Any]], bad: set[int]) -> None:
    """Read all records, and each number of last ones; corrupt lines are skipped and counted."""
    skipped = SkippedLines()
    assert list(log.iter_records(on_error=skipped)) == expected
    assert skipped.count == len(bad)
    for limit in range(1, len(LINES) + 2):
        skipped = SkippedLines()
        found = log.read(limit, on_error=skipped)
        assert found == expected[-limit:]
        oldest = found[0]["n"] if len(found) == limit else -1
        assert skipped.count == sum(number > oldest for number in bad)
        is_corrupt = any(number >= len(LINES) - limit for number in bad)
        if is_corrupt:
            with pytest.raises(CorruptLineError):
                log.read(limit)
        else:
            assert log.read(limit) == expected[-limit:]


def test_a_corrupt_line_in_a_segment_is_named_by_its_file_and_position(path: str) -> None:
    """The file is the segment, and line number and offset are those within it."""
    lay_out(
        path, [(LINES[:3], "gzip"), ([*LINES[3:5], BAD, LINES[5]], "zstd")], b"".join(LINES[6:])
    )
    log = AppendLog(path)
    for limit in (None, 8):
        with pytest.raises(CorruptLineError) as caught:
            log.read(limit)
        assert caught.value.path.endswith(".zst")
        assert (caught.value.line_number, caught.value.byte_offset) == (
            3,
            len(b"".join(LINES[3:5])),
        )


def test_skipping_says_how_many_and_where_the_first_is(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By one warning for each reading, unless nothing was skipped or the caller collects it."""
    lay_out(path, [([LINES[0], BAD], None), (LINES[1:3], None)], BAD + LINES[3])
    log = AppendLog(path)
    ways: list[Callable[[OnError], Any]] = [
        lambda on_error: log.read(on_error=on_error),
        lambda on_error: log.read(10, on_error=on_error),
        lambda on_error: list(log.iter_records(on_error=on_error)),
    ]
    for read in ways:
        caplog.clear()
        assert len(read("skip")) == 4
        (message,) = (
            record.getMessage() for record in caplog.records if record.name == "metrics_appender"
        )
        assert message.startswith("2 corrupt lines skipped, the first: ")
        assert f"{len(LINES[0] + BAD):015d}, line 2 (byte {len(LINES[0])})" in message
        read(SkippedLines())
        assert len(caplog.records) == 1
    caplog.clear()
    assert len(log.read(1, on_error="skip")) == 1
    assert caplog.records == []


def test_an_unknown_on_error_is_refused(path: str) -> None:
    """At the call, not at the first record."""
    for read in (AppendLog(path).read, AppendLog(path).iter_records):
        with pytest.raises(ValueError, match="on_error"):
            read(on_error="ignore")  # type: ignore[arg-type]  # what a caller may mistake


def test_a_line_of_spaces_is_no_record(path: str) -> None:
    """A repair leaves one for a moment; it does not count for a limit."""
    lay_out(path, [([LINES[0], b"   \n"], "gzip")], b"  \n" + LINES[1] + b" \n")
    log = AppendLog(path)
    assert [record["n"] for record in log.read()] == [0, 1]
    assert [record["n"] for record in log.read(1)] == [1]
    assert [record["n"] for record in log.read(2)] == [0, 1]


def test_the_segments_are_not_listed_where_the_active_file_has_enough(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of the last records does not grow with the directory."""
    lay_out(path, [(LINES[:3], None)], b"".join(LINES[3:]))
    monkeypatch.delattr(fs_calls, "list_names")
    assert len(AppendLog(path).read(9)) == 9


def during(call: str, change: Callable[[], None]) -> Any:
    """Make a change right after the first of these system calls."""
    real = getattr(fs_calls, call)
    changes = iter([change])

    def changed(*arguments: Any) -> Any:
        result = real(*arguments)
        next(changes, lambda: None)()
        return result

    return mock.patch.object(fs_calls, call, changed)


def seal_active(path: str) -> None:
    """Seal the active file."""
    start = base_of_active(path)
    os.rename(path, sealed_path(path, start, start + os.path.getsize(path)))


def begin_anew(path: str) -> None:
    """Seal the active file and begin the next one."""
    seal_active(path)
    with open(path, "wb") as file:
        file.write(b'{"n":"later"}\n')


def compress_first(path: str) -> None:
    """Compress the first segment."""
    first = list_segments(path)[0]
    with open(first.path, "rb") as plain, open(first.path + ".gz", "wb") as file:
        file.write(codec_of("gzip").pack(plain.read()))
    os.unlink(first.path)


def all_of_it(path: str) -> None:
    """Seal, compress and seal again."""
    begin_anew(path)
    compress_first(path)
    begin_anew(path)


CHANGES = (seal_active, begin_anew, compress_first, all_of_it)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("call", ["open_read", "list_names", "read_at", "close", "stat_followed"])
@pytest.mark.parametrize("limit", [None, 3, 5, 8, 100])
def test_a_rotation_in_mid_read_makes_no_gap_and_no_repeat(
    path: str, limit: int | None, call: str, change: Callable[[str], None]
) -> None:
    """The records are consecutive, and reach at least to the end of the log at the start."""
    lay_out(path, [(LINES[:2], None), (LINES[2:5], None)], b"".join(LINES[5:8]))
    with during(call, lambda: change(path)):
        found = [record["n"] for record in AppendLog(path).read(limit)]
    stream_of_records = [*range(8), "later", "later"]
    later = found.count("later")
    whole = stream_of_records[: 8 + later]
    assert found == (whole if limit is None else whole[-limit:])


def test_a_reader_continues_in_the_file_that_is_sealed_meanwhile(path: str) -> None:
    """A slow reader reads the files that it started with."""
    lay_out(path, [(LINES[:2], None)], b"".join(LINES[2:5]))
    records: Iterator[dict[str, Any]] = AppendLog(path).iter_records()
    assert next(records)["n"] == 0
    begin_anew(path)
    begin_anew(path)
    compress_first(path)
    assert [record["n"] for record in records] == [1, 2, 3, 4]


def test_a_segment_that_is_deleted_in_mid_read_is_left_out(path: str) -> None:
    """The reader continues with the next segment."""
    lay_out(path, [(LINES[:2], None), (LINES[2:4], None), (LINES[4:6], None)], b"".join(LINES[6:8]))
    records = AppendLog(path).iter_records()
    assert next(records)["n"] == 0
    os.unlink(list_segments(path)[1].path)
    assert [record["n"] for record in records] == [1, 4, 5, 6, 7]


def test_reading_leaves_no_file_open(path: str) -> None:
    """Also if it is not finished, or fails."""
    lay_out(path, [(LINES[:2], "gzip"), ([BAD], None)], b"".join(LINES[2:5]))
    log = AppendLog(path)
    before = len(os.listdir("/proc/self/fd"))
    records = log.iter_records()
    next(records)
    records.close()  # type: ignore[attr-defined]  # a generator
    with pytest.raises(CorruptLineError) as backwards:
        log.read(4)
    with pytest.raises(CorruptLineError) as forwards:
        log.read()
    assert len(log.read(3)) == 3
    assert backwards.value.__traceback__ is not None  # it holds the frames, and what they hold
    assert forwards.value.__traceback__ is not None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_log_of_sealed_segments_alone_is_read(path: str, tmp_path: Path) -> None:
    """Between a rotation and the next append there is no active file."""
    lay_out(path, [(LINES[:2], None), (LINES[2:3], "zstd")], None)
    assert [record["n"] for record in AppendLog(path).read()] == [0, 1, 2]
    assert [record["n"] for record in AppendLog(path).read(2)] == [1, 2]


def test_a_segment_that_one_listing_misses_without_an_active_file_is_in_the_next(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest segment may become an older one and be compressed while the directory is listed.

    The model of rotation found it.
    """
    lay_out(path, [(LINES[:2], None), (LINES[2:3], "zstd")], None)
    names = os.listdir(os.path.dirname(path))
    for limit in (None, 2):
        listings: Iterator[list[str]] = iter([[]])
        monkeypatch.setattr(
            fs_calls, "list_names", lambda directory, listings=listings: next(listings, names)
        )
        assert [record["n"] for record in AppendLog(path).read(limit)] == [0, 1, 2][-(limit or 3) :]


def test_a_log_is_read_through_a_link(path: str) -> None:
    """Segments are looked for beside the link."""
    lay_out(path, [], b"".join(LINES[:3]))
    os.symlink(path, path + ".link")
    log = AppendLog(path + ".link")
    assert [record["n"] for record in log.read()] == [0, 1, 2]
    assert [record["n"] for record in log.read(10)] == [0, 1, 2]


def test_a_directory_that_cannot_be_listed_is_an_error_if_records_may_be_missing(
    path: str, log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last records in the active file can be read; for more, segments might be missing."""
    log.append({"n": 0})
    log.append({"n": 1})

    def refuse(directory: str) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)

    monkeypatch.setattr(fs_calls, "list_names", refuse)
    assert log.read(0) == []
    assert log.read(2) == [{"n": 0}, {"n": 1}]
    missing = AppendLog(f"{path}.missing")
    for read in (
        lambda: log.read(3),
        log.read,
        lambda: list(log.iter_records()),
        log.follow,
        lambda: missing.read(1),
    ):
        with pytest.raises(PermissionError, match=r"chmod \+r") as caught:
            read()
        assert (caught.value.errno, caught.value.filename) == (errno.EACCES, os.path.dirname(path))
