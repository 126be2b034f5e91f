"""Cleaning sealed segments: the oldest are deleted, the others compressed.

One process at a time does it, in the background, after an append was acknowledged. It may be killed
at any point: a segment is always there whole under one of its names, and the next cleaning finishes
what was begun. The newest segment is never touched: its name says where the active file begins (see
`segments`), and followers may still read it.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from .. import logger
from ..errors import CorruptSegmentError
from ..fs import calls, filename
from ..fs.worker import IdleThread
from .blocks import BLOCK_BYTES, ENDINGS, Compression, codec_of
from .rotation import seconds
from .segments import Segment, list_segments
from .source import CompressedFile, PlainFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .rotation import Rotation
    from .source import Source

    # Returns the position in a log's stream from which its named cursors have still to read, `None`
    # without any cursor.
    FirstUnread = Callable[[str], int | None]
    # Called with the bytes compressed so far and the bytes in total.
    Progress = Callable[[int, int], object]


def clean_segments(
    path: str,
    rotation: Rotation,
    first_unread: FirstUnread = lambda _: None,
    *,
    progress: Progress | None = None,
) -> bool:
    """Delete and compress the sealed segments of a log as its rotation says.

    Args:
        path: The log.
        rotation: How many segments are kept, for how long, and how they are compressed.
        first_unread: Returns the position from which on segments have to be kept; it is called
            before each deletion, because a cursor may be saved at any time.
        progress: Called with the bytes compressed so far and the bytes in total.

    Returns:
        `False` if another process is cleaning or repairing this log, and nothing was done.

    Raises:
        OSError: The disk failed. Nothing is lost, and the next cleaning continues.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(filename.maintenance_lock_path(path), timeout=0, fallback_to_soft=False):
            _finish_interrupted(path)
            _delete_surplus(path, rotation, first_unread)
            if rotation.compress is not None:
                _compress_all(list_segments(path)[:-1], rotation.compress, progress)
    except Timeout:
        return False
    return True


def _finish_interrupted(path: str) -> None:
    """Remove unfinished files of a killed cleaning, and plain segments that are compressed too."""
    directory = os.path.dirname(path)
    named = filename.sealed_names(path, calls.list_names(directory))
    for name, sealed in named:
        if sealed.ending.endswith(filename.UNFINISHED):
            calls.unlink(os.path.join(directory, name))
    compressions = {ending: compression for compression, ending in ENDINGS.items()}
    existing = {name for name, _ in named}
    for name, sealed in named:
        plain = name.removesuffix(sealed.ending)
        if sealed.ending in compressions and plain in existing:
            calls.sync_directory(directory)  # the killed cleaning may not have done it
            _replace_plain(
                Segment(os.path.join(directory, plain), sealed.start, sealed.end, None),
                compressions[sealed.ending],
            )


def _compress_all(
    segments: list[Segment], compression: Compression, progress: Progress | None
) -> None:
    plain = [segment for segment in segments if segment.compression is None]
    total = sum(segment.end - segment.start for segment in plain)
    done = 0
    for segment in plain:
        report = None if progress is None else partial(_report, progress, done, total)
        _compress(segment, compression, report)
        done += segment.end - segment.start


def _report(progress: Progress, before: int, total: int, length: int) -> None:
    progress(before + length, total)


def _compress(
    segment: Segment, compression: Compression, report: Callable[[int], object] | None
) -> None:
    """Compress a segment; at every moment it is there whole under at least one of its names."""
    target = segment.path + ENDINGS[compression]
    unfinished = target + filename.UNFINISHED
    codec = codec_of(compression)
    with PlainFile(segment.path) as source:
        if source.size != segment.end - segment.start:
            logger.warn(
                "%s: not compressed, for it holds %d bytes and not those of its name",
                segment.path,
                source.size,
            )
            return
        copy = calls.create(unfinished)
        try:
            for offset, block in _iter_blocks(source):
                calls.write_all(copy, codec.pack(block))
                if report is not None:
                    report(offset + len(block))
            calls.copy_attributes(source.fd, copy)
            calls.sync_file(copy)
        finally:
            calls.close(copy)
    calls.rename(unfinished, target)
    calls.sync_directory(os.path.dirname(segment.path))
    _replace_plain(segment, compression)


