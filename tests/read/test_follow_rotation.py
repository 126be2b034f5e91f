"""Following through rotation: renamed, compressed, copied and cut, removed, sealed.

Alive, and from a stored cursor.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from conftest import held
from followers import NOTIFY, SECONDS, WAYS, Listening, compress, cut, rest, shift, take

from metrics_appender import AppendLog, CorruptSegmentError, CursorGoneError, Rotation, repair
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.watch import FileWatcher
from metrics_appender.read import log_file
from metrics_appender.read.follower import Follower
from metrics_appender.read.log_file import LogFile
from metrics_appender.segment.cleaner import clean_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Waiting

NOTIFIED = pytest.mark.parametrize(
    "notify", NOTIFY, ids=lambda notify: "notified" if notify else "polling"
)
EVERY_WAY = pytest.mark.parametrize(
    "rotate", [*WAYS.values(), lambda path: AppendLog(path).rotate()], ids=[*WAYS, "seal"]
)


def fill(log: AppendLog, start: int, end: int) -> None:
    """Append numbered records."""
    for number in range(start, end):
        log.append({"n": number, "text": "x" * (number % 7)})


@EVERY_WAY
@NOTIFIED
def test_a_follower_goes_through_every_rotation(
    path: str, log: AppendLog, wait: Waiting, rotate: Callable[[str], object], notify: bool
) -> None:
    """It reads what it had not read yet of the old file, then the new one."""
    with Listening(path, notify=notify, poll_seconds=0.01) as listening:
        for round_number in range(6):
            fill(log, round_number * 3, round_number * 3 + 3)
            if (
                rotate is cut or round_number % 2
            ):  # else the next rotation comes right behind; of copies only one is kept
                wait.until(lambda: len(listening.followed) == round_number * 3 + 3)  # noqa: B023 - asked within the round
            rotate(path)
        fill(log, 18, 20)
        wait.until(lambda: len(listening.followed) == 20 or listening.errors)
    assert not listening.errors
    assert listening.records() == list(range(20))


@EVERY_WAY
def test_every_stored_cursor_goes_on_after_rotations(
    path: str, log: AppendLog, rotate: Callable[[str], object]
) -> None:
    """Of every record of every file, when all of them are rotated away."""
    expected: list[int] = []
    count = 2 if rotate is cut else 4
    with Follower(path, "end") as follower:
        cursors = []
        for round_number in range(count):
            fill(log, round_number * 3, round_number * 3 + 3)
            for number in range(round_number * 3, round_number * 3 + 3):
                cursors.append(next(follower).cursor)
                expected.append(number)
            if round_number < count - 1:
                rotate(path)
    for number, cursor in enumerate(cursors):
        assert rest(path, cursor) == expected[number + 1 :]


@pytest.mark.parametrize("seed", range(6))
def test_restarts_at_random_points_with_rotations_in_between_leave_no_gap(
    path: str, seed: int
) -> None:
    """Records, rotations of every kind that keeps its files.

    Followers that begin again where the last one was.
    """
    chance = random.Random(seed)
    log = AppendLog(path, durability="os")
    got: list[int] = []
    cursor = "beginning"
    count = 0
    ways: list[Callable[[], object]] = (
        [AppendLog(path).rotate] if seed % 2 else [lambda: shift(path), lambda: shift(path, ".gz")]
    )
    for _ in range(60):
        fill(log, count, count + (new := chance.randrange(5)))
        count += new
        if got and chance.random() < 0.5 and os.path.exists(path):
            chance.choice(ways)()
        if chance.random() < 0.4 and count > len(got):
            with Follower(path, cursor, notify=False) as follower:
                got += take(follower, chance.randint(1, count - len(got)))
                cursor = follower.cursor or ""
    assert got + rest(path, cursor) == list(range(count))


@NOTIFIED
def test_writers_and_rotations_all_the_while_leave_a_follower_exact(
    path: str, wait: Waiting, notify: bool
) -> None:
    """A thread appends, another one renames as logrotate does.

    The follower is begun anew again and again.
    """
    log = AppendLog(path, durability="os")
    count = 3000
    writer = threading.Thread(target=fill, args=(log, 0, count))
    is_over = threading.Event()

    def rotate() -> None:
        while not is_over.wait(0.005):
            if os.path.exists(path):
                shift(path)

    rotator = threading.Thread(target=rotate)
    writer.start()
    with Follower(path, "beginning", notify=notify, poll_seconds=0.01) as follower:
        got = take(follower, 1)
        # Else the first file may be rotated away before, and what it held is none of the beginning.
        start = follower.cursor or ""
    rotator.start()
    try:
        while len(got) < count:
            with Follower(path, start, notify=notify, poll_seconds=0.01) as follower:
                got += take(follower, min(97, count - len(got)))
                start = follower.cursor or ""
    finally:
        is_over.set()
        writer.join(SECONDS)
        rotator.join(SECONDS)
    assert got == list(range(count))


def test_a_writer_that_still_holds_the_renamed_file_is_waited_for(
    path: str, log: AppendLog, wait: Waiting
) -> None:
    """It took the lock before the rename.

    What it writes to the old file comes before the new file.
    """
    fill(log, 0, 1)
    with Listening(path, "beginning", notify=False, poll_seconds=0.01) as listening:
        wait.until(lambda: listening.records() == [0])
        with held(path) as fd:
            shift(path)
            fill(log, 2, 3)
            wait.until(lambda: listening.follower._tail.has_writer)
            assert listening.records() == [0]
            os.pwrite(fd, b'{"n":1}\n', os.fstat(fd).st_size)
        wait.until(lambda: listening.records() == [0, 1, 2])


def test_a_line_that_comes_between_the_last_look_and_the_rename_is_not_missed(
    path: str, log: AppendLog
) -> None:
    """The old file is read once more when it has lost its name and its lock is free."""
    fill(log, 0, 1)
    rotations = iter([1])
    real = LogFile.has_name

    def has_name(file: LogFile, name: str) -> bool:
        for number in rotations:
            fill(log, number, number + 1)
            shift(path)
            fill(log, number + 1, number + 2)
        return real(file, name)

    with (
        Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower,
        mock.patch.object(LogFile, "has_name", has_name),
    ):
        assert take(follower, 3) == [0, 1, 2]


def test_a_late_write_to_the_old_file_does_not_make_it_the_newest(
    path: str, log: AppendLog
) -> None:
    """The names say which file came next.

    The times would have the follower pass over one.
    """
    fill(log, 0, 1)
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 1) == [0]
        for number in range(1, 3):
            shift(path)
            fill(log, number, number + 1)
        os.utime(f"{path}.2")
        assert take(follower, 2) == [1, 2]


def test_half_a_line_in_a_file_that_is_renamed_is_given_up_with_its_writer(
    path: str, log: AppendLog, wait: Waiting
) -> None:
    """Its writer was killed: nobody will end it."""
    fill(log, 0, 1)
    with open(path, "ab") as file:
        file.write(b'{"n":')
    with Listening(path, "beginning", poll_seconds=0.01) as listening:
        shift(path)
        fill(log, 1, 2)
        wait.until(lambda: listening.records() == [0, 1])


@NOTIFIED
def test_a_file_that_is_removed_and_made_again_is_followed(
    path: str, log: AppendLog, wait: Waiting, notify: bool
) -> None:
    """What was in the removed file is read to its end, for it is open."""
    with Listening(path, notify=notify, poll_seconds=0.01) as listening:
        for number in range(5):
            fill(log, number * 2, number * 2 + 1)
            wait.until(lambda: len(listening.followed) == number * 2 + 1)  # noqa: B023 - asked within the round
            fill(log, number * 2 + 1, number * 2 + 2)
            os.unlink(path)
        fill(log, 10, 11)
        wait.until(lambda: len(listening.followed) == 11)
    assert listening.records() == list(range(11))


def test_old_rotated_files_are_not_followed_anew_when_the_file_is_removed(
    path: str, log: AppendLog, wait: Waiting
) -> None:
    """The removed file is not among them; what was written before it is not behind it."""
    fill(log, 0, 1)
    shift(path)
    fill(log, 1, 2)
    shift(path, ".gz")
    fill(log, 2, 3)
    with Listening(path, "beginning", notify=False, poll_seconds=0.01) as listening:
        wait.until(lambda: listening.records() == [2])
        os.unlink(path)
        fill(log, 3, 4)
        wait.until(lambda: listening.records() == [2, 3])


def test_a_compressed_file_is_unpacked_once_while_nothing_comes(path: str, log: AppendLog) -> None:
    """However often the follower looks."""
    fill(log, 0, 2)
    with Follower(path, "beginning", notify=False) as follower:
        assert take(follower, 2) == [0, 1]
        shift(path, ".gz")
        sleeps: list[object] = []

        def sleep(*_: object) -> None:
            sleeps.append(_)
            if len(sleeps) == 9:
                follower.close()

        with (
            mock.patch.object(FileWatcher, "sleep", sleep),
            mock.patch.object(log_file, "_unpack", wraps=log_file._unpack) as unpack,
        ):
            assert follower.take(1) == []
        assert unpack.call_count == 1


@pytest.mark.parametrize(
    ("failing", "code"),
    [
        ("tempfile.TemporaryFile", errno.ENOENT),
        ("tempfile.TemporaryFile", errno.ENOSPC),
        ("shutil.copyfileobj", errno.ENOSPC),
    ],
)
def test_a_compressed_file_that_there_is_no_room_to_unpack_is_an_error(
    path: str, log: AppendLog, failing: str, code: int
) -> None:
    """And nothing stays open."""
    fill(log, 0, 2)
    with Follower(path, "beginning") as follower:
        cursor = next(follower).cursor
    shift(path, ".gz")
    count = len(os.listdir("/proc/self/fd"))
    with (
        mock.patch(
            failing, side_effect=[OSError(code, os.strerror(code))]
        ),  # once: it is not tried again
        pytest.raises(OSError, match="TMPDIR" if code == errno.ENOENT else os.strerror(code)),
    ):
        Follower(path, cursor)
    assert len(os.listdir("/proc/self/fd")) == count
    assert rest(path, cursor) == [1]


def test_a_file_that_came_and_was_rotated_before_the_first_look_is_not_missed(
    path: str, log: AppendLog
) -> None:
    """There was none when following began; what had been rotated away before then is not given."""
    fill(log, 0, 1)
    shift(path)
    with Follower(path, "end", notify=False) as follower:
        fill(log, 1, 2)
        shift(path)
        fill(log, 2, 3)
        shift(path, ".gz")
        fill(log, 3, 4)
        assert take(follower, 3) == [1, 2, 3]


def seal(log: AppendLog, path: str, *, are_packed: bool) -> None:
    """Seal what there is.

    With another segment behind it, if it is to be compressed, for the newest stays as it is.
    """
    log.rotate()
    if are_packed:
        log.append({"n": 99})
        log.rotate()
        clean_segments(path, Rotation(compress="gzip"))


PACKED = pytest.mark.parametrize("are_packed", [False, True], ids=["plain", "compressed"])


@PACKED
@pytest.mark.parametrize("count", [2, 3])
def test_a_file_that_was_removed_is_not_taken_for_the_one_that_was_sealed_in_its_place(
    path: str, log: AppendLog, count: int, are_packed: bool
) -> None:
    """Though it may be just as long."""
    fill(log, 0, 2)
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 2) == [0, 1]
        os.unlink(path)
        for number in range(2, 2 + count):
            log.append({"n": number, "text": "x" * (number % 2)})
        seal(log, path, are_packed=are_packed)
        assert take(follower, count) == list(range(2, 2 + count))


@PACKED
def test_a_file_that_is_sealed_when_it_was_read_is_not_read_again(
    path: str, log: AppendLog, are_packed: bool
) -> None:
    """Before the follower looks for it by its name."""
    fill(log, 0, 2)
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 2) == [0, 1]
        seal(log, path, are_packed=are_packed)
        fill(log, 2, 3)
        assert take(follower, 1 + are_packed)[-1] == 2


@PACKED
@pytest.mark.parametrize("is_behind", [False, True], ids=["at its end", "with more behind it"])
def test_a_cursor_does_not_go_on_in_another_file_that_was_sealed_in_place_of_its_own(
    path: str, log: AppendLog, are_packed: bool, is_behind: bool
) -> None:
    """Where a line with the same last record ends at the same place of it."""
    log.append({"n": 0})
    log.append({"beat": 1})
    with Follower(path, "beginning") as follower:
        cursor = [next(follower).cursor for _ in range(2)][-1]
    os.rename(path, f"{path}.old")  # so that its number is not given out again
    log.append({"n": 1})
    log.append({"beat": 1})
    if is_behind:
        log.append({"n": 2})
    seal(log, path, are_packed=are_packed)
    log.append({"n": 3})
    with pytest.raises(CursorGoneError):
        Follower(path, cursor)


def test_what_others_rotated_away_before_the_log_was_sealed_is_not_followed(
    path: str, log: AppendLog
) -> None:
    """And what they rotate away behind a segment comes between that and the active file."""
    fill(log, 0, 1)
    shift(path)
    fill(log, 1, 2)
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        for number in range(2, 4):
            log.rotate()
            fill(log, number, number + 1)
        log.rotate()
        fill(log, 4, 5)
        shift(path)
        fill(log, 5, 6)
        assert take(follower, 5) == [1, 2, 3, 4, 5]


def test_a_segment_that_cannot_be_unpacked_is_an_error_and_not_left_open(
    path: str, log: AppendLog
) -> None:
    """For every cursor that is looked for in it."""
    fill(log, 0, 1)
    with Follower(path, "beginning") as follower:
        cursor = next(follower).cursor
    seal(log, path, are_packed=True)
    (packed,) = (
        entry.path for entry in os.scandir(os.path.dirname(path)) if entry.name.endswith(".gz")
    )
    os.truncate(packed, 30)
    count = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CorruptSegmentError):
        Follower(path, cursor)
    assert len(os.listdir("/proc/self/fd")) == count


def remake_with_same_inode(path: str, data: bytes) -> bool:
    """Remove a file and write another one until it has the number of the first.

    Whether that came about.
    """
    inode = os.stat(path).st_ino
    os.unlink(path)
    others = []
    for number in range(200):
        with open(path, "wb") as file:
            file.write(data)
        if os.stat(path).st_ino == inode:
            return True
        others.append(f"{path}-other-{number}")
        os.rename(path, others[-1])
    return False


def test_a_file_with_the_same_inode_and_the_same_lines_is_another_file(
    path: str, log: AppendLog
) -> None:
    """Its generation tells them apart; without one, what stands in front of the cursor does."""
    fill(log, 0, 3)
    with Follower(path, "beginning") as follower:
        cursors = [next(follower).cursor for _ in range(3)]
    with open(path, "rb") as file:
        data = file.read()
        has_generation = fs_calls.generation_of(file.fileno()) != 0
    if not has_generation or not remake_with_same_inode(path, data):
        pytest.skip("this file system gives no number out again at once, or has no generations")
    for cursor in cursors:
        with pytest.raises(CursorGoneError):
            Follower(path, cursor)


def test_equal_first_lines_do_not_make_a_file_the_same(path: str, log: AppendLog) -> None:
    """Two files that begin alike: each cursor goes on in its own."""
    cursors = []
    for number in range(3):
        log.append({"n": 0})
        with Follower(path, "beginning") as follower:
            cursors.append(next(follower).cursor)
        fill(log, 10 * number + 1, 10 * number + 3)
        shift(path)
    assert [rest(path, cursor)[:2] for cursor in cursors] == [[1, 2], [11, 12], [21, 22]]


def test_a_compressed_file_that_could_be_one_of_several_is_not_guessed(
    path: str, log: AppendLog
) -> None:
    """Both hold the same in front of the cursor, and compression has given both another inode."""
    log.append({"n": 0})
    with Follower(path, "beginning") as follower:
        cursor = next(follower).cursor
    log.append({"n": 1})
    shift(path)
    log.append({"n": 0})
    shift(path)
    compress(f"{path}.1")
    compress(f"{path}.2")
    with pytest.raises(CursorGoneError, match="several"):
        Follower(path, cursor)


def test_a_cursor_whose_file_is_gone_says_how_to_go_on(path: str, log: AppendLog) -> None:
    """Its own error, which keeps the cursor; nothing stays open; both ways that it names work."""
    fill(log, 0, 2)
    with Follower(path, "beginning") as follower:
        cursor = next(follower).cursor
    os.unlink(path)
    fill(log, 5, 6)
    count = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CursorGoneError, match=r'start="beginning".*start="end"') as caught:
        log.follow(cursor)
    assert (caught.value.path, caught.value.cursor) == (path, cursor)
    assert len(os.listdir("/proc/self/fd")) == count
    assert rest(path, "beginning") == [5]
    assert rest(path, "end") == []


def test_a_cut_file_without_a_copy_is_followed_from_its_beginning_and_logged(
    path: str, log: AppendLog, wait: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy went elsewhere: what may be lost is logged; a stored cursor is gone."""
    fill(log, 0, 3)
    with Listening(path, "beginning", notify=False, poll_seconds=0.01) as listening:
        wait.until(lambda: len(listening.followed) == 3)
        os.truncate(path, 0)
        fill(log, 3, 5)
        wait.until(lambda: listening.records() == [0, 1, 2, 3, 4])
    assert "was cut to nothing in place" in caplog.text
    with pytest.raises(CursorGoneError):
        Follower(path, listening.followed[1].cursor)


