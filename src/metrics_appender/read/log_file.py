"""One file of a log, open for reading: active, sealed, or rotated away by another program."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, Final

from ..errors import CorruptSegmentError
from ..fs import calls, lock
from ..segment import segments, snapshot
from ..segment.source import PlainFile, Source, closed_on_error
from .lines import last_lines
from .position import KEPT_BYTES, is_repaired

if TYPE_CHECKING:
    from typing import Self

    from ..segment.logrotate import Rotated
    from ..segment.segments import Segment
    from .cursor import Cursor

_COPY_BYTES: Final = 1 << 20
_COMPARED_BYTES: Final = 1 << 16


class LogFile:
    """An open file of whole lines that starts at `start` in the log's stream.

    `descriptor` is that of the file on the disk, `inode` and `generation` its own; `mtime_ns` is
    when it was last written to before it was opened. With `is_final`, it is of a kind that is never
    written to any more; with `is_sealed`, because it is a segment, whose name says which range of
    the stream it holds.
    """

    def __init__(
        self, source: Source, start: int, *, is_final: bool, is_sealed: bool = False
    ) -> None:
        """Take a source that is open."""
        self.source = source
        self.start = start
        self.is_final = is_final
        self.is_sealed = is_sealed
        self.descriptor = source.fd
        found = calls.stat_open(source.fd)
        self.device, self.inode, self.mtime_ns = found.st_dev, found.st_ino, found.st_mtime_ns
        self.generation = calls.generation_of(source.fd)

    @property
    def end(self) -> int:
        """Where it ends in the log's stream, now."""
        return self.start + self.source.size

    def begin_of_last_lines(self, count: int) -> tuple[int, int]:
        """Return the offset where its last whole lines begin, and how many they are.

        `count` of them at the most.
        """
        offset, lines = last_lines(self.source, count)
        return offset, len(lines)

    def last_written_ns(self) -> int:
        """When it was last written to, in nanoseconds since the epoch."""
        return self.mtime_ns if self.is_final else calls.stat_open(self.descriptor).st_mtime_ns

    def has_name(self, path: str) -> bool:
        """Return whether this is the file that has the name now."""
        try:
            named = calls.stat_followed(path)  # a reader may come through a link
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (self.device, self.inode)

    def is_same(self, other: Rotated | LogFile) -> bool:
        """Return whether another is this very file.

        Certain, for the inode number of an open file is not given out again.
        """
        return (other.device, other.inode) == (self.device, self.inode)

    def has_bytes_of(self, other: LogFile) -> bool:
        """Return whether it is as long and begins and ends with the same bytes."""
        size = self.source.size
        offsets = (0, max(0, size - _COMPARED_BYTES))
        return size == other.source.size and all(
            self.source.read_at(_COMPARED_BYTES, offset)
            == other.source.read_at(_COMPARED_BYTES, offset)
            for offset in offsets
        )

    def has_writer(self) -> bool:
        """Return whether a writer may be in mid-line, though the file has lost its name."""
        return not self.is_final and not lock.is_free(self.descriptor)

    def is_of(self, cursor: Cursor) -> bool:
        """Return whether inode number and generation are those of the cursor's file."""
        return (cursor.inode, cursor.generation) == (self.inode, self.generation)

    def holds(self, cursor: Cursor) -> bool:
        """Return whether it holds what stood in front of the cursor; see `Cursor.matches`.

        An inode number by itself makes nothing certain, for it is given out again; nor does the
        range of a segment, for a file may have been removed, and another one sealed in its stead.
        Either makes it likely.
        """
        is_of, has_its_start = self.is_of(cursor), self.is_sealed and self.start == cursor.start
        return cursor.matches(
            self.source.read_at,
            is_certain=is_of and self.generation != 0,
            is_likely=is_of or has_its_start,
        )

    def has_content_of(self, cursor: Cursor) -> bool:
        """Return whether it holds that by its bytes alone, whichever file it is.

        None are in front of the beginning.
        """
        return cursor.offset == 0 or cursor.matches(self.source.read_at, is_certain=False)

    def is_repaired_from(self, copy: LogFile, offset: int) -> bool:
        """Return whether it is its copy in front of an offset, but for what a repair changes."""
        begin = max(0, offset - KEPT_BYTES)
        return is_repaired(
            copy.source.read_at(offset - begin, begin), self.source.read_at(offset - begin, begin)
        )

    def close(self) -> None:
        """Close it."""
        self.source.close()


def open_active(path: str) -> LogFile | None:
    """Open the file that has the name, with its start in the stream; `None` if there is none."""
    active = snapshot.open_active(path)
    if active is None:
        return None
    with closed_on_error(active.file) as file:
        return LogFile(file, active.base, is_final=False)


def open_sealed(segment: Segment) -> LogFile:
    """Open a sealed segment; `FileNotFoundError` if it is gone."""
    with closed_on_error(segments.open_segment(segment)) as source:
        return LogFile(source, segment.start, is_final=True, is_sealed=True)


def open_rotated(rotated: Rotated, start: int) -> LogFile:
    """Open a file that was rotated away; `FileNotFoundError` where its name is another's by now."""
    with closed_on_error(PlainFile(rotated.path)) as source:
        opened = calls.stat_open(source.fd)
        if (opened.st_dev, opened.st_ino) != (rotated.device, rotated.inode):
            raise FileNotFoundError(rotated.path)
        with closed_on_error(_Unpacked(source) if rotated.is_compressed else source) as content:
            return LogFile(content, start, is_final=rotated.is_compressed)


class _Unpacked:
    """A file that another program compressed, unpacked into a temporary file for random access."""

    def __init__(self, packed: PlainFile) -> None:
        self.path = packed.path
        self.fd = packed.fd
        self._packed = packed
        with _open_temporary(packed.path) as unpacked:
            _unpack(packed, unpacked)
            self._content = PlainFile(packed.path, os.dup(unpacked.fileno()))

    @property
    def size(self) -> int:
        return self._content.size

    def read_at(self, length: int, offset: int) -> bytes:
        return self._content.read_at(length, offset)

    def close(self) -> None:
        self._packed.close()
        self._content.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_temporary(path: str) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except FileNotFoundError as error:  # which would say of the log's file that it is gone
        reason = (
            "no temporary directory, into which it would have to be unpacked, can be written to; "
            "set TMPDIR to one"
        )
        raise NotADirectoryError(errno.ENOTDIR, reason, path) from error


def _unpack(packed: PlainFile, target: IO[bytes]) -> None:
    import gzip
    import zlib

    try:
        with os.fdopen(os.dup(packed.fd), "rb") as file, gzip.open(file) as reader:
            shutil.copyfileobj(reader, target, _COPY_BYTES)
        target.flush()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorruptSegmentError(packed.path, str(error)) from error
