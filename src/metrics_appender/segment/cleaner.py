"""The upkeep of sealed segments.

The oldest are deleted, the others compressed, by one process at a time.

It is done after an append was acknowledged, in the background, and may be killed at any point: a
segment is always there whole under one of its names, and whoever comes next finishes what was
begun. The newest segment is left alone, so that its name tells where the active file begins (see
`segments`); nobody compresses what followers still read, either.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from .. import logger
from ..errors import CorruptSegmentError
from ..fs import calls, filename, fork
from .blocks import BLOCK_BYTES, ENDINGS, Compression, codec_of
from .rotation import seconds
from .segments import Segment, list_segments
from .source import CompressedFile, PlainFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .rotation import Rotation
    from .source import Source

    # Returns the place in a log's stream from which on its named cursors have still to read; `None`
    # where nobody waits.
    FirstUnread = Callable[[str], int | None]
    # Is told how many bytes are compressed, and how many there are to be.
    Progress = Callable[[int, int], object]


def clean_segments(
    path: str,
    rotation: Rotation,
    first_unread: FirstUnread = lambda _: None,
    *,
    progress: Progress | None = None,
) -> bool:
    """Delete and compress what is due of the sealed segments of the log at `path`.

    `False` where another process is at it.

    `first_unread` is asked for what retention has to leave, before each segment that is to be
    deleted. Raises `OSError` when the disk fails: nothing is lost, and the next upkeep goes on.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(filename.maintenance_lock_path(path), timeout=0, fallback_to_soft=False):
            _finish_what_was_begun(path)
            _delete_surplus(path, rotation, first_unread)
            if rotation.compress is not None:
                _compress_all(list_segments(path)[:-1], rotation.compress, progress)
    except Timeout:
        return False
    return True


def _finish_what_was_begun(path: str) -> None:
    """Remove what a killed compressor left half-written.

    Each plain segment of which it left a compressed one.
    """
    directory = os.path.dirname(path)
    named = filename.sealed_names(path, calls.list_names(directory))
    for name, sealed in named:
        if sealed.ending.endswith(filename.UNFINISHED):
            calls.unlink(os.path.join(directory, name))
    compressions = {ending: compression for compression, ending in ENDINGS.items()}
    there = {name for name, _ in named}
    for name, sealed in named:
        plain = name.removesuffix(sealed.ending)
        if sealed.ending in compressions and plain in there:
            calls.sync_directory(directory)  # its compressor may have been killed before it did
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
        begin = done
        _compress(segment, compression, lambda place: progress and progress(begin + place, total))  # noqa: B023 - called within the round
        done += segment.end - segment.start


def _compress(
    segment: Segment, compression: Compression, tell_place: Callable[[int], object]
) -> None:
    """Compress a segment.

    It is there under either name at every moment, and under both in between.
    """
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
            for place, block in _placed_blocks(source):
                calls.write_all(copy, codec.pack(block))
                tell_place(place + len(block))
            calls.copy_attributes(source.fd, copy)
            calls.sync_file(copy)
        finally:
            calls.close(copy)
    calls.rename(unfinished, target)
    calls.sync_directory(os.path.dirname(segment.path))
    _replace_plain(segment, compression)


def _replace_plain(segment: Segment, compression: Compression) -> None:
    """Remove a plain segment, of which there is a compressed one, once this was read and holds the same; else the other way round."""
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
            packed.read_at(len(block), place) == block for place, block in _placed_blocks(plain)
        )
    except CorruptSegmentError:
        return False


def _placed_blocks(source: Source) -> Iterator[tuple[int, bytes]]:
    place = 0
    while block := source.read_at(BLOCK_BYTES, place):
        yield place, block
        place += len(block)


def _delete_surplus(path: str, rotation: Rotation, first_unread: FirstUnread) -> None:
    """Delete the oldest segments that are too many or too old, each durably before the next.

    So that no hole is left.
    """
    for segment in list(_surplus(list_segments(path), rotation)):
        # Asked each time, for a cursor may be stored meanwhile.
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
        # Its file was last changed by its last line; a compressed one has inherited that time.
        if index >= too_many and calls.stat_named(segment.path).st_mtime >= oldest:
            return
        yield segment


class Cleaner:
    """Runs `clean_segments` for one log in a thread of its own.

    Which ends when there is nothing to do.
    """

    def __init__(
        self, path: str, rotation: Rotation, first_unread: FirstUnread = lambda _: None
    ) -> None:
        """Take what `clean_segments` takes; no thread is made yet."""
        self._path = path
        self._rotation = rotation
        self._first_unread = first_unread
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """In a forked child: the thread is not there."""
        self._mutex = (
            threading.RLock()
        )  # a signal handler may seal, or close the log, while its thread is inside
        self._beginner: int | None = None  # the thread that is
        self._thread: threading.Thread | None = None
        self._is_asked = False

    @property
    def is_under_way(self) -> bool:
        """Whether what was begun is not done yet."""
        return self._thread is not None

    def begin(self) -> None:
        """Have the upkeep done; returns at once."""
        if sys.is_finalizing():  # a new thread would never run
            return
        with self._mutex:
            before, self._beginner = self._beginner, threading.get_ident()
            try:
                self._is_asked = True
                if self._thread is None:
                    self._start()
            finally:
                self._beginner = before

    def _start(self) -> None:
        # A daemon: the end of the program does not wait for it, for the next upkeep finishes what
        # was begun.
        thread = self._thread = threading.Thread(
            target=self._run, name="metrics-appender-cleaner", daemon=True
        )
        try:
            thread.start()
        except BaseException as error:
            self._thread = None  # should it run all the same, it does what there is to do
            if (
                type(error) is not RuntimeError
            ):  # that is out of threads: the next rotation asks again
                raise

    def finish(self) -> None:
        """Return when what was begun is done.

        At once in a signal handler whose thread is just beginning it.
        """
        if self._beginner == threading.get_ident() or sys.is_finalizing():
            return
        with self._mutex:  # or it may not be started yet
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while self._is_wanted():
            try:
                clean_segments(self._path, self._rotation, self._first_unread)
            except Exception as error:  # noqa: BLE001 - nobody waits for this thread's errors: they are told, and it is tried again
                logger.warn(
                    "%s: the upkeep of its segments failed; the next rotation tries again: %r",
                    self._path,
                    error,
                )

    def _is_wanted(self) -> bool:
        with self._mutex:
            is_asked, self._is_asked = self._is_asked, False
            if not is_asked and self._thread is threading.current_thread():
                self._thread = None
            return is_asked