def test_a_cut_file_is_read_on_in_its_copy(path: str, log: AppendLog) -> None:
    """What was written behind its position, and copied before the cut, is not lost."""
    fill(log, 0, 6)
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 2) == [0, 1]
        follower._tail.reader.forget()  # as if it had not read ahead
        cut(path)
        fill(log, 6, 7)
        cursor = follower.cursor
        assert take(follower, 5) == [2, 3, 4, 5, 6]
    assert cursor is not None
    assert rest(path, cursor) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("numbers", [[99], [99, 4], [99, 4, 99], [99, 4, 99, 5]], ids=repr)
def test_a_cut_file_is_read_on_in_its_copy_though_it_begins_with_the_same_lines(
    path: str, log: AppendLog, numbers: list[int]
) -> None:
    """And though the line that was passed last stands in its place, too.

    It does not look as if lines were taken back.
    """
    for number in (99, 1, 99):
        log.append({"n": number})
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 3) == [99, 1, 99]
        for number in (2, 3):
            log.append({"n": number})
        cut(path)
        for number in numbers:
            log.append({"n": number})
        assert take(follower, 2 + len(numbers)) == [2, 3, *numbers]


def test_lines_that_are_taken_back_are_not_looked_for_in_an_older_copy(
    path: str, log: AppendLog
) -> None:
    """Which begins with the same lines, but was made before they were written."""
    for number in range(2):
        log.append({"n": number})
    shutil.copy(path, f"{path}.1")
    with open(f"{path}.1", "ab") as copy:
        copy.write(b'{"n":7}\n')
    written = os.stat(path)
    os.utime(f"{path}.1", ns=(written.st_atime_ns, written.st_mtime_ns - 10**10))
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 2) == [0, 1]
        os.truncate(path, len(b'{"n":0}\n'))
        log.append({"n": 2})
        assert take(follower, 1) == [2]


