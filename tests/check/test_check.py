"""Check: every kind of fault is found at its exact position, in all files of a log."""

from __future__ import annotations

import json
import os
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import deep_in_the_stack
from damage import SUFFIX, event

from metrics_appender import AppendLog, MetricsAppender, check
from metrics_appender.check.classify import find_objects
from metrics_appender.check.report import MOST_FAULTS
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs.filename import sealed_path
from metrics_appender.read.lines import is_blank
from metrics_appender.segment.blocks import ENDINGS, codec_of
from metrics_appender.segment.segments import list_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from metrics_appender.segment.blocks import Compression

COMPRESSIONS: tuple[Compression | None, ...] = ("gzip", "zstd", None)
SKILL = "YouTube Live Chat"


def write(path: str | Path, *lines: bytes, tail: bytes = b"") -> None:
    """Replace a file by these lines, each ended by a newline, and a tail without one."""
    Path(path).write_bytes(b"".join(line + b"\n" for line in lines) + tail)


def faults_of(path: str | Path) -> list[tuple[str, int, int, int]]:
    """Return each fault's kind, line number, byte offset and length."""
    return [
        (fault.kind, fault.line_number, fault.byte_offset, fault.length)
        for fault in check(path).faults
    ]


def performance(**fields: Any) -> bytes:
    """Return the line of a performance metric with these fields changed (`...` leaves one out)."""
    record = {
        **dict.fromkeys(["execution_id", "timestamp_iso", "skill_name", "agent"], "text"),
        "timestamp": 1.5,
        "execution_time_ms": 1,
        "exception_occurred": False,
        "exception_type": None,
        "memory_usage_mb": 0.5,
        "metric_type": "performance",
        **fields,
    }
    return json.dumps({name: value for name, value in record.items() if value is not ...}).encode()


NO_OBJECTS = [
    b"",
    b"\t",
    b"oops",
    b"[]",
    b"null",
    b"5",
    b"{",
    b'{"a":1',
    b'{"a":NaN}',
    b"{'a':1}",
    b'{"a":"\xff"}',
    b"\r",
    b"{}x",
    b"{},{}",
    b"{}[]",
    b"[]{}",
    b'{"a":1}{"b":',
    b"#",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a":01}',
]


@pytest.mark.parametrize("line", NO_OBJECTS, ids=lambda line: repr(line[:12]))
def test_a_line_that_is_no_object_is_reported_with_its_position(path: str, line: bytes) -> None:
    """Line numbers count from 1, byte offsets from 0, and the length is in bytes."""
    write(path, b'{"n":1}', b"{}", line, b'{"n":2}')
    assert faults_of(path) == [("no_object", 3, 11, len(line))]
    (file,) = check(path).files
    assert (file.lines, file.records) == (4, {"other": 3})


def test_a_deep_line_is_no_fault(tmp_path: Path) -> None:
    """However deeply it is nested, in any file, and however deep the caller's own stack is."""
    deep = b'{"a":' * 3000 + b"{}" + b"}" * 3000
    write(tmp_path / "any.ndjson", deep, b'{"a":' * 300 + b"{}" + b"}" * 300)
    write(tmp_path / f"{SKILL}_performance.json", performance()[:-1] + b',"more":' + deep + b"}")
    write(tmp_path / f"{SKILL}{SUFFIX}", event(1, "here").replace(b'{"b":"here"}', deep))
    assert faults_of(tmp_path) == []
    assert deep_in_the_stack(sys.getrecursionlimit() - 300, lambda: faults_of(tmp_path)) == []


@pytest.mark.parametrize(
    "line", [b"\0", b"\0" * 5000 + b'{"n":1}', b'{"n":1}\0', b'{"n":"\0"}'], ids=repr
)
def test_a_run_of_nuls_is_reported_as_such(path: str, line: bytes) -> None:
    """Wherever in the line it is."""
    write(path, b"{}", line, b"{}")
    assert faults_of(path) == [("nul_run", 2, 3, len(line))]
    assert f"{line.count(0)} NUL bytes" in check(path).faults[0].reason


