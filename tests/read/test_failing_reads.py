"""Reading where the system fails, at any of its calls: an error says so, and no file stays open."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from typing import TYPE_CHECKING, Final

import pytest
from followers import shift
from system_calls import OneFault, fail_with, intercepted

from metrics_appender import (
    AppendLog,
    CorruptSegmentError,
    CursorGoneError,
    Rotation,
    check,
    repair,
)
from metrics_appender.read.follower import Follower
from metrics_appender.segment.segments import list_segments

if TYPE_CHECKING:
    from collections.abc import Callable

_FAULTS: Final = [errno.EACCES, errno.EMFILE, errno.EIO]


def open_files() -> list[str]:
    """Return what this process has open."""
    directory = "/proc/self/fd"
    return sorted(
        os.readlink(f"{directory}/{fd}")
        for fd in os.listdir(directory)
        if os.path.lexists(f"{directory}/{fd}")
    )


def lay_out(path: str) -> str:
    """Make a log of compressed segments, a plain one, rotated files and an active one.

    Return a cursor in the first.
    """
    log = AppendLog(path, rotation=Rotation(max_bytes=1, compress="gzip"))
    for number in range(4):
        log.append({"n": number})
    log.close()
    with Follower(path, "beginning") as follower:
        cursor = next(follower).cursor
    shift(path)
    AppendLog(path).append({"n": 4})
    return cursor


def follow(path: str, start: str, last: int = 0) -> None:
    """Begin to follow, and go on to the end of what is there."""
    with Follower(path, start, last=last, notify=False) as follower:
        for _ in range(last or 4):
            next(follower)


WAYS: Final[dict[str, Callable[[str, str], object]]] = {
    "read": lambda path, _: AppendLog(path).read(),
    "read the last": lambda path, _: AppendLog(path).read(4),
    "iterate": lambda path, _: list(AppendLog(path).iter_records()),
    "follow from the beginning": lambda path, _: follow(path, "beginning"),
    "follow from a cursor": follow,
    "follow the last": lambda path, _: follow(path, "end", 4),
    "check": lambda path, _: check(path),
    "look what to repair": lambda path, _: repair(path, dry_run=True),
}


@pytest.mark.parametrize("number", _FAULTS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whichever_call_fails_no_file_stays_open(
    path: str, way: Callable[[str, str], object], number: int
) -> None:
    """None of those that were opened before it. A file that was only read can be closed."""
    cursor = lay_out(path)
    way(path, cursor)
    before = open_files()
    for k in itertools.count(1):
        disk = OneFault(
            k,
            lambda call: call.perform() if call.name == "close" else fail_with(number)(call),
            lambda call: call.perform(),
        )
        with intercepted(disk):
            disk.is_armed = True
            with contextlib.suppress(OSError):  # some files can be done without
                way(path, cursor)
        assert open_files() == before, f"{disk.calls[k - 1]} failed"
        if len(disk.calls) < k:
            break
    assert k > 10


def test_segments_that_cannot_be_unpacked_leave_no_file_open(path: str) -> None:
    """Whatever is looked for in them."""
    cursor = lay_out(path)
    for segment in list_segments(path):
        if segment.compression:
            with open(segment.path, "wb") as file:
                file.write(b"garbage")
    before = open_files()
    for name, way in WAYS.items():
        if name in {"check", "look what to repair"}:
            continue
        with pytest.raises(CorruptSegmentError):
            way(path, cursor)
        assert open_files() == before, name


def test_a_hole_in_the_log_is_an_error_and_leaves_no_file_open(path: str) -> None:
    """As often as the follower is asked to go on."""
    log = AppendLog(path)
    log.append({"n": 0})
    with Follower(path, "beginning") as follower:
        next(follower)
        for number in range(1, 4):
            log.rotate()
            log.append({"n": number})
        os.unlink(list_segments(path)[1].path)
        before = open_files()
        for _ in range(3):
            with pytest.raises(CursorGoneError):
                next(follower)
            assert open_files() == before
