"""Where the last whole line ends, and the mending of what a dead writer left behind it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from .. import logger
from ..fs import calls
from ..fs.filename import torn_path

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK_BYTES: Final = 1 << 16
LOOK_BACK_BYTES: Final = 1 << 20


def end_of_sound_lines(fd: int, known: int, size: int) -> int:
    """Return where the lines end that were written to their end.

    `size`, where the tail of the file is sound.

    `known` bytes were looked at before. A writer that died leaves a line without its newline. The
    loss of power can leave any sector of what was not synced as NULs, with a newline and whole
    lines behind it; JSON text holds no raw NUL (RFC 8259, section 7), so a line with one was never
    written so. Nothing behind a NUL was acknowledged as durable before the cut: its sync would have
    covered the bytes in front of it too. Nor was it after the power came back: each log looks
    before its first append to a file, and later at what others wrote since its last. A line that
    begins more than a megabyte back is left for a reader to find, so that a look costs the same on
    every file; as the file grows it stays further back.
    """
    known = known if known <= size else 0
    start = max(known - 1, size - LOOK_BACK_BYTES, 0)
    block = calls.read_at(fd, size - start, start)
    if start == known - 1 and not block.startswith(
        b"\n"
    ):  # it is no line's end any more: the file was cut, and written to again
        return end_of_sound_lines(fd, 0, size)
    if block.endswith(b"\n") and b"\0" not in block:
        return size
    begin = 0 if start == 0 else block.find(b"\n") + 1 or len(block)
    nul = block.find(b"\0", begin)
    if nul >= 0:
        return start + block.rfind(b"\n", 0, nul) + 1
    return size if block.endswith(b"\n") else end_of_whole_lines(fd, size)


def end_of_whole_lines(fd: int, size: int) -> int:
    """Return the offset after the last newline within the first `size` bytes, 0 when there is none."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = calls.read_at(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def recover_tail(fd: int, path: str, known: int, size: int) -> int:
    """Put aside what a writer that died, or a power cut, left unfinished.

    Return where the file ends then.

    To be called by the holder of the file's lock; `known` as in `end_of_sound_lines`.
    """
    end = end_of_sound_lines(fd, known, size)
    if end != size:
        quarantine_tail(fd, path, end, size)
    return end


def warn_of_torn_tail(path: str, torn_bytes: int) -> None:
    """Log that torn bytes were put aside; to be called with no lock held."""
    logger.warn(
        "%s: the last line was torn, by a writer that died or a power cut; its %d bytes were never acknowledged, and are in %s now",
        path,
        torn_bytes,
        torn_path(path),
    )


def quarantine_tail(fd: int, path: str, end: int, size: int) -> None:
    """Put the bytes from `end` on aside, and cut the file there, durably.

    To be called by the holder of the file's lock. The torn bytes were never acknowledged: whoever
    wrote them died, or failed, or the power went, before they were synced. They are durable in
    `torn_path(path)` before the cut, so a crash in between leaves them in both files, and in none
    it leaves none.
    """
    begin = quarantine(fd, [(end, size)], path)
    try:
        calls.cut_back(fd, end)
    except (
        OSError
    ):  # it may only be appended to (chattr(1)): every try would put them aside once more
        if calls.size_of(fd) == size:
            _take_back(begin, path)
        raise
    # Else a power cut could leave the first sectors of the next line, and behind them what was cut
    # off here: two lines mixed.
    calls.sync_file(fd)


def quarantine(fd: int, stretches: Iterable[tuple[int, int]], path: str) -> int:
    """Add stretches of an open file to `torn_path(path)`, durably.

    Return where they begin there; when that fails, it is as before.
    """
    aside_path = torn_path(path)
    aside = calls.open_append(aside_path)
    try:
        before = calls.size_of(aside)
        try:
            for start, end in stretches:
                for piece in calls.pieces(fd, start, end):
                    calls.write_all(aside, piece)
            calls.sync_file(aside)
        except BaseException:
            calls.cut_back(aside, before)
            raise
    finally:
        calls.close(aside)
    calls.sync_directory(os.path.dirname(aside_path))
    return before


def _take_back(begin: int, path: str) -> None:
    with contextlib.suppress(OSError):
        aside = calls.open_append(torn_path(path))
        try:
            calls.cut_back(aside, begin)
        finally:
            calls.close(aside)