def _replace_plain(segment: Segment, compression: Compression) -> None:
    """Remove a plain segment if its compressed copy holds the same, otherwise the copy."""
    directory = os.path.dirname(segment.path)
    compressed = segment._replace(path=segment.path + ENDINGS[compression], compression=compression)
    size = segment.end - segment.start
    with (
        PlainFile(segment.path) as plain,
        CompressedFile(compressed.path, size, compression) as packed,
    ):
        is_same = _are_same(plain, packed)
    calls.unlink(segment.path if is_same else compressed.path)
    calls.sync_directory(directory)
    if not is_same:
        logger.warn("%s: removed, for it did not hold what %s holds", compressed.path, segment.path)


def _are_same(plain: Source, packed: Source) -> bool:
    try:
        return plain.size == packed.size and all(
            packed.read_at(len(block), offset) == block for offset, block in _iter_blocks(plain)
        )
    except CorruptSegmentError:
        return False


def _iter_blocks(source: Source) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while block := source.read_at(BLOCK_BYTES, offset):
        yield offset, block
        offset += len(block)


def _delete_surplus(path: str, rotation: Rotation, first_unread: FirstUnread) -> None:
    """Delete segments that are too many or too old: oldest first, each synced, so without holes."""
    for segment in list(_surplus(list_segments(path), rotation)):
        # Called each time, because a cursor may be saved in the meantime.
        unread = first_unread(path) if rotation.keep_unread else None
        if unread is not None and segment.end > unread:
            break
        plain = (
            segment.path.removesuffix(ENDINGS[segment.compression])
            if segment.compression
            else segment.path
        )
        for name in (plain, *(plain + ending for ending in ENDINGS.values())):
            if calls.is_there(name):
                calls.unlink(name)
        calls.sync_directory(os.path.dirname(path))


def _surplus(segments: list[Segment], rotation: Rotation) -> Iterator[Segment]:
    too_many = 0 if rotation.keep_segments is None else len(segments) - rotation.keep_segments
    oldest = 0.0 if rotation.keep_age is None else time.time() - seconds(rotation.keep_age)
    for index, segment in enumerate(segments[:-1]):
        # The mtime is the time of the last line; a compressed copy has the mtime of the plain file.
        if index >= too_many and calls.stat_named(segment.path).st_mtime >= oldest:
            return
        yield segment


class Cleaner:
    """Runs `clean_segments` for one log in a thread, which ends when nothing is left to do."""

    def __init__(
        self, path: str, rotation: Rotation, first_unread: FirstUnread = lambda _: None
    ) -> None:
        """Take the arguments of `clean_segments`; no thread is started yet."""
        self._path = path
        self._rotation = rotation
        self._first_unread = first_unread
        self._thread = IdleThread("metrics-appender-cleaner", linger_seconds=0)

    @property
    def is_under_way(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive

    def begin(self) -> None:
        """Start a cleaning in the background, and return at once."""
        if sys.is_finalizing():  # a new thread would never run
            return
        try:
            self._thread.run(self._clean)
        except BaseException as error:
            # No thread can be started (RuntimeError): the next rotation tries again.
            if type(error) is not RuntimeError:
                raise

    def finish(self) -> None:
        """Return when the cleaning is done; at once in a handler that interrupted its `begin`."""
        if not sys.is_finalizing():
            self._thread.join()

    def _clean(self) -> None:
        try:
            clean_segments(self._path, self._rotation, self._first_unread)
        except Exception as error:  # noqa: BLE001 - no caller waits for it, so it is logged
            message = "%s: cleaning its segments failed; the next rotation tries again: %r"
            logger.warn(message, self._path, error)
