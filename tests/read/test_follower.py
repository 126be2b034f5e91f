"""Following one file: where it starts, what it waits for, what wakes and what ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from followers import NOTIFY, SECONDS, Listening, put, rest, take

from metrics_appender import (
    AppendLog,
    CorruptLineError,
    InvalidRecordError,
    MetricsAppender,
    SkippedLines,
    repair,
)
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.watch import FileWatcher
from metrics_appender.read.follower import Follower
from metrics_appender.segment.source import PlainFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Waiting

NOTIFIED = pytest.mark.parametrize(
    "notify", NOTIFY, ids=lambda notify: "notified" if notify else "polling"
)


@NOTIFIED
def test_a_record_comes_when_it_is_appended(
    path: str, log: AppendLog, wait: Waiting, notify: bool
) -> None:
    """Those from before are not given, those from now on are, each once and in order."""
    log.append({"n": 0})
    with Listening(path, notify=notify) as listening:
        for number in range(1, 20):
            log.append({"n": number})
            wait.until(lambda: len(listening.followed) == number)  # noqa: B023 - asked within the round
        assert listening.records() == list(range(1, 20))


@NOTIFIED
def test_a_file_that_is_not_there_yet_is_followed_from_its_first_line(
    path: str, log: AppendLog, wait: Waiting, notify: bool
) -> None:
    """Wherever following starts."""
    with (
        Listening(path, "end", notify=notify) as first,
        Listening(path, "beginning", notify=notify) as second,
    ):
        log.append({"n": 0})
        wait.until(lambda: first.records() == second.records() == [0])


def test_a_directory_that_is_not_there_yet_is_waited_for(tmp_path: Path, wait: Waiting) -> None:
    """The kernel cannot watch it, so the follower looks."""
    path = tmp_path / "later" / "events.ndjson"
    with Listening(str(path), poll_seconds=0.01) as listening:
        path.parent.mkdir()
        AppendLog(path).append({"n": 0})
        wait.until(lambda: listening.records() == [0])


@NOTIFIED
def test_half_a_line_is_not_there_yet(path: str, wait: Waiting, notify: bool) -> None:
    """It is given once, when its newline has come; it may have begun before the follower."""
    put(path, b'{"n":0}\n{"n"')
    with Listening(path, "end", notify=notify) as listening:
        put(path, b":1")
        put(path, b"}\n" + b'{"n":2}\n{"n')
        wait.until(lambda: listening.records() == [1, 2])
        put(path, b'":3}\n')
        wait.until(lambda: listening.records() == [1, 2, 3])


def test_a_first_line_that_is_half_there_is_followed_from_its_beginning(
    path: str, log: AppendLog
) -> None:
    """Whether it is ended after the follower began, or cut away because its writer died."""
    put(path, b'{"n"')
    with Follower(path, "end") as one, Follower(path, "end") as other:
        put(path, b":0}\n")
        assert take(one, 1) == [0]
        os.truncate(path, 4)
        log.append({"n": 1})
        assert take(other, 1) == [1]


def test_a_follower_may_begin_some_lines_in_front_of_the_end(path: str, log: AppendLog) -> None:
    """They may stand in several segments."""
    for number in range(9):
        log.append({"n": number})
        if number in {1, 5}:
            log.rotate()
    for count in range(12):
        assert rest(path, "end", last=count) == list(range(max(0, 9 - count), 9))


def test_a_log_is_followed_through_a_link(
    tmp_path: Path, path: str, log: AppendLog, wait: Waiting
) -> None:
    """As it is read through one."""
    link = tmp_path / "link"
    link.symlink_to(path)
    with Listening(str(link), "beginning", poll_seconds=0.01) as listening:
        log.append({"n": 0})
        wait.until(lambda: listening.records() == [0])
        log.append({"n": 1})
        wait.until(lambda: listening.records() == [0, 1])


def test_a_line_longer_than_a_block_is_given_whole(path: str, log: AppendLog) -> None:
    """Two megabytes between short lines."""
    log.append({"n": 0})
    log.append({"n": 1, "text": "x" * (1 << 21)})
    log.append({"n": 2})
    with Follower(path, "beginning") as follower:
        assert take(follower, 3) == [0, 1, 2]


def test_every_cursor_goes_on_behind_its_record(path: str, log: AppendLog) -> None:
    """Also before the record that is 4096 and more bytes into the file, and from a plain text."""
    for number in range(30):
        log.append({"n": number, "text": "x" * (number * 40)})
    with Follower(path, "beginning") as follower:
        if follower.cursor is not None:  # where files have generations
            assert rest(path, follower.cursor) == list(range(30))
        for number in range(30):
            followed = next(follower)
            assert followed.record["n"] == number
            assert follower.cursor == followed.cursor
            assert len(followed.cursor) < 100
            assert rest(path, followed.cursor) == list(range(number + 1, 30))


def test_the_cursor_of_the_end_goes_on_there(path: str, log: AppendLog) -> None:
    """Though no record has been given yet."""
    log.append({"n": 0})
    with Follower(path, "end") as follower:
        cursor = follower.cursor
    log.append({"n": 1})
    assert cursor is not None
    assert rest(path, cursor) == [1]


@NOTIFIED
def test_stop_ends_a_follower_that_waits(path: str, log: AppendLog, notify: bool) -> None:
    """A `threading.Event` that is set by another thread, and what is open is closed."""
    log.append({"n": 0})
    stop = threading.Event()
    with Listening(path, stop=stop, notify=notify) as listening:
        stop.set()
        listening.thread.join(SECONDS)
        assert not listening.thread.is_alive()
        with pytest.raises(StopIteration):
            next(listening.follower)
    assert not open_files(path)


@NOTIFIED
def test_close_ends_a_follower_that_waits_in_another_thread(
    path: str, log: AppendLog, notify: bool
) -> None:
    """With a `poll_seconds` that is far too long: it is woken."""
    log.append({"n": 0})
    listening = Listening(path, notify=notify, poll_seconds=2 * SECONDS)
    listening.end()
    listening.end()
    assert not open_files(path)
    with pytest.raises(StopIteration):
        next(listening.follower)


class _LockWithGuest:
    """A lock, and a function that another thread calls once, just before the release."""

    def __init__(self, lock: Any, guest: Callable[[], object]) -> None:
        self.acquire, self.release = lock.acquire, lock.release
        self._guests = [guest]

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        while self._guests:
            thread = threading.Thread(target=self._guests.pop())
            thread.start()
            thread.join(SECONDS)
        self.release()


def test_a_follower_that_is_closed_while_a_thread_leaves_it_keeps_nothing_open(
    path: str, log: AppendLog
) -> None:
    """The thread inside has only the mutex left to release when the other one closes."""
    log.append({"n": 0})
    follower = Follower(path, "beginning")
    with mock.patch.object(follower, "_mutex", _LockWithGuest(follower._mutex, follower.close)):
        assert take(follower, 1) == [0]
    assert not open_files(path)


def test_a_forgotten_follower_leaves_nothing_open(path: str, log: AppendLog) -> None:
    """As a generator would not."""
    log.append({"n": 0})
    Follower(path).close()  # what is imported first may keep a descriptor
    count = len(os.listdir("/proc/self/fd"))
    follower = Follower(path, "beginning")
    assert next(follower).record == {"n": 0}
    assert len(os.listdir("/proc/self/fd")) > count
    del follower
    assert len(os.listdir("/proc/self/fd")) == count


def test_a_follower_is_loaded_with_the_log_and_not_with_the_package() -> None:
    """Where no descriptor is left, `follow` fails for the log's file and not for a module's."""
    program = """
