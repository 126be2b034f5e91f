"""Repair: what is wrong goes to `.torn`, and what is valid keeps its position."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import deep_in_the_stack
from damage import SUFFIX, event
from filelock import FileLock

from metrics_appender import AppendLog, InvalidRecordError, LockTimeoutError, check, repair
from metrics_appender.fs.filename import maintenance_lock_path, sealed_path, torn_path
from metrics_appender.read.repair_mark import MARK
from metrics_appender.repair import apply, repair_log
from metrics_appender.segment.blocks import ENDINGS, codec_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

GOOD = [b'{"n":%d,"text":"some \\" text"}' % number for number in range(4)]


def read(path: str) -> bytes:
    """Return a file's bytes, none if it is not there."""
    return Path(path).read_bytes() if os.path.exists(path) else b""


def write(path: str, *lines: bytes) -> None:
    """Replace a file by these lines, each ended by a newline."""
    Path(path).write_bytes(b"".join(line + b"\n" for line in lines))


def actions(path: str, **options: Any) -> list[str]:
    """Repair, and return the action on each fault."""
    return [change.action for change in repair(path, **options).changes]


BAD = {
    "text": b"oops",
    "an empty line": b"",
    "half a record": b'{"n":1,"te',
    "half a record and a whole one": b'{"n":1,"te{"n":2}',
    "an array": b"[1]",
    "NULs": b"\0" * 5000,
    "NULs and a record": b"\0" * 700 + b'{"n":1}',
    "a mark": MARK,
    "a tab": b"\t",
    "half a character": b'{"n":"\xe6\x8a"}',
    "megabytes": b"x" * (3 << 20),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_bad_line_is_quarantined_and_no_other_moves(path: str, bad: bytes, index: int) -> None:
    """Write, break, repair, append more, read all; the bad line is first, in the middle or last."""
    lines = [*GOOD[:index], bad, *GOOD[index:]]
    write(path, *lines)
    before = read(path)
    assert actions(path) == ["put_aside"]
    after = read(path)
    assert read(torn_path(path)) == bad + b"\n"
    assert len(after) == len(before)
    assert all(after.index(line) == before.index(line) for line in GOOD)
    assert [line.strip() for line in after.splitlines()] == GOOD
    assert after.endswith(b"\n")
    assert actions(path) == []
    assert check(path).is_clean
    AppendLog(path).append({"n": "after"})
    assert AppendLog(path).read() == [*map(json.loads, GOOD), {"n": "after"}]
    assert AppendLog(path).read(2) == [json.loads(GOOD[-1]), {"n": "after"}]


def test_bad_lines_in_a_row_become_white_space_of_one_line(path: str) -> None:
    """Of the next line, or of the previous one at the end of the file."""
    write(path, b"one", b"two", GOOD[0], b"", b"three", GOOD[1], b"four", b"five")
    assert actions(path) == ["put_aside"] * 6
    assert read(path) == b" " * 8 + GOOD[0] + b"\n" + b" " * 7 + GOOD[1] + b" " * 10 + b"\n"
    assert read(torn_path(path)) == b"one\ntwo\n\nthree\nfour\nfive\n"


def test_a_file_of_bad_lines_only_becomes_empty(path: str) -> None:
    """It can be truncated, as it holds no line that would move."""
    write(path, b"one", b"two")
    assert actions(path) == ["put_aside"] * 2
    assert read(path) == b""
    assert read(torn_path(path)) == b"one\ntwo\n"
    AppendLog(path).append({})
    assert read(path) == b"{}\n"


def test_a_torn_tail_is_cut_off_as_by_an_append(path: str) -> None:
    """Its bytes are in `.torn`, and those of a bad line before it too."""
    write(path, GOOD[0], b"bad")
    with open(path, "ab") as file:
        file.write(b'{"torn')
    assert actions(path) == ["put_aside", "cut"]
    assert read(path) == GOOD[0] + b"    \n"
    assert read(torn_path(path)) == b'{"tornbad\n'
    assert actions(path) == []


GLUED = {
    "white space between": (b'{"a":1} {"b":2}', b'{"a":1}\n{"b":2}', b""),
    "a tab between": (b'{"a":1}\t{"b":2}', b'{"a":1}\n{"b":2}', b""),
    "white space in the first": (b'{"a": 1, "b": 2}{"c":3}', b'{"a": 1, "b":2}\n{"c":3}', b""),
    "white space in the second": (b'{"a":1}{"b": 2}', b'{"a":1}\n{"b":2}', b""),
    "white space in texts only": (b'{"a b":"\\" c"}{"d": 1}', b'{"a b":"\\" c"}\n{"d":1}', b""),
    "three, one byte each": (b'{"a": 1}{"b": 2}{"c": 3}', b'{"a":1}\n{"b":2}\n{"c": 3}', b""),
    "no byte to spare": (b'{"a":1}{"b":2}{"c":3}', b'{"a":1}              ', b'{"b":2}\n{"c":3}\n'),
}


@pytest.mark.parametrize(("glued", "split", "moved"), GLUED.values(), ids=GLUED.keys())
def test_glued_objects_get_lines_of_their_own(
    path: str, glued: bytes, split: bytes, moved: bytes
) -> None:
    """In place where a byte is to spare, else at the end of the log; no other line moves."""
    write(path, GOOD[0], glued, GOOD[1])
    assert actions(path) == ["moved" if moved else "split"]
    assert read(path) == GOOD[0] + b"\n" + split + b"\n" + GOOD[1] + b"\n" + moved
    is_flipped_only = all(
        new in {old, ord("\n")} for old, new in zip(glued, split.ljust(len(glued)), strict=True)
    )
    assert read(torn_path(path)) == (b"" if is_flipped_only else glued + b"\n")
    assert actions(path) == []
    assert check(path).is_clean


def test_a_deep_line_is_never_moved(path: str) -> None:
    """However deeply it is nested, however deep the caller's stack is; glued ones are split."""
    deep = b'{"a":' * 3000 + b"{}" + b"}" * 3000
    write(path, GOOD[0], deep, b'{"a":' * 300 + b"{}" + b"}" * 300, b"bad", deep + b" " + deep)
    before = read(path)
    assert deep_in_the_stack(sys.getrecursionlimit() - 300, lambda: actions(path)) == [
        "put_aside",
        "split",
    ]
    assert read(torn_path(path)) == b"bad\n"
    assert read(path) == before.replace(b"bad\n", b"    ").replace(b"} {", b"}\n{")
    assert check(path).is_clean


# What is left, and what is moved


def test_kinds_to_keep_are_left_and_reported(tmp_path: Path) -> None:
    """Records that every reader can read may stay, also those within a glued line."""
    path = str(tmp_path / f"s{SUFFIX}")
    odd = b'{"some": "record"}'
    write(path, event(1), odd, event(1), b"bad", odd + event(2))
    assert actions(path, keep={"schema", "duplicate_id"}) == ["left", "left", "put_aside", "split"]
    assert [line.strip() for line in read(path).splitlines()] == [
        event(1),
        odd,
        event(1),
        odd.replace(b": ", b":"),
        event(2),
    ]
    assert repair(path, keep={"schema", "duplicate_id"}).exit_status == 1
    assert actions(path) == ["put_aside"] * 3
    assert [line.strip() for line in read(path).splitlines()] == [event(1), event(2)]


@pytest.mark.parametrize("keep", [["torn_tail"], ["any"], "schema", [1]], ids=repr)
def test_a_kind_that_cannot_be_kept_is_refused(path: str, keep: Any) -> None:
    """The next append cuts a torn tail off in any case."""
    write(path, b"bad")
    with pytest.raises(InvalidRecordError, match="keep: got"):
        repair(path, keep=keep)
    assert read(path) == b"bad\n"


def test_a_dry_run_reports_all_and_changes_nothing(path: str) -> None:
    """No byte and no time of the file, and no new file appears."""
    write(path, GOOD[0], b"bad", b"{}{}")
    before = os.stat(path)
    report = repair(path, dry_run=True)
    assert [change.action for change in report.changes] == ["put_aside", "moved"]
    assert report.exit_status == 1
    assert json.loads(json.dumps(report.as_dict()))["changes"][0]["fault"]["line_number"] == 2
    after = os.stat(path)
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ino,
    )
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    assert repair(path).exit_status == 0