@pytest.mark.parametrize(
    "line",
    [b'{"n":1}{"n":2}', b'{"a":"}{"} \t{}\r{}', '{"ü":"漢"}{"字":1}'.encode(), b" {} {} "],
    ids=repr,
)
def test_glued_objects_are_reported_as_such(path: str, line: bytes) -> None:
    """Whole objects, with or without white space between them."""
    write(path, b"{}", line)
    assert faults_of(path) == [("glued", 2, 3, len(line))]
    spans = find_objects(line)
    assert all(json.loads(line[span.start : span.end]) is not None for span in spans)


SCHEMA = {
    "a field is missing": (performance(agent=...), "agent"),
    "a field is of another type": (performance(agent=5), "agent"),
    "a count is negative": (performance(execution_time_ms=-1), "execution_time_ms"),
    "the marker is missing": (performance(metric_type=...), "metric_type"),
    "the marker is another": (performance(metric_type="outcome"), "metric_type"),
    "the time is beyond every calendar": (performance(timestamp=1e300), "timestamp"),
    "a record of another file": (event(1), "execution_id"),
}


@pytest.mark.parametrize(("line", "field"), SCHEMA.values(), ids=SCHEMA.keys())
def test_a_record_that_breaks_its_schema_is_reported_with_the_field(
    tmp_path: Path, line: bytes, field: str
) -> None:
    """In a file whose suffix says which records it holds."""
    write(tmp_path / "s_performance.json", performance(), line, performance())
    assert faults_of(tmp_path) == [("schema", 2, len(performance()) + 1, len(line))]
    reason = check(tmp_path).faults[0].reason
    assert f"`{field}`" in reason or f"$.{field}" in reason


def test_unknown_fields_are_accepted_but_have_to_be_json(tmp_path: Path) -> None:
    """A later version of the library may have written them."""
    more = performance(cost={"eur": [1, 2.5]})
    write(
        tmp_path / "s_performance.json",
        more,
        more.replace(b"eur", b"\xff"),
        more.replace(b"2.5", b'"\\ud800"'),
    )
    assert faults_of(tmp_path) == [("no_object", 2, len(more) + 1, len(more) - 2)]


def test_every_record_that_the_library_writes_is_valid(tmp_path: Path) -> None:
    """All five kinds, with `None` in every field that may be `None`."""
    metrics = MetricsAppender(tmp_path)
    for number in range(2):
        metrics.append_performance_metric(SKILL, "e", 1, "a", timestamp=number + 1)
        metrics.append_outcome_metric(
            SKILL, "e", "d", None, False, 1, "r", "a", timestamp=number + 1
        )
        metrics.append_fidelity_metric(SKILL, "e", 0, 1, 0, {"p": True}, "a", timestamp=number + 1)
        metrics.append_promotion_event(
            SKILL, "f", "t", "p", "k", "r", {"a": [None, {"b": 1e300}]}, timestamp=number + 1
        )
        metrics.append_rollback_event(SKILL, "f", "t", "r", "m", timestamp=number + 1)
    report = check(tmp_path)
    assert report.is_clean
    assert [(Path(file.path).name.removeprefix(SKILL), file.records) for file in report.files] == [
        ("_fidelity.json", {"fidelity": 2}),
        ("_outcomes.json", {"outcome": 2}),
        ("_performance.json", {"performance": 2}),
        ("_promotion_log.json", {"promotion": 2, "rollback": 2}),
    ]
    assert {(file.first_time, file.last_time) for file in report.files} == {(1.0, 2.0)}


def test_the_second_event_with_an_id_is_a_fault(tmp_path: Path) -> None:
    """Also where the first is far before it, in the same block or not, or among glued objects."""
    many = [event(number) for number in range(2000)]
    glued = event(3000) + event(3001)
    write(tmp_path / f"s{SUFFIX}", *many, many[5], glued, event(3001), many[1999])
    assert [(fault[0], fault[1]) for fault in faults_of(tmp_path)] == [
        ("duplicate_id", 2001),
        ("glued", 2002),
    ] + [("duplicate_id", number) for number in (2003, 2004)]


def test_blank_lines_are_no_records_and_no_faults(path: str) -> None:
    """A repair can leave one where no record follows."""
    write(path, b"   ", b"{}", b" ")
    (file,) = check(path).files
    assert (file.lines, file.records, file.faults) == (3, {"other": 1}, ())
    assert is_blank(b"   ")