import sys, metrics_appender
before = "metrics_appender.read.follower" in sys.modules
metrics_appender.AppendLog("any.ndjson")
print(before, "metrics_appender.read.follower" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout == b"False True\n"


def open_files(path: str) -> list[str]:
    """Return which of this process's descriptors lead to a file of the log."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.lexists(link) and os.readlink(link).startswith(path)]


def test_a_corrupt_line_is_raised_once_and_the_next_record_can_be_asked_for(path: str) -> None:
    """With its line number and offset; the follower lives."""
    put(path, b'{"n":0}\nbad\n{"n":1}\n')
    with Follower(path, "beginning") as follower:
        assert take(follower, 1) == [0]
        with pytest.raises(CorruptLineError) as caught:
            next(follower)
        assert (caught.value.path, caught.value.line_number, caught.value.byte_offset) == (
            path,
            2,
            8,
        )
        assert take(follower, 1) == [1]


def test_records_in_front_of_a_corrupt_line_are_given_first(path: str) -> None:
    """Also where a corrupt line stood at the same offset of the file before."""
    lines = b'{"n":0}\n{"n":1}\nbad\n{"n":2}\n'
    put(path, lines)
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        for _ in range(2):
            assert [followed.record["n"] for followed in follower.take(9)] == [0, 1]
            with pytest.raises(CorruptLineError):
                follower.take(9)
            assert [followed.record["n"] for followed in follower.take(9)] == [2]
            os.rename(path, path + ".1")
            put(path, lines)


def test_a_line_that_is_read_while_it_is_written_anew_is_read_again(
    path: str, log: AppendLog
) -> None:
    """A read may meet a line being taken back and another one taking its place."""
    log.append({"n": 0})
    log.append({"n": 1})
    blocks = iter([b'{"n":0}\n{"n":\0\0\n'])
    real = PlainFile.read_at

    def read_at(file: PlainFile, length: int, offset: int) -> bytes:
        block = real(file, length, offset)
        return next(blocks, block) if length > 1000 and block else block

    with (
        Follower(path, "beginning", notify=False) as follower,
        mock.patch.object(PlainFile, "read_at", read_at),
    ):
        assert take(follower, 2) == [0, 1]


@pytest.mark.parametrize("most", [1, 512])
@pytest.mark.parametrize(
    "on_error", ["raise", "skip", SkippedLines()], ids=["raised", "skipped", "collected"]
)
def test_what_is_read_to_follow_past_damage_grows_with_the_file_alone(
    path: str, on_error: Any, most: int
) -> None:
    """A corrupt line is read twice.

    Never with it what is around it, though each has its number.
    """
    put(
        path,
        b"".join(b'{"n":%d,"text":"%s"}\nbad\n' % (number, b"x" * 1000) for number in range(600))
        + b"bad\n" * 600,
    )
    put(path, b'{"n":"end"}\n')
    real, lengths, errors, given = (
        fs_calls.read_at,
        list[int](),
        list[CorruptLineError](),
        list[Any](),
    )

    def read_at(fd: int, length: int, offset: int) -> bytes:
        data = real(fd, length, offset)
        lengths.append(len(data))
        return data

    with (
        Follower(path, "beginning", on_error=on_error, notify=False) as follower,
        mock.patch.object(fs_calls, "read_at", read_at),
    ):
        while given[-1:] != ["end"]:
            try:
                given += [followed.record["n"] for followed in follower.take(most)]
            except CorruptLineError as error:
                errors.append(error)
    assert given == [*range(600), "end"]
    assert sum(lengths) < 2 * os.path.getsize(path)
    if on_error == "raise":
        assert [error.line_number for error in errors] == [*range(2, 1200, 2), *range(1200, 1801)]


def test_lines_are_numbered_anew_where_some_were_taken_back(path: str) -> None:
    """The number of a corrupt line is that in its file as it is.

    As it was where that was cut to nothing.
    """
    states = [
        b'{"n":0}\n{"n":1}\nbad\n',
        b'{"n":0}\n{"n":2}\n{"n":3}\n{"n":4}\nbad\n',
        b'bad\n{"n":5}\n',
    ]
    numbers = []
    put(path, states[0])
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        for state in states:
            Path(path).write_bytes(state)
            with pytest.raises(CorruptLineError) as caught:
                take(follower, 9)
            numbers.append(caught.value.line_number)
        assert take(follower, 1) == [5]
    assert numbers == [3, 5, 1]


def test_corrupt_lines_can_be_skipped_and_counted(path: str) -> None:
    """A line of spaces is none of them: a repair leaves it."""
    put(path, b'{"n":0}\nbad\n   \n\n{"n":1}\r\n')
    skipped = SkippedLines()
    assert rest(path, "beginning", on_error=skipped) == [0, 1]
    assert skipped.count == 2
    assert skipped.first is not None
    assert skipped.first.line_number == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("start", value)
            for value in ("", "middle", 0, None, "1.0.0.0.0", "2.0.5.1.1.00000000.0000000000000000")
        ),
        *(("poll_seconds", value) for value in (0, -1, float("nan"), float("inf"), True, "1")),
        ("on_error", "ignore"),
    ],
)
def test_a_wrong_argument_is_named(path: str, log: AppendLog, name: str, value: Any) -> None:
    """And nothing stays open."""
    log.append({"n": 0})
    count = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidRecordError, match=name):
        log.follow(**{name: value})
    assert len(os.listdir("/proc/self/fd")) == count


def test_both_faces_follow_and_keep_cursors_by_name(tmp_path: Path) -> None:
    """The typed face with the file's name first."""
    metrics = MetricsAppender(tmp_path)
    name = "s_performance.json"
    metrics.append_performance_metric("s", "run-1", 1, "a")
    with metrics.follow(name, "beginning") as follower:
        record, cursor = next(follower)
    assert record["execution_id"] == "run-1"
    metrics.save_cursor(name, "overseer", cursor)
    log = AppendLog(tmp_path / name)
    assert log.load_cursor("overseer") == cursor
    assert metrics.cursors(name) == log.cursors() == {"overseer": cursor}
    metrics.append_performance_metric("s", "run-2", 1, "a")
    with log.follow(metrics.load_cursor(name, "overseer") or "") as follower:
        assert next(follower).record["execution_id"] == "run-2"
    metrics.drop_cursor(name, "overseer")
    assert log.cursors() == {}


@NOTIFIED
def test_a_line_that_is_taken_back_and_written_again_is_given_once(
    path: str, wait: Waiting, notify: bool
) -> None:
    """A writer whose sync failed cuts its lines off.

    The next one writes the same again, and then another one in their place.
    """
    put(path, b'{"n":0}\n{"n":1}\n{"n":2}\n')
    with Listening(path, "beginning", notify=notify) as listening:
        wait.until(lambda: listening.records() == [0, 1, 2])
        os.truncate(path, 8)
        put(path, b'{"n":1}\n')
        put(path, b'{"n":3}\n{"n":4}\n')
        wait.until(lambda: listening.records() == [0, 1, 2, 3, 4])
        os.truncate(path, 8)
        put(path, b'{"n":5}\n')
        wait.until(lambda: listening.records() == [0, 1, 2, 3, 4, 5])
    assert rest(path, listening.followed[-1].cursor) == []
    assert rest(path, listening.followed[0].cursor) == [5]


@pytest.mark.parametrize("length", [0, 1, 100, 1 << 16, 1 << 18])
def test_a_longer_line_may_come_in_place_of_one_that_is_taken_back(
    path: str, log: AppendLog, length: int
) -> None:
    """It is waited for until it is whole, however long it is."""
    put(path, b'{"n":0}\n{"n":1}\n')
    with Follower(path, "beginning", notify=False, poll_seconds=0.01) as follower:
        assert take(follower, 2) == [0, 1]
        os.truncate(path, 8)
        put(path, b'{"n":2,"text":"' + b"x" * length)
        assert follower._tail.read() is False
        put(path, b'"}\n{"n":3}\n')
        assert take(follower, 2) == [2, 3]
        os.truncate(path, 0)
        put(path, b'{"n":4,"text":"' + b"x" * length + b'"}\n')
        assert take(follower, 1) == [4]


def follow_while(path: str, *states: bytes) -> list[int]:
    """Follow from the beginning, and return the numbers.

    The file takes one state after the other whenever the follower sleeps.
    """
    steps = iter(states[1:])

    def sleep(*_: Any) -> None:
        state = next(steps, None)
        if state is None:
            follower.close()
        else:
            Path(path).write_bytes(state)

    Path(path).write_bytes(states[0])
    with (
        Follower(path, "beginning", notify=False) as follower,
        mock.patch.object(FileWatcher, "sleep", sleep),
    ):
        return [followed.record["n"] for followed in follower]


def test_a_line_that_a_repair_is_overwriting_is_waited_for(path: str) -> None:
    """It is marked for a moment, then blank."""
    marked, blank = b'{"n":0}\n\x18"n":1}\n{"n":2}\n', b'{"n":0}\n        {"n":2}\n'
    assert follow_while(path, marked, marked, marked, blank) == [0, 2]


@pytest.mark.parametrize("numbers", [(0,), (0, 3), (1, 3), (0, 1, 2, 3), (2,)], ids=repr)
def test_a_repair_of_what_was_given_already_gives_nothing_twice(
    path: str, numbers: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever lines it quarantines, the first, the last or all.

    Whenever the follower looks.
    """
    lines = [b'{"n":%d}\n' % number for number in range(4)]
    marked = [
        b"\x18" + line[1:] if number in numbers else line for number, line in enumerate(lines)
    ]
    blank = [
        b" " * 7 + (b"\n" if number == 3 else b" ") if number in numbers else line
        for number, line in enumerate(lines)
    ]
    states = [b"".join(state) for state in (lines, marked, blank, [*blank, b'{"n":4}\n'])]
    assert follow_while(path, *states) == [0, 1, 2, 3, 4]
    assert caplog.text == ""


@pytest.mark.parametrize(
    "glued", [b'{"a": 1}{"b": 2}\n', b'{"a":1} {"b":2}\n', b'{"a":1}{"b":2}\n']
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_repair_that_splits_a_line_that_was_passed_gives_nothing_twice(
    path: str, log: AppendLog, glued: bytes, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its objects were glued, and one of them may move to the end of the log."""
    lines = [b'{"n":%d}\n' % number for number in range(3)]
    put(path, b"".join([*lines[:place], glued, *lines[place:]]))
    with Follower(path, "beginning", on_error=SkippedLines(), notify=False) as follower:
        assert take(follower, 3) == [0, 1, 2]
        repair(path)
        log.append({"n": 3})
        with mock.patch.object(FileWatcher, "sleep", side_effect=lambda *_: follower.close()):
            assert [followed.record["n"] for followed in follower if "n" in followed.record] == [3]
    assert caplog.text == ""


def test_a_cursor_behind_a_record_that_a_repair_puts_aside_still_holds(tmp_path: Path) -> None:
    """In a sealed segment, which is known by its start.

    The same event twice, of which the second goes.
    """
    metrics = MetricsAppender(tmp_path)
    name = "s_promotion_log.json"
    for _ in range(2):
        metrics.append_promotion_event("s", "a", "b", "who", "T-1", "", {})
    log = AppendLog(tmp_path / name)
    log.append_line((tmp_path / name).read_bytes().splitlines(keepends=True)[0])
    metrics.append_promotion_event("s", "b", "c", "who", "T-2", "", {})
    log.rotate()
    with log.follow("beginning") as follower:
        cursors = [next(follower).cursor for _ in range(3)]
    assert [change.action for change in repair(tmp_path / name).changes] == ["put_aside"]
    with log.follow(cursors[-1]) as follower:
        assert next(follower).record["to_state"] == "c"


@pytest.mark.parametrize("place", [0, 1, 289, 292])
def test_a_follower_that_lives_over_a_repair_has_the_cursors_of_one_that_begins_there(
    path: str, log: AppendLog, place: int
) -> None:
    """What the repair changes may stand far behind it, at the beginning of the file.

    Which its cursors cover too.
    """
    lines = [b'{"n":%d,"text":"%s"}\n' % (number, b"x" * 60) for number in range(300)]
    put(path, b"".join([*lines[:place], b"oops\n", *lines[place:]]))
    with Follower(path, "beginning", on_error=SkippedLines(), notify=False) as follower:
        assert take(follower, 300) == list(range(300))
        repair(path)
        for number in range(300, 303):
            log.append({"n": number})
        cursors = [next(follower).cursor for _ in range(3)]
    with Follower(path, "beginning") as follower:
        assert [next(follower).cursor for _ in range(303)][300:] == cursors


def test_a_repair_in_place_disturbs_no_follower_and_no_cursor(path: str, wait: Waiting) -> None:
    """A bad line is blanked, its newline too; the lines around it stay where they are."""
    put(path, b'bad\n{"n":0}\nworse\n{"n":1}\n')
    with Listening(
        path, "beginning", on_error="skip", notify=False, poll_seconds=0.01
    ) as listening:
        wait.until(lambda: listening.records() == [0, 1])
        with open(path, "r+b") as file:
            file.write(b'    {"n":0}\n      {"n":1}\n')
        put(path, b'{"n":2}\n')
        wait.until(lambda: listening.records() == [0, 1, 2])
        cursors = [followed.cursor for followed in listening.followed]
    assert [rest(path, cursor) for cursor in cursors] == [[1, 2], [2], []]
