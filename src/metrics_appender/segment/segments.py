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

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from ..errors import CorruptSegmentError
from ..fs import calls, filename
from .blocks import ENDINGS, Blocks, Compression, DamagedError, codec_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

# What is read at once by any system (pread(2): Linux transfers 2 GiB less a page at the most, macOS
# refuses to).
_MOST_BYTES: Final = 1 << 30
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


class Source(Protocol):
    """A file of whole lines that is open for reading, compressed or not.

    A context manager that closes it.

    `path` is the file's name when it was opened. Offsets count unpacked bytes from the file's
    beginning.
    """

    path: str

    @property
    def size(self) -> int:
        """The size in bytes, now."""

    def read_at(self, length: int, offset: int) -> bytes:
        """Return so many bytes from there on; fewer only where the file ends."""

    def close(self) -> None:
        """Close the file; closing again does nothing."""

    def __enter__(self) -> Self:
        """Return the source itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""


class Closable(Protocol):
    """What is open."""

    def close(self) -> None:
        """Close it."""


_Open = TypeVar("_Open", bound=Closable | None)


@contextlib.contextmanager
def closed_on_error(file: _Open) -> Iterator[_Open]:
    """Close what was opened, if anything was.

    Where the block fails that is between its opening and whoever closes it.
    """
    try:
        yield file
    except BaseException:
        if file is not None:
            file.close()
        raise


class PlainFile:
    """A file that is not compressed: the active one, or a sealed segment."""

    def __init__(self, path: str) -> None:
        """Open it; `FileNotFoundError` if it is not there."""
        self.path = path
        self.fd = calls.open_read(path)

    @property
    def size(self) -> int:
        """The size in bytes, now."""
        return calls.size_of(self.fd)

    def read_at(self, length: int, offset: int) -> bytes:
        """Return so many bytes from there on; fewer only where the file ends."""
        if length <= _MOST_BYTES:
            return calls.read_at(self.fd, length, offset)
        pieces = []
        while length > 0:
            pieces.append(calls.read_at(self.fd, min(length, _MOST_BYTES), offset))
            if len(pieces[-1]) < _MOST_BYTES:
                break
            length -= _MOST_BYTES
            offset += _MOST_BYTES
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            calls.close(fd)

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class CompressedFile(PlainFile):
    """A compressed segment, read as if it were not."""

    def __init__(self, segment: Segment, compression: Compression) -> None:
        """Open it; `ImportError` where the library that unpacks it is not installed."""
        codec = codec_of(compression)
        super().__init__(segment.path)
        with closed_on_error(self):
            self._blocks = Blocks(
                codec, segment.end - segment.start, calls.size_of(self.fd), super().read_at
            )

    @property
    def size(self) -> int:
        """The size in bytes, unpacked."""
        return self._blocks.size

    def read_at(self, length: int, offset: int) -> bytes:
        """Return so many unpacked bytes from there on.

        `CorruptSegmentError` where the file is damaged.
        """
        try:
            return self._blocks.read_at(length, offset)
        except DamagedError as error:
            raise CorruptSegmentError(self.path, str(error)) from error


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


def open_segment(segment: Segment) -> PlainFile:
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


def _opened(segment: Segment) -> PlainFile:
    return (
        CompressedFile(segment, segment.compression)
        if segment.compression
        else PlainFile(segment.path)
    )


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