@pytest.mark.parametrize("is_sealed", [False, True], ids=["active", "sealed"])
def test_a_cursor_is_found_in_the_copy_though_the_same_record_ends_at_its_place_of_the_cut_file(
    path: str, log: AppendLog, is_sealed: bool
) -> None:
    """Logs repeat themselves: the bytes in front of it tell which one it is."""
    for number in range(8):
        if number == 5:
            cut(path)
        log.append({"n": number})
        log.append({"n": 99})
        if number == 0:
            with Follower(path, "beginning") as follower:
                cursor = [next(follower).cursor for _ in range(2)][-1]
    if is_sealed:
        log.rotate()
    assert [number for number in rest(path, cursor) if number < 99] == [1, 2, 3, 4, 5, 6, 7]


def test_a_cursor_is_found_in_the_copy_though_a_repair_left_spaces_at_its_place_of_the_cut_file(
    path: str, log: AppendLog
) -> None:
    """They could be what is left of its record."""
    fill(log, 0, 5)
    with Follower(path, "beginning") as follower:
        cursor = [next(follower).cursor for _ in range(5)][-1]
    cut(path)
    fill(log, 5, 8)
    with open(path, "ab") as file:
        file.write(b"o" * 60 + b"\n")
    fill(log, 8, 9)
    repair(path)
    assert rest(path, cursor) == [5, 6, 7, 8]