# The torn tail


def test_a_torn_tail_is_reported_with_its_length(path: str) -> None:
    """Its line number is the one that the whole line would have had."""
    write(path, b"{}", tail=b'{"half')
    assert faults_of(path) == [("torn_tail", 2, 3, 6)]
    assert check(path).files[0].bytes == 9


def test_a_line_that_is_being_written_is_no_fault(
    path: str, hold: Callable[[str], AbstractContextManager[int]]
) -> None:
    """The holder of the lock may be in the middle of it."""
    write(path, b"{}", tail=b'{"half')
    with hold(path):
        assert check(path).is_clean
    assert not check(path).is_clean


def test_a_line_that_is_completed_during_the_check_is_no_fault(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail is read again after the lock was found free."""
    write(path, b"{}", tail=b'{"half":')
    real = fs_calls.read_at
    reads = []

    def read_at(fd: int, length: int, offset: int) -> bytes:
        block = real(fd, length, offset)
        reads.append(offset)
        if reads.count(3) == 2:
            with open(path, "ab") as file:
                file.write(b"1}\n")
        return block

    monkeypatch.setattr(fs_calls, "read_at", read_at)
    assert check(path).is_clean


def test_a_line_that_is_rolled_back_during_the_check_is_no_fault(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block with faults is read a second time."""
    write(path, b"{}", b"rolled back")
    real = fs_calls.read_at

    def read_at(fd: int, length: int, offset: int) -> bytes:
        block = real(fd, length, offset)
        write(path, b"{}", b'{"taken":"its place"}')
        return block

    monkeypatch.setattr(fs_calls, "read_at", read_at)
    assert check(path).is_clean


# Files


def test_sealed_segments_are_read_as_one_log(tmp_path: Path) -> None:
    """Oldest first, compressed or not; event ids are unique over all of them.

    Offsets are those in each file, uncompressed.
    """
    path = str(tmp_path / f"s{SUFFIX}")
    start = 0
    for number, compression in enumerate(COMPRESSIONS):
        lines = [event(number), b"bad", event(100)]
        size = sum(map(len, lines)) + 3
        sealed = sealed_path(path, start, start + size)
        write(sealed, *lines)
        start += size
        if compression:
            pack(sealed, compression)
    write(path, event(100), tail=b"torn")
    report = check(tmp_path)
    assert [file.path for file in report.files] == [
        *(segment.path for segment in list_segments(path)),
        path,
    ]
    assert [os.path.splitext(file.path)[1] for file in report.files[:2]] == [".gz", ".zst"]
    assert [
        [(fault.kind, fault.line_number) for fault in file.faults] for file in report.files
    ] == [
        [("no_object", 2)],
        [("no_object", 2), ("duplicate_id", 3)],
        [("no_object", 2), ("duplicate_id", 3)],
        [("duplicate_id", 1), ("torn_tail", 2)],
    ]
    assert check(path).files == report.files


def pack(path: str, compression: Compression) -> None:
    """Replace a sealed segment by its compressed copy."""
    Path(path + ENDINGS[compression]).write_bytes(
        codec_of(compression).pack(Path(path).read_bytes())
    )
    os.unlink(path)


def test_a_directory_is_read_for_its_logs_only(tmp_path: Path) -> None:
    """The files of skills, `*.ndjson`, `*.jsonl` and their segments; no subdirectories."""
    for name in ("a_performance.json", "b.ndjson", "c.jsonl"):
        write(tmp_path / name, performance())
    for name in (
        "notes.txt",
        "config.json",
        "b.ndjson.torn",
        "b.ndjson.maintenance.lock",
        "x_performance.json.tmp",
    ):
        write(tmp_path / name, b"not for us")
    write(tmp_path / "sealed.ndjson.000000000000000-000000000000003", b"{}")
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "d.ndjson", b"bad")
    report = check(tmp_path)
    assert [os.path.basename(file.path)[:7] for file in report.files] == [
        "a_perfo",
        "b.ndjso",
        "c.jsonl",
        "sealed.",
    ]
    assert report.is_clean
    assert check(tmp_path / "notes.txt").exit_status == 1