def test_a_clean_log_is_not_touched(
    path: str, hold: Callable[[str], AbstractContextManager[int]]
) -> None:
    """Its lock is not taken either."""
    write(path, *GOOD)
    with hold(path):
        assert actions(path, lock_timeout=0) == []
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_every_log_of_a_directory_is_repaired(tmp_path: Path) -> None:
    """Each has its own `.torn`."""
    for name in ("a.ndjson", "b.ndjson"):
        write(str(tmp_path / name), b"bad " + name.encode(), b"{}")
    assert actions(str(tmp_path)) == ["put_aside"] * 2
    assert read(str(tmp_path / "b.ndjson.torn")) == b"bad b.ndjson\n"
    with pytest.raises(FileNotFoundError):
        repair(tmp_path / "none")


def test_a_log_that_cannot_be_repaired_is_reported_and_the_others_are_repaired(
    tmp_path: Path, hold: Callable[[str], AbstractContextManager[int]]
) -> None:
    """The exit status is 2, and the report also has the changes to the logs before and after it."""
    a, b, c, d = (str(tmp_path / f"{letter}.ndjson") for letter in "abcd")
    for path in (a, b, c):
        write(path, b"bad", b"{}")
    os.mkdir(torn_path(c))
    os.mkfifo(d)
    with hold(b):
        report = repair(tmp_path, lock_timeout=0.05)
    assert [(change.fault.path, change.action) for change in report.changes] == [(a, "put_aside")]
    assert report.exit_status == 2
    assert [failure.path for failure in report.errors] == [b, c, d]
    late, refused, pipe = (failure.reason for failure in report.errors)
    assert late.startswith("no lock within 0.05 s")
    assert late.count("nothing was written") == 1
    reason = "Is a directory (every byte is in the file or in its .torn; repair again)"
    assert refused == f"{torn_path(c)}: {reason}"
    assert str(report.errors[2]) == f"{d}: {pipe}" == f"{d}: not a regular file"
    assert [read(path) for path in (a, b, c)] == [b"    {}\n", b"bad\n{}\n", b"bad\n{}\n"]
    os.rmdir(torn_path(c))
    os.unlink(d)
    report = repair(tmp_path)
    assert (
        report.errors,
        report.exit_status,
        [change.fault.path for change in report.changes],
    ) == ((), 0, [b, c])


