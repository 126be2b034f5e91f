"""The command `rotate`, and reading the segments that it sealed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import invoke, on_terminal

from metrics_appender import AppendLog
from metrics_appender.fs.filename import sealed_path
from metrics_appender.segment.segments import list_segments


def fill(path: str, count: int) -> None:
    """Rotate so many times after a line each, and leave one line in the file."""
    for number in range(count):
        AppendLog(path).append({"n": number})
        assert invoke("rotate", path).exit_code == 0
    AppendLog(path).append({"n": count})


def test_rotate_seals_the_file_and_names_the_segment(path: str) -> None:
    """A file without a line is left as it is, also if the log has segments."""
    AppendLog(path).append({"n": 1})
    assert invoke("rotate", path).stdout == f"{sealed_path(path, 0, 8)}\n"
    assert invoke("rotate", path).stdout == f"{path}: no line to seal\n"
    Path(path).touch()
    done = invoke("rotate", path)
    assert (done.exit_code, done.stdout) == (0, f"{path}: no line to seal\n")


def test_rotate_of_a_missing_file_is_a_failure(path: str) -> None:
    """A mistyped name in a crontab is noticed, and no file is made."""
    done = invoke("rotate", path, "--keep-segments", "3")
    assert (done.exit_code, done.stdout, done.stderr) == (
        1,
        "",
        f"metrics-appender: {path}: no such file\n",
    )
    assert os.listdir(os.path.dirname(path)) == []


def test_rotate_refuses_what_is_no_regular_file(path: str) -> None:
    """The message for a pipe is another than that for an empty file."""
    os.mkfifo(path)
    done = invoke("rotate", path)
    assert (done.exit_code, done.stderr) == (
        1,
        f"metrics-appender: {path}: not a regular file (nothing was written)\n",
    )


def test_rotate_compresses_and_deletes_what_the_options_say(path: str) -> None:
    """In the foreground: all is done when the command ends."""
    fill(path, 4)
    assert invoke("rotate", path, "--keep-segments", "3", "--compress", "gzip").exit_code == 0
    assert [segment.compression for segment in list_segments(path)] == ["gzip", "gzip", None]
    for segment in list_segments(path):
        os.utime(segment.path, (1, 1))
    assert invoke("rotate", path, "--keep-age", "1.5d").exit_code == 0
    assert len(list_segments(path)) == 1


@pytest.mark.parametrize("arguments", [("--keep-segments", "1"), ("--keep-age", "1d")])
def test_rotate_leaves_what_a_named_cursor_has_still_to_read(
    path: str, arguments: tuple[str, str]
) -> None:
    """From the cursor's segment on; once the cursor is dropped, nothing is kept for it."""
    fill(path, 4)
    log = AppendLog(path)
    with log.follow("beginning") as follower:
        cursor = [next(follower).cursor for _ in range(2)][-1]
    log.save_cursor("overseer", cursor)
    for segment in list_segments(path):
        os.utime(segment.path, (1, 1))
    assert invoke("rotate", path, *arguments).exit_code == 0
    assert [segment.start for segment in list_segments(path)] == [8, 16, 24, 32]
    with log.follow(cursor) as follower:
        assert [next(follower).record["n"] for _ in range(3)] == [2, 3, 4]
    log.drop_cursor("overseer")
    assert invoke("rotate", path, *arguments).exit_code == 0
    assert [segment.start for segment in list_segments(path)] == [32]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--keep-age", "soon"), "no length of time"),
        (("--compress", "bz2"), "not one of gzip, zstd"),
        (("--keep-segments", "0"), "greater than or equal to 1"),
    ],
)
def test_invalid_options_are_refused(path: str, arguments: tuple[str, str], complaint: str) -> None:
    """Before anything is sealed."""
    AppendLog(path).append({})
    done = invoke("rotate", path, *arguments)
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert list_segments(path) == []


def test_cleaning_that_another_process_does_is_left_to_it(path: str) -> None:
    """The file is sealed all the same."""
    from filelock import FileLock

    from metrics_appender.fs.filename import maintenance_lock_path

    fill(path, 1)
    with FileLock(maintenance_lock_path(path)):
        done = invoke("rotate", path, "--compress", "gzip")
    assert done.exit_code == 1
    assert "another process" in done.stderr
    assert len(list_segments(path)) == 2


def test_read_reads_through_segments_also_without_an_active_file(path: str) -> None:
    """In a pipe and on a terminal."""
    fill(path, 2)
    assert invoke("read", path).stdout == '{"n":0}\n{"n":1}\n{"n":2}\n'
    assert invoke("read", path, "-n", "2").stdout == '{"n":1}\n{"n":2}\n'
    os.unlink(path)
    assert invoke("read", path).stdout == '{"n":0}\n{"n":1}\n'
    assert "1" in on_terminal("read", path)
    assert invoke("read", path + ".none").exit_code == 2


def test_read_may_skip_corrupt_lines_and_says_how_many(path: str) -> None:
    """It says where the first one is, and shows the other records."""
    Path(path).write_text('{"n":0}\nbad\nworse\n{"n":1}\n', encoding="utf-8")
    assert invoke("read", path).exit_code == 1
    done = invoke("read", path, "--skip-corrupt")
    assert (done.exit_code, done.stdout) == (0, '{"n":0}\n{"n":1}\n')
    assert "2 corrupt lines skipped, the first: " in done.stderr
    assert "line 2 (byte 8)" in done.stderr
