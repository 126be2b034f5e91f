"""Power cuts: the file system of a mounted disk is shut down in mid-write, mounted again.

Judged.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
from typing import TYPE_CHECKING, Final

from metrics_appender import AppendLog

from . import claims, payloads, small_disk, verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from .claims import Claims
    from .crew import Crew

# The file systems that have the kernel's shutdown call.
FILE_SYSTEMS: Final = ("ext4", "xfs")

_SHUTDOWN: Final = (
    0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number: _IOR('X', 125, __u32)
)
_NO_LOG_FLUSH: Final = 2  # what is in memory only, the journal's as well, stays off the disk
_TORN: Final = ".torn"
_PIECE: Final = re.compile(rb'\{"writer":\d+,"number":\d+,"digest":"[0-9a-f]{16}"')


def shut_down(place: Path) -> None:
    """Cut the file system off from its disk.

    From now on nothing reaches it, and calls fail with EIO.
    """
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


def remount(place: Path) -> None:
    """Unmount what was shut down and mount it anew, which recovers its journal.

    Nobody may have a file open there.
    """
    small_disk.unmount(place)
    small_disk.mount(place)


def cut(crew: Crew, place: Path, break_off: Callable[[Path], None] = shut_down) -> dict[int, int]:
    """Break off the disk under the crew.

    Return how many lines of each caller were known to be acknowledged before that.
    """
    crew.attend(0)
    known = {caller: len(lines) for caller, lines in crew.claims.acknowledged.items()}
    break_off(place)
    return known


def doubt_late_claims(heard: Claims, known: dict[int, int]) -> int:
    """Hold nobody to what was acknowledged after the cut began, and return how many lines that are.

    A few calls that are under way during the shutdown return success although their data goes; with
    the real power, their callers would have gone too. Such a line may be in the file, whole, or not
    at all.
    """
    count = 0
    for caller, lines in heard.acknowledged.items():
        for number in list(lines)[known.get(caller, 0) :]:
            heard.unsure[caller][number] = lines.pop(number)
            count += 1
    return count


def list_files(place: Path) -> list[Path]:
    """Return the files that are written to, in the order of their names."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return [path for path in files if not path.name.endswith(_TORN)]


def judge_recovered(heard: Claims, files: Sequence[Path]) -> dict[Path, bytes]:
    """Judge files as the mount left them, and return their torn tails.

    From the first NUL byte's line, or after the last newline.

    A torn tail is no fault, for nothing in it was acknowledged; all before it has to be whole and
    true.
    """
    contents = {path: path.read_bytes() for path in files}
    ends = {path: end_of_whole_lines(content) for path, content in contents.items()}
    whole = (io.BytesIO(content[: ends[path]]) for path, content in contents.items())
    verifier.require_flawless(verifier.judge(heard, whole))
    return {
        path: content[ends[path] :]
        for path, content in contents.items()
        if len(content) > ends[path]
    }


def end_of_whole_lines(content: bytes) -> int:
    """Return where a torn tail begins in what a file holds after a cut."""
    # Where blocks of a line never arrived, NUL bytes stand for them, and the line's newline may
    # have arrived all the same.
    zeros = content.find(b"\0")
    return content.rfind(b"\n", 0, len(content) if zeros < 0 else zeros) + 1


def append_to_each(crew: Crew, files: Iterable[Path], seed: int) -> None:
    """Append one line to each file by the library, from this process; any error is a fault."""
    for path in files:
        caller = crew.new_callers(1)[0]
        payload = payloads.make(seed, caller, 0, 100)
        digest = payloads.digest(payload)
        crew.claims.hear(claims.Message(claims.ATTEMPT, caller, 0, digest))
        AppendLog(path).append(
            {"writer": caller, "number": 0, "digest": digest, "payload": payload}
        )
        crew.claims.hear(claims.Message(claims.ACKNOWLEDGED, caller, 0, digest))


def judge_mended(heard: Claims, tails: dict[Path, bytes], files: Sequence[Path]) -> None:
    """Judge files after one more append.

    Nothing but lines is in them, and their torn tails are in `.torn`.
    """
    verifier.require_flawless(verifier.judge_files(heard, files))
    for path, tail in tails.items():
        assert tail in read_torn(path), (
            f"{len(tail)} torn bytes of {path.name} were not kept aside: {tail[:80]!r}"
        )


def read_torn(path: Path) -> bytes:
    """Return what was put aside from a file."""
    torn = path.with_name(path.name + _TORN)
    return torn.read_bytes() if torn.exists() else b""


def torn_piece(caller: int, number: int, digest: str) -> bytes:
    """Return the first part of a caller's line, as a writer leaves it that dies in the middle."""
    return f'{{"writer":{caller},"number":{number},"digest":"{digest}"'.encode()


def judge_pieces(heard: Claims, callers: Iterable[int], path: Path) -> None:
    """Each acknowledged line stands where a piece of it was mended away before.

    That piece has to be in `.torn`.
    """
    kept = set(_PIECE.findall(read_torn(path)))
    for caller in callers:
        for number, digest in heard.acknowledged.get(caller, {}).items():
            assert torn_piece(caller, number, digest) in kept, (
                f"the torn piece of line {number} of caller {caller} was not kept aside"
            )