# Locks


def test_the_lock_of_a_writer_is_waited_for_until_the_timeout(
    path: str, hold: Callable[[str], AbstractContextManager[int]]
) -> None:
    """After a timeout nothing was changed."""
    write(path, b"bad", b"{}")
    with hold(path), pytest.raises(LockTimeoutError, match="nothing was written"):
        repair(path, lock_timeout=0.05)
    assert read(path) == b"bad\n{}\n"
    assert not os.path.exists(torn_path(path))
    assert actions(path, lock_timeout=None) == ["put_aside"]


def test_other_maintenance_is_waited_for_too(path: str) -> None:
    """The cleaner must not compress a half-repaired segment."""
    write(path, b"bad", b"{}")
    with FileLock(maintenance_lock_path(path)), pytest.raises(LockTimeoutError) as caught:
        repair(path, lock_timeout=0.05)
    assert caught.value.filename == maintenance_lock_path(path)
    assert read(path) == b"bad\n{}\n"


def before_the_lock(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Make a change to the log once, after it was scanned and before it is locked."""
    real = repair_log._maintenance_lock
    changes = iter([change])

    def maintenance_of(path: str, lock_timeout: float | None) -> Any:
        next(changes, lambda: None)()
        return real(path, lock_timeout)

    monkeypatch.setattr(repair_log, "_maintenance_lock", maintenance_of)


def test_what_is_added_before_the_lock_is_repaired_too(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines scanned before are only compared; those added since are scanned."""
    write(path, b"bad", GOOD[0])

    def add() -> None:
        AppendLog(path).append_line(GOOD[1] + b"\n")
        with open(path, "ab") as file:
            file.write(b"worse\n{}{}\n{torn")

    before_the_lock(monkeypatch, add)
    report = repair(path)
    assert [(change.fault.line_number, change.action) for change in report.changes] == [
        (1, "put_aside"),
        (4, "put_aside"),
        (5, "moved"),
        (6, "cut"),
    ]
    assert AppendLog(path).read() == [*map(json.loads, GOOD[:2]), {}, {}]


@pytest.mark.parametrize("way", ["rotated", "repaired", "replaced", "removed", "changed"])
def test_a_log_that_changes_before_the_lock_is_scanned_again(
    path: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Rotated, repaired by another process, replaced, removed, or overwritten."""
    write(path, b"bad", GOOD[0], b"worse")
    size = os.path.getsize(path)

    def change() -> None:
        if way == "rotated":
            os.rename(path, sealed_path(path, 0, size))
            write(path, b"another")
        elif way == "repaired":
            repair(path)
        elif way == "replaced":
            os.rename(path, path + ".1")
            write(path, GOOD[1], b"bad")
        elif way == "removed":
            os.unlink(path)
        else:
            write(path, GOOD[2])

    before_the_lock(monkeypatch, change)
    if way == "removed":
        assert repair(path).changes == ()
        return
    repair(path)
    assert check(path).is_clean
    assert len(AppendLog(path).read()) == 1
    expected = {"changed": b"", "replaced": b"bad\n", "rotated": b"another\nbad\nworse\n"}
    assert read(torn_path(path)) == expected.get(way, b"bad\nworse\n")


# Sealed segments


def seal(path: str, *lines: bytes, tail: bytes = b"") -> str:
    """Make a sealed segment, and return its path."""
    data = b"".join(line + b"\n" for line in lines) + tail
    sealed = sealed_path(path, 0, len(data))
    Path(sealed).write_bytes(data)
    return sealed


def test_a_sealed_segment_is_repaired_and_keeps_its_length_and_its_age(path: str) -> None:
    """Bad lines go to the log's `.torn`; objects that do not fit go to the end of the log."""
    sealed = seal(path, b"bad", GOOD[0], b"{}{}", GOOD[1], b"last", tail=b"torn")
    os.utime(sealed, (1000, 2000))
    size = os.path.getsize(sealed)
    write(path, GOOD[2])
    assert actions(path) == ["put_aside", "moved", "put_aside", "put_aside"]
    assert (os.path.getsize(sealed), os.stat(sealed).st_mtime) == (size, 2000)
    assert read(sealed).endswith(b"\n")
    assert [line.strip() for line in read(sealed).splitlines()] == [GOOD[0], b"{}", GOOD[1]]
    assert AppendLog(path).read() == [json.loads(GOOD[0]), {}, *map(json.loads, GOOD[1:3]), {}]
    assert read(torn_path(path)).startswith(b"bad\n{}{}\nlast\ntorn")
    assert check(path).is_clean
    assert actions(path) == []


def test_a_sealed_segment_of_bad_lines_only_becomes_blank(path: str) -> None:
    """It is not truncated: its name says its length. There need be no active file."""
    sealed = seal(path, b"bad", b"worse")
    assert actions(path) == ["put_aside"] * 2
    assert read(sealed) == b" " * 9 + b"\n"
    assert AppendLog(path).read() == []
    assert check(path).is_clean


def test_objects_from_a_segment_are_kept_where_every_line_of_the_file_is_bad(path: str) -> None:
    """The active file is truncated before the objects are appended to it, not after."""
    seal(path, b'{"a":1}{"b":2}{"c":3}')
    write(path, b"bad", b"worse")
    with open(path, "ab") as file:
        file.write(b"torn")
    assert actions(path) == ["moved", "put_aside", "put_aside", "cut"]
    assert read(path) == b'{"b":2}\n{"c":3}\n'
    assert AppendLog(path).read() == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert sorted(read(torn_path(path)).split(b"\n")) == sorted(
        [b"bad", b"worse", b'torn{"a":1}{"b":2}{"c":3}', b""]
    )
    assert check(path).is_clean


def test_a_segment_of_one_empty_line_is_left_and_reported(path: str) -> None:
    """Its byte cannot become white space of another line, and is not copied to `.torn`."""
    sealed = seal(path, b"")
    assert actions(path) == ["left"]
    assert repair(path).exit_status == 1
    assert read(sealed) == b"\n"
    assert not os.path.exists(torn_path(path))
    write(path, b"")
    assert actions(path) == ["left", "put_aside"]
    assert read(path) == b""


def test_a_compressed_segment_is_left_and_reported(path: str) -> None:
    """The other files are repaired, and so is the segment once it is uncompressed."""
    sealed = seal(path, b"bad", GOOD[0])
    packed = sealed + ENDINGS["gzip"]
    Path(packed).write_bytes(codec_of("gzip").pack(read(sealed)))
    before = read(packed)
    os.unlink(sealed)
    write(path, b"bad", GOOD[1])
    report = repair(path)
    assert [change.action for change in report.changes] == ["left", "put_aside"]
    assert "gunzip" in report.changes[0].detail
    assert report.exit_status == 1
    assert read(packed) == before
    os.unlink(packed)
    seal(path, b"bad", GOOD[0])
    assert actions(path) == ["put_aside"]
    assert check(path).is_clean


def test_long_lines_are_blanked_in_pieces(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the pieces."""
    monkeypatch.setattr(apply, "_BLANK_BYTES", 3)
    monkeypatch.setattr(apply, "_BLANK", b"   ")
    for length in range(1, 12):
        write(path, b"x" * length, b"{}")
        assert actions(path) == ["put_aside"]
        assert read(path) == b" " * (length + 1) + b"{}\n"


def test_the_ids_of_glued_events_are_remembered(tmp_path: Path) -> None:
    """The same event further down is the duplicate, whatever block it is in."""
    path = str(tmp_path / f"s{SUFFIX}")
    write(path, event(1) + b" " + event(2), *map(event, range(10, 1500)), event(2))
    assert actions(path) == ["split", "put_aside"]
    assert check(path).is_clean
