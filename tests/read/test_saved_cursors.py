"""Cursors by name: stored whole or not at all, listed, dropped."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from metrics_appender import AppendLog, InvalidRecordError, Rotation
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.lock import FileLock
from metrics_appender.read.saved_cursors import first_unread
from metrics_appender.segment.cleaner import clean_segments
from metrics_appender.segment.segments import list_segments

CURSOR = "1.{}.8.ab.cd.0123abcd.0123456789abcdef"


def test_a_cursor_is_stored_replaced_listed_and_dropped(log: AppendLog, path: str) -> None:
    """By another log of the same file too; nothing else is left in the directory."""
    other = AppendLog(path)
    assert log.load_cursor("a") is None
    assert log.cursors() == {}
    assert first_unread(path) is None
    log.save_cursor("b", CURSOR.format(9))
    log.save_cursor("a", CURSOR.format(7))
    log.save_cursor("a", CURSOR.format(5))
    assert other.load_cursor("a") == CURSOR.format(5)
    assert list(other.cursors().items()) == [("a", CURSOR.format(5)), ("b", CURSOR.format(9))]
    assert first_unread(path) == 5
    other.drop_cursor("a")
    other.drop_cursor("a")
    assert log.cursors() == {"b": CURSOR.format(9)}
    assert os.listdir(os.path.dirname(path)) == ["events.ndjson.b.cursor"]


@pytest.mark.parametrize("name", ["", ".", "a.b", "a/b", "a\0", "x" * 65, "é" * 33, 5, None])
def test_a_name_that_no_file_can_have_is_refused(log: AppendLog, name: Any) -> None:
    """By every verb, before anything is opened."""
    with pytest.raises(InvalidRecordError, match="name"):
        log.save_cursor(name, CURSOR.format(0))
    for verb in (log.load_cursor, log.drop_cursor):
        with pytest.raises(InvalidRecordError, match="name"):
            verb(name)


def test_what_is_no_cursor_is_not_stored(log: AppendLog, path: str) -> None:
    """The one before stays."""
    log.save_cursor("a", CURSOR.format(1))
    with pytest.raises(InvalidRecordError, match="cursor"):
        log.save_cursor("a", "end")
    assert log.load_cursor("a") == CURSOR.format(1)


@pytest.mark.parametrize("call", ["cut_back", "write", "sync_file", "rename"])
def test_when_the_disk_fails_the_cursor_before_stays(log: AppendLog, call: str) -> None:
    """And the next one is stored as if nothing had been."""
    log.save_cursor("a", CURSOR.format(1))
    with (
        mock.patch.object(fs_calls, call, side_effect=OSError(errno.EIO, os.strerror(errno.EIO))),
        pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught,
    ):
        log.save_cursor("a", CURSOR.format(2))
    assert "may be the one before" in caught.value.__notes__[0]
    assert log.load_cursor("a") == CURSOR.format(1)
    log.save_cursor("a", CURSOR.format(3))
    assert log.load_cursor("a") == CURSOR.format(3)


def test_a_cursor_is_synced_before_it_has_its_name(log: AppendLog) -> None:
    """And the directory behind it: a power cut leaves the old one or the new one."""
    calls = mock.Mock()
    with contextlib.ExitStack() as patches:
        for name in ("sync_file", "rename", "sync_directory"):
            calls.attach_mock(
                patches.enter_context(
                    mock.patch.object(fs_calls, name, wraps=getattr(fs_calls, name))
                ),
                name,
            )
        log.save_cursor("a", CURSOR.format(1))
    assert [call[0] for call in calls.mock_calls] == ["sync_file", "rename", "sync_directory"]


def test_many_who_store_under_one_name_leave_one_whole_cursor(log: AppendLog) -> None:
    """Each a cursor of its own."""
    threads = [
        threading.Thread(target=log.save_cursor, args=("a", CURSOR.format(number)))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.load_cursor("a") in {CURSOR.format(number) for number in range(20)}


@pytest.mark.parametrize("kind", ["empty", "a directory"])
def test_a_stored_cursor_that_cannot_be_read_keeps_the_segments_and_not_the_upkeep(
    path: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is deleted, for it may need the very first.

    They are compressed, and the cursor is named.
    """
    log = AppendLog(path, durability="os")
    for _ in range(3):
        log.append({})
        log.rotate()
    stored = Path(path + ".billing.cursor")
    if kind == "empty":
        stored.touch()
    else:
        stored.mkdir()
    clean_segments(path, Rotation(keep_segments=1, compress="gzip"), first_unread)
    assert [segment.compression for segment in list_segments(path)] == ["gzip", "gzip", None]
    assert "billing" in caplog.text


def test_storing_in_a_signal_handler_in_the_middle_of_storing_is_refused(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same name it could only wait for its own thread; under another one it goes well."""
    log.append({"n": 0})
    with log.follow("beginning", notify=False) as records:
        cursor = next(records).cursor
    real = fs_calls.sync_file
    errors: list[OSError] = []

    def sync(fd: int) -> None:
        monkeypatch.undo()
        log.save_cursor("another", cursor)
        try:
            log.save_cursor("name", cursor)
        except OSError as error:
            errors.append(error)
        real(fd)

    monkeypatch.setattr(fs_calls, "sync_file", sync)
    log.save_cursor("name", cursor)
    assert [error.errno for error in errors] == [errno.EDEADLK]
    assert set(log.cursors()) == {"another", "name"}
    log.save_cursor("name", cursor)


def test_an_exception_at_the_entry_of_the_release_leaves_no_file_open(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python looks for signals when a function is entered.

    The next call does not wait for it.
    """
    log.append({"n": 0})
    with log.follow("beginning", notify=False) as records:
        cursor = next(records).cursor
    before = len(os.listdir("/proc/self/fd"))

    def interrupted(_: FileLock) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(FileLock, "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.save_cursor("name", cursor)
    assert len(os.listdir("/proc/self/fd")) == before
    log.save_cursor("name", cursor)
