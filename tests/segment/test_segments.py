"""Sealed segments: they are found among other files, give the base of the active file, and read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from metrics_appender import CorruptSegmentError
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.filename import UNFINISHED, sealed_path, torn_path
from metrics_appender.segment import source as source_module
from metrics_appender.segment.blocks import ENDINGS, codec_of
from metrics_appender.segment.segments import Segment, base_of_active, list_segments, open_segment

if TYPE_CHECKING:
    from metrics_appender.segment.blocks import Compression

CONTENT = b'{"n":1}\n{"n":2}\n'


def put(
    path: str,
    start: int,
    end: int,
    compression: Compression | None = None,
    content: bytes | None = None,
) -> Segment:
    """Make a segment, of NULs by default."""
    ending = ENDINGS[compression] if compression else ""
    data = bytes(end - start) if content is None else content
    segment = Segment(sealed_path(path, start, end, ending), start, end, compression)
    with open(segment.path, "wb") as file:
        file.write(codec_of(compression).pack(data) if compression else data)
    return segment


def test_a_log_without_segments_begins_at_0(path: str) -> None:
    """Whether the file or its directory is missing."""
    for where in (path, os.path.join(path, "none", "events.ndjson")):
        assert list_segments(where) == []
        assert base_of_active(where) == 0


def test_segments_are_listed_oldest_first_and_once(path: str) -> None:
    """Of plain and compressed, the plain one counts; unfinished and other files do not."""
    segments = [
        put(path, 0, 5, "gzip"),
        put(path, 5, 9),
        put(path, 9, 30, "zstd"),
        put(path, 30, 31),
    ]
    put(path, 5, 9, "gzip")
    for name in (
        path,
        torn_path(path),
        path + ".1",
        sealed_path(path, 31, 40, ENDINGS["gzip"] + UNFINISHED),
        segments[0].path + ".bak",
    ):
        with open(name, "wb"):
            pass
    put(path + "x", 31, 50)
    assert list_segments(path) == segments
    assert base_of_active(path) == 31


def test_deleted_oldest_segments_are_no_gap(path: str) -> None:
    """The first that is left may begin anywhere."""
    segments = [put(path, 100, 110), put(path, 110, 111)]
    assert list_segments(path) == segments
    assert base_of_active(path) == 111


@pytest.mark.parametrize("missed", [0, 1, 2])
def test_a_segment_that_is_compressed_while_the_directory_is_listed_is_not_missed(
    path: str, missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One listing of a large directory may miss both of its names; it is repeated for a gap."""
    segments = [
        put(path, 0, 5, "gzip"),
        put(path, 5, 9, "gzip"),
        put(path, 9, 12, "gzip"),
        put(path, 12, 20),
    ]
    base = 12 if missed == 2 else None  # it was the newest when the listing began
    if base:
        os.unlink(segments.pop().path)
    listings = [sorted(os.listdir(os.path.dirname(path)))] * 2
    listings[0] = [name for name in listings[0] if name != os.path.basename(segments[missed].path)]
    monkeypatch.setattr(fs_calls, "list_names", lambda directory: listings.pop(0))
    assert list_segments(path, base) == segments


@pytest.mark.parametrize("compression", [None, *ENDINGS])
def test_a_segment_reads_the_same_compressed_or_not(
    path: str, compression: Compression | None
) -> None:
    """Its size is the length of its range, and offsets are those before the compression."""
    segment = put(path, 100, 100 + len(CONTENT), compression, CONTENT)
    with open_segment(segment) as source:
        assert source.path == segment.path
        assert source.size == len(CONTENT)
        assert source.read_at(1000, 0) == CONTENT
        assert source.read_at(4, 8) == CONTENT[8:12]
        assert source.read_at(1, len(CONTENT)) == b""
    source.close()


@pytest.mark.parametrize("compression", ENDINGS)
def test_a_segment_that_was_compressed_since_it_was_listed_is_found(
    path: str, compression: Compression
) -> None:
    """It is opened under its new name."""
    listed = put(path, 0, len(CONTENT), None, CONTENT)
    put(path, 0, len(CONTENT), compression, CONTENT)
    os.unlink(listed.path)
    with open_segment(listed) as source:
        assert source.path == listed.path + ENDINGS[compression]
        assert source.read_at(1000, 0) == CONTENT


def test_a_segment_that_was_deleted_since_it_was_listed_is_not_found(path: str) -> None:
    """The error names the file that was listed."""
    for compression in (None, *ENDINGS):
        segment = put(path, 0, 5, compression)
        os.unlink(segment.path)
        with pytest.raises(FileNotFoundError, match="000000000000005") as caught:
            open_segment(segment)
        assert caught.value.filename == segment.path


@pytest.mark.parametrize("most", [1, 3, 4, 8, 16, 17])
def test_a_file_is_read_to_its_end_though_one_read_returns_less(
    path: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pread(2) does beyond 2 GiB."""
    segment = put(path, 0, len(CONTENT), None, CONTENT)
    monkeypatch.setattr(source_module, "_MOST_BYTES", most)
    monkeypatch.setattr(
        fs_calls, "read_at", lambda fd, length, offset: os.pread(fd, min(length, most), offset)
    )
    with open_segment(segment) as source:
        for length in range(20):
            assert source.read_at(length, 2) == CONTENT[2 : 2 + length]
            assert source.read_at(length, 0) == CONTENT[:length]


def test_a_damaged_segment_is_named(path: str) -> None:
    """The error says which file, and what to do."""
    segment = put(path, 0, len(CONTENT), "gzip", CONTENT)
    os.truncate(segment.path, 30)
    with (
        open_segment(segment) as source,
        pytest.raises(CorruptSegmentError, match="put back a copy") as caught,
    ):
        source.read_at(5, 0)
    assert caught.value.filename == segment.path
