"""The sealed segments of a log.

Which there are, where the active file begins, and reading any of them.

A log is one stream of bytes from its very beginning, cut into sealed segments and the active file.
A sealed segment is named by the stretch of the stream that it holds (as Kafka names one by its base
offset): `events.ndjson.000000000000000-000000001048576`, with `.gz` or `.zst` behind it once it is
compressed. So the active file begins where the last of the names ends. The newest segment keeps its
name for as long as it is the newest: only older ones are compressed and deleted, the oldest first.
A listing therefore always shows the newest.
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
    """A sealed segment.

    Its file, its stretch of the log's stream from `start` to `end`, and how it is compressed.
    """

    path: str
    start: int
    end: int
    compression: Compression | None


def list_segments(path: str, base: int | None = None) -> list[Segment]:
    """Return the sealed segments of the log at `path`, oldest first, one for each stretch.

    Up to `base` in the stream, if that is told.

    Where one is there plain and compressed (its compressor is at work, or was killed), the plain
    one is given. Stretches follow each other without a hole, unless somebody took a file away by
    hand; retention takes the oldest, so that the first may begin behind 0. A directory is not
    listed in one instant, and while a segment is being compressed both of its names can escape a
    listing. So where any is missing, the listing is done again, and both count.
    """
    segments = _listed(path)
    if not _is_whole(segments, base):
        stretches = {segment[1:3]: segment for segment in (*segments, *_listed(path))}
        segments = sorted(stretches.values(), key=lambda segment: segment[1:3])
    return segments if base is None else [segment for segment in segments if segment.end <= base]


def base_of_active(path: str) -> int:
    """Return where in the stream the active file begins.

    Where the newest sealed segment ends, 0 without one.

    True of the file that has the name `path` before and after the call; while a rotation is under
    way, of either.
    """
    segments = _listed(path)
    return segments[-1].end if segments else 0


def open_segment(segment: Segment) -> PlainFile | CompressedFile:
    """Open a sealed segment for reading, under the name that it has now.

    It may have been compressed since it was listed.

    Raises `FileNotFoundError` when retention has deleted it, `ImportError` when it is compressed by
    what is not installed.
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
    """Return the names in a log's directory, none where that is not there.

    Where it may be entered but not listed, the log may have segments that nobody can see. To do
    without them would be to leave out records and say nothing, so that is an error; who asks for no
    more than the active file holds does not come here.
    """
    directory = os.path.dirname(path)
    try:
        return calls.list_names(directory)
    except FileNotFoundError:
        return []
    except PermissionError as error:
        reason = f"{error.strerror}: which files a log has is told by its directory alone; allow that to be listed (chmod +r)"
        raise PermissionError(error.errno, reason, directory) from None


def _listed(path: str) -> list[Segment]:
    directory = os.path.dirname(path)
    segments: list[Segment] = []
    for name, (start, end, ending) in filename.sealed_names(path, names_beside(path)):
        is_new = not segments or segments[-1][1:3] != (
            start,
            end,
        )  # sorted: the plain one comes first
        if is_new and ending in _COMPRESSIONS:
            segments.append(
                Segment(os.path.join(directory, name), start, end, _COMPRESSIONS[ending])
            )
    return segments


def _is_whole(segments: list[Segment], base: int | None) -> bool:
    end = 0
    for segment in segments:
        if segment.start != end:
            return False
        end = segment.end
    return base is None or end >= base
