"""Listing and opening the sealed segments of a log, and finding the base of its active file.

A log is one stream of bytes, divided into sealed segments and the active file. A sealed segment is
named by its range of the stream, as Kafka names one by its base offset:
`events.ndjson.000000000000000-000000001048576`, with `.gz` or `.zst` added once it is compressed.
The active file begins where the newest segment ends. The newest segment is never compressed or
deleted, only older ones are, oldest first; so a listing always shows the newest.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from ..fs import calls, filename
from .blocks import ENDINGS, Compression
from .source import CompressedFile, PlainFile

_COMPRESSIONS: Final[dict[str, Compression | None]] = {
    "": None,
    **{ending: name for name, ending in ENDINGS.items()},
}


class Segment(NamedTuple):
    """A sealed segment: its file, its range of the log's stream, and its compression."""

    path: str
    start: int
    end: int
    compression: Compression | None


def list_segments(path: str, base: int | None = None) -> list[Segment]:
    """Return the sealed segments of a log, oldest first, one for each range.

    Of a segment that is there plain and compressed (while it is being compressed, or after the
    cleaning was killed), the plain one is returned. The ranges are adjacent unless a file was
    removed by hand. Retention deletes the oldest, so the first may begin after 0.

    A directory is not listed atomically, and a listing can miss both names of a segment that is
    being compressed. So if a range is missing, the directory is listed again, and the results are
    merged.

    Args:
        path: The log.
        base: Only segments that end at or before this position, if given.
    """
    segments = _listed(path)
    if not _is_gapless(segments, base):
        ranges = {segment[1:3]: segment for segment in (*segments, *_listed(path))}
        segments = sorted(ranges.values(), key=lambda segment: segment[1:3])
    return segments if base is None else [segment for segment in segments if segment.end <= base]


def base_of_active(path: str) -> int:
    """Return the position where the active file begins: the end of the newest segment, or 0.

    This is exact for a file that has the name `path` before and after the call; during a rotation,
    it may be the base of the old file or of the new one.
    """
    segments = _listed(path)
    return segments[-1].end if segments else 0


def open_segment(segment: Segment) -> PlainFile | CompressedFile:
    """Open a sealed segment for reading, also if it was compressed since it was listed.

    Raises `FileNotFoundError` if retention has deleted it, and `ImportError` if the library of its
    compression is not installed.
    """
    plain = (
        segment.path.removesuffix(ENDINGS[segment.compression])
        if segment.compression
        else segment.path
    )
    try:
        return _opened(segment)
    except FileNotFoundError:
        pass
    for ending, compression in _COMPRESSIONS.items():
        try:
            return _opened(segment._replace(path=plain + ending, compression=compression))
        except FileNotFoundError:
            continue
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), segment.path)


def _opened(segment: Segment) -> PlainFile | CompressedFile:
    if segment.compression:
        return CompressedFile(segment.path, segment.end - segment.start, segment.compression)
    return PlainFile(segment.path)


def names_beside(path: str) -> list[str]:
    """Return the names in the directory of a log, none if the directory is missing.

    A directory that may be entered but not listed is an error: the log may have segments that this
    process cannot see, and to read without them would silently omit records.
    """
    directory = os.path.dirname(path)
    try:
        return calls.list_names(directory)
    except FileNotFoundError:
        return []
    except PermissionError as error:
        reason = (
            f"{error.strerror}: which files a log has is told by its directory alone; "
            "allow that to be listed (chmod +r)"
        )
        raise PermissionError(error.errno, reason, directory) from None


def _listed(path: str) -> list[Segment]:
    directory = os.path.dirname(path)
    segments: list[Segment] = []
    for name, (start, end, ending) in filename.sealed_names(path, names_beside(path)):
        # The names are sorted, so the plain file comes before its compressed copy.
        is_new = not segments or segments[-1][1:3] != (start, end)
        if is_new and ending in _COMPRESSIONS:
            segments.append(
                Segment(os.path.join(directory, name), start, end, _COMPRESSIONS[ending])
            )
    return segments


def _is_gapless(segments: list[Segment], base: int | None) -> bool:
    end = 0
    for segment in segments:
        if segment.start != end:
            return False
        end = segment.end
    return base is None or end >= base
