"""Recovering the tail of a file after the death of a writer or a power cut."""

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


def end_of_valid_lines(fd: int, known: int, size: int) -> int:
    """Return where the last valid line ends; this is `size` if the tail of the file is valid.

    A writer that died leaves a line without its newline. A power cut can leave any unsynced sector
    as NULs, with a newline and whole lines after it. JSON text has no raw NUL (RFC 8259, section
    7), so a line with one was not written like that.

    Nothing after a NUL was acknowledged as durable before the power cut: its sync would have
    covered the bytes before it too. Nothing was acknowledged since then either: each log checks the
    tail before its first append to a file, and later what other writers added since its last one.

    Only the last megabyte is checked, so that the cost does not depend on the size of the file;
    damage further back is left for readers to find.

    Args:
        fd: The open file.
        known: How many bytes of the file were checked before; if any, they end with a newline.
        size: The size of the file.
    """
    known = known if known <= size else 0
    start = max(known - 1, size - LOOK_BACK_BYTES, 0)
    block = calls.read_at(fd, size - start, start)
    if start == known - 1 and not block.startswith(b"\n"):
        # The file was truncated and written to since the last check: `known` means nothing now.
        return end_of_valid_lines(fd, 0, size)
    if block.endswith(b"\n") and b"\0" not in block:
        return size
    begin = 0 if start == 0 else block.find(b"\n") + 1 or len(block)
    nul = block.find(b"\0", begin)
    if nul >= 0:
        return start + block.rfind(b"\n", 0, nul) + 1
    return size if block.endswith(b"\n") else end_of_whole_lines(fd, size)


def end_of_whole_lines(fd: int, size: int) -> int:
    """Return the offset after the last newline of the first `size` bytes, 0 without a newline."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = calls.read_at(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def recover_tail(fd: int, path: str, known: int, size: int) -> int:
    """Quarantine what a dead writer or a power cut left unfinished; return where the file ends now.

    The caller holds the lock of the file. `known` is as in `end_of_valid_lines`.
    """
    end = end_of_valid_lines(fd, known, size)
    if end != size:
        quarantine_tail(fd, path, end, size)
    return end


def warn_of_torn_tail(path: str, torn_bytes: int) -> None:
    """Log that torn bytes were quarantined; the caller holds no lock."""
    logger.warn(
        "%s: the last line was torn, by a writer that died or a power cut; its %d bytes were never "
        "acknowledged, and are in %s now",
        path,
        torn_bytes,
        torn_path(path),
    )


def quarantine_tail(fd: int, path: str, end: int, size: int) -> None:
    """Move the bytes from `end` on to `torn_path(path)`, and truncate the file there, durably.

    The caller holds the lock of the file. The bytes were never acknowledged: their writer died or
    failed, or the power was cut, before they were synced. They are durable in the torn file before
    the truncation, so a crash leaves them in one of the files or in both.
    """
    begin = quarantine(fd, [(end, size)], path)
    try:
        calls.cut_back(fd, end)
    except OSError:
        # The file may be append-only (chattr(1)): each attempt would quarantine the bytes again.
        if calls.size_of(fd) == size:
            _cut_torn_file(begin, path)
        raise
    # Otherwise a power cut could leave the first sectors of the next line, followed by sectors of
    # the torn one: two lines mixed.
    calls.sync_file(fd)


def quarantine(fd: int, ranges: Iterable[tuple[int, int]], path: str) -> int:
    """Append ranges of an open file to `torn_path(path)`, durably; return where they begin there.

    After an error, the torn file is as it was before.
    """
    target_path = torn_path(path)
    target = calls.open_append(target_path)
    try:
        before = calls.size_of(target)
        try:
            for start, end in ranges:
                for piece in calls.pieces(fd, start, end):
                    calls.write_all(target, piece)
            calls.sync_file(target)
        except BaseException:
            calls.cut_back(target, before)
            raise
    finally:
        calls.close(target)
    calls.sync_directory(os.path.dirname(target_path))
    return before


def _cut_torn_file(size: int, path: str) -> None:
    with contextlib.suppress(OSError):
        target = calls.open_append(torn_path(path))
        try:
            calls.cut_back(target, size)
        finally:
            calls.close(target)
