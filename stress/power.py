"""Power cuts: a mounted file system is shut down in mid-write, mounted again, and verified."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
from typing import TYPE_CHECKING, Final

from metrics_appender import AppendLog

from . import messages, payloads, small_disk, verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from .messages import History
    from .worker_group import WorkerGroup

# The file systems that have the kernel's shutdown call.
FILE_SYSTEMS: Final = ("ext4", "xfs")

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number: _IOR('X', 125, __u32).
_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = 2  # what is only in memory, the journal included, never reaches the disk
_TORN: Final = ".torn"
_PIECE: Final = re.compile(rb'\{"writer":\d+,"number":\d+,"digest":"[0-9a-f]{16}"')


def shut_down(place: Path) -> None:
    """Cut the file system off from its disk: nothing reaches it, and calls fail with EIO."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


def remount(place: Path) -> None:
    """Unmount a file system that was shut down and mount it again, which recovers its journal.

    No process may have a file open there.
    """
    small_disk.unmount(place)
    small_disk.mount(place)


def cut(
    group: WorkerGroup, place: Path, break_off: Callable[[Path], None] = shut_down
) -> dict[int, int]:
    """Cut off the disk under the group, and return how many lines each caller had acknowledged."""
    group.listen(0)
    known = {caller: len(lines) for caller, lines in group.history.acknowledged.items()}
    break_off(place)
    return known


def doubt_late_claims(history: History, known: dict[int, int]) -> int:
    """Count lines acknowledged after the cut began as unsure, and return how many they are.

    A few calls that are in progress during the shutdown return success although their data is lost;
    with a real power cut, their callers would have been lost too. Such a line may be in the file,
    whole, or not be there at all.
    """
    count = 0
    for caller, lines in history.acknowledged.items():
        for number in list(lines)[known.get(caller, 0) :]:
            history.unsure[caller][number] = lines.pop(number)
            count += 1
    return count


def list_files(place: Path) -> list[Path]:
    """Return the files of logs, in the order of their names."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return [path for path in files if not path.name.endswith(_TORN)]


def verify_recovered(history: History, files: Sequence[Path]) -> dict[Path, bytes]:
    """Verify files as the mount left them, and return their torn tails.

    A torn tail is no fault, for nothing in it was acknowledged; all lines before it have to be
    whole and right. See `end_of_whole_lines`.
    """
    contents = {path: path.read_bytes() for path in files}
    ends = {path: end_of_whole_lines(content) for path, content in contents.items()}
    whole = (io.BytesIO(content[: ends[path]]) for path, content in contents.items())
    verifier.require_flawless(verifier.verify(history, whole))
    return {
        path: content[ends[path] :]
        for path, content in contents.items()
        if len(content) > ends[path]
    }


def end_of_whole_lines(content: bytes) -> int:
    """Return where a torn tail begins: at the first line with a NUL, or behind the last newline."""
    # NUL bytes stand for blocks of a line that never arrived, even where its newline did arrive.
    zeros = content.find(b"\0")
    return content.rfind(b"\n", 0, len(content) if zeros < 0 else zeros) + 1


def append_to_each(group: WorkerGroup, files: Iterable[Path], seed: int) -> None:
    """Append one line to each file with the library, from this process; any error is a fault."""
    for path in files:
        caller = group.new_callers(1)[0]
        payload = payloads.make(seed, caller, 0, 100)
        digest = payloads.digest(payload)
        group.history.add(messages.Message(messages.ATTEMPT, caller, 0, digest))
        AppendLog(path).append(
            {"writer": caller, "number": 0, "digest": digest, "payload": payload}
        )
        group.history.add(messages.Message(messages.ACKNOWLEDGED, caller, 0, digest))


def verify_after_append(history: History, tails: dict[Path, bytes], files: Sequence[Path]) -> None:
    """Verify files after one more append: only whole lines, and their torn tails in `.torn`."""
    verifier.require_flawless(verifier.verify_files(history, files))
    for path, tail in tails.items():
        assert tail in read_torn(path), (
            f"{len(tail)} torn bytes of {path.name} were not quarantined: {tail[:80]!r}"
        )


def read_torn(path: Path) -> bytes:
    """Return what was quarantined from a file."""
    torn = path.with_name(path.name + _TORN)
    return torn.read_bytes() if torn.exists() else b""


def torn_piece(caller: int, number: int, digest: str) -> bytes:
    """Return the first part of a line, as a writer leaves it that is killed in mid-line."""
    return f'{{"writer":{caller},"number":{number},"digest":"{digest}"'.encode()


def verify_pieces(history: History, callers: Iterable[int], path: Path) -> None:
    """Check that `.torn` holds the piece that stood in the file before each acknowledged line."""
    kept = set(_PIECE.findall(read_torn(path)))
    for caller in callers:
        for number, digest in history.acknowledged.get(caller, {}).items():
            assert torn_piece(caller, number, digest) in kept, (
                f"the torn piece of line {number} of caller {caller} was not quarantined"
            )