def test_a_missing_path_and_a_pipe_are_errors(tmp_path: Path) -> None:
    """Neither may look like a file without faults."""
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "none.ndjson")
    os.mkfifo(tmp_path / "pipe.ndjson")
    with pytest.raises(OSError, match="regular file"):
        check(tmp_path / "pipe.ndjson")


def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status is 2, whatever else was found."""
    for name in "abc":
        write(tmp_path / f"{name}.ndjson", b"bad" if name == "a" else b"{}")
    real = fs_calls.open_read

    def open_read(path: str) -> int:
        if path.endswith("b.ndjson"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(fs_calls, "open_read", open_read)
    report = check(tmp_path)
    assert [file.error for file in report.files] == [None, "Permission denied", None]
    assert report.exit_status == 2
    assert [file.lines for file in report.files] == [1, 0, 1]


def test_nothing_is_changed(tmp_path: Path) -> None:
    """No byte and no time of the file, and no new file appears."""
    write(tmp_path / "any.ndjson", b"{}", b"bad", tail=b"torn")
    before = os.stat(tmp_path / "any.ndjson")
    check(tmp_path)
    after = os.stat(tmp_path / "any.ndjson")
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ino,
    )
    assert os.listdir(tmp_path) == ["any.ndjson"]


# The report


def test_the_report_is_plain_data(tmp_path: Path) -> None:
    """All of it can be JSON, with the times as text too."""
    write(tmp_path / "s_performance.json", performance(), b"bad \x1b[31m")
    facts = json.loads(json.dumps(check(tmp_path).as_dict()))
    (file,) = facts["files"]
    assert (facts["exit_status"], file["fault_counts"]) == (1, {"no_object": 1})
    assert (file["first_time"], file["first_time_iso"]) == (1.5, "1970-01-01T00:00:01.500000+00:00")
    assert file["faults"][0]["excerpt"] == "bad \\x1b[31m"


def test_of_very_many_faults_the_first_are_kept_and_all_are_counted(path: str) -> None:
    """A file that is not a log at all must not fill the memory."""
    write(path, *[b"bad"] * (MOST_FAULTS + 5))
    (file,) = check(path).files
    assert len(file.faults) == MOST_FAULTS
    assert file.fault_counts == {"no_object": MOST_FAULTS + 5}


def test_progress_is_reported_to_the_last_byte(tmp_path: Path) -> None:
    """The bytes read and the bytes in total, over all files."""
    for name in "ab":
        write(tmp_path / f"{name}.ndjson", *[b'{"text":"some text"}'] * 20_000)
    reported: list[tuple[int, int]] = []
    check(tmp_path, progress=lambda done, total: reported.append((done, total)))
    total = 2 * 20_000 * 21
    assert reported[-1] == (total, total)
    assert sorted(reported) == reported
    assert {total for _, total in reported} == {total}


def test_a_large_file_takes_constant_memory(tmp_path: Path) -> None:
    """Thirty megabytes are checked in less than four."""
    write(tmp_path / "s_performance.json", *[performance(agent="x" * 3000)] * 10_000)
    tracemalloc.start()
    try:
        assert check(tmp_path).files[0].records == {"performance": 10_000}
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_check_finds_no_faults_while_writers_append(tmp_path: Path) -> None:
    """A line that is half written is not a fault."""
    log = AppendLog(tmp_path / "any.ndjson", durability="os")
    log.append({"text": "first"})

    def append() -> None:
        for _ in range(200):
            log.append({"text": "x" * 50_000})

    threads = [threading.Thread(target=append) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert check(tmp_path).is_clean
    assert check(tmp_path).files[0].lines == 601


def test_a_log_that_is_sealed_between_two_system_calls_is_checked(
    path: str, log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The active file is renamed to a segment right after it was found there."""
    log.append({"n": 1})
    real = fs_calls.stat_followed

    def stat_and_seal(name: str) -> os.stat_result:
        found = real(name)
        monkeypatch.setattr(fs_calls, "stat_followed", real)
        log.rotate()
        os.unlink(path)  # the next active file, still empty
        return found

    monkeypatch.setattr(fs_calls, "stat_followed", stat_and_seal)
    report = check(path)
    assert report.is_clean
    assert [file.lines for file in report.files] == [1]