def test_a_copy_that_was_made_before_a_repair_is_not_read_in_place_of_the_file(
    path: str, log: AppendLog
) -> None:
    """It has the bytes of the cursor, and the file has not any more; but nothing was cut."""
    fill(log, 0, 1)
    with open(path, "ab") as file:
        file.write(b'{"a": 1}{"b": 2}\noops\n')
    fill(log, 1, 3)
    with Follower(path, "beginning", on_error="skip") as follower:
        cursor = [next(follower).cursor for _ in range(2)][-1]
    shutil.copy(path, f"{path}.1")
    repair(path)
    fill(log, 3, 4)
    assert rest(path, cursor) == [2, 3]


@pytest.mark.parametrize("has_generation", [True, False], ids=["generations", "none"])
@pytest.mark.parametrize("steps", [0, 1, 2], ids=["active", "sealed", "compressed"])
def test_a_cursor_of_before_a_repair_holds_wherever_the_file_is(
    path: str, log: AppendLog, steps: int, has_generation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compression gives the file another inode, and some file systems have no generations.

    Its position and the spaces say which it is.
    """
    if not has_generation:
        monkeypatch.setattr(fs_calls, "generation_of", lambda _: 0)
    with open(path, "ab") as file:
        file.write(b'{"n":0}\noops\n{"n":1}\n{"n":2}\n')
    with Follower(path, "beginning", on_error="skip") as follower:
        cursor = [next(follower).cursor for _ in range(2)][-1]
    repair(path)
    if steps:
        seal(log, path, are_packed=steps == 2)
    fill(log, 3, 4)
    assert [number for number in rest(path, cursor) if number < 99] == [2, 3]


def test_a_follower_goes_through_sealed_and_compressed_segments(path: str) -> None:
    """From the beginning of the stream, and from each cursor, whatever was compressed since."""
    log = AppendLog(path, rotation=Rotation(max_bytes=200, compress="gzip"))
    with Follower(path, "beginning", notify=False) as follower:
        fill(log, 0, 60)
        followed = [next(follower) for _ in range(60)]
    log.close()
    assert [one.record["n"] for one in followed] == list(range(60))
    assert any(name.endswith(".gz") for name in os.listdir(os.path.dirname(path)))
    assert rest(path, "beginning") == list(range(60))
    for number in range(0, 60, 7):
        assert rest(path, followed[number].cursor) == list(range(number + 1, 60))


def test_segments_that_were_deleted_before_they_were_read_are_an_error(path: str) -> None:
    """A live follower raises; a stored cursor is gone.

    One that is registered keeps its segments.
    """
    log = AppendLog(path)
    fill(log, 0, 2)
    with Follower(path, "beginning", notify=False) as follower:
        first = next(follower).cursor
        follower._tail.reader.forget()
        segments = []
        for number in range(2, 8, 2):
            segments.append(log.rotate() or "")
            fill(log, number, number + 2)
        os.unlink(segments[0])
        os.unlink(segments[1])
        assert take(follower, 1) == [1]  # the file is open
        with pytest.raises(CursorGoneError, match="deleted before they were read"):
            next(follower)
    with pytest.raises(CursorGoneError):
        Follower(path, first)


def test_a_cursor_at_the_end_of_a_deleted_segment_has_missed_nothing(
    path: str, log: AppendLog
) -> None:
    """The next segment begins where it stands."""
    fill(log, 0, 2)
    with Follower(path, "beginning") as follower:
        take(follower, 2)
        cursor = follower.cursor
    assert cursor is not None
    segment = log.rotate()
    fill(log, 2, 4)
    log.rotate()
    fill(log, 4, 5)
    assert segment is not None
    os.unlink(segment)
    assert rest(path, cursor) == [2, 3, 4]


def test_retention_leaves_what_a_stored_cursor_needs(tmp_path: Path) -> None:
    """Until it is dropped."""
    path = str(tmp_path / "events.ndjson")
    log = AppendLog(path, rotation=Rotation(max_bytes=100, keep_segments=1))
    fill(log, 0, 3)
    with Follower(path, "beginning") as follower:
        cursor = next(follower).cursor
    log.save_cursor("overseer", cursor)
    fill(log, 3, 60)
    log.close()
    assert rest(path, log.load_cursor("overseer") or "") == list(range(1, 60))
    log = AppendLog(path, rotation=Rotation(max_bytes=100, keep_segments=1))
    log.drop_cursor("overseer")
    fill(log, 60, 80)
    log.close()
    with pytest.raises(CursorGoneError):
        Follower(path, cursor)
