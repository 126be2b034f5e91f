"""Any damage in any file: a check finds it, a repair removes it, and nothing else changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from damage import SUFFIX, Line, damaged_lines, event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_appender import AppendLog, check, repair
from metrics_appender.fs.filename import torn_path

ANY = settings(
    deadline=None,
    max_examples=300,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TAILS = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=20).filter(lambda data: b"\n" not in data),
    st.just(event(9999)),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A promotion log that each example replaces."""
    return str(tmp_path_factory.mktemp("damage") / f"s{SUFFIX}")


def read(path: str) -> bytes:
    """Return a file's bytes, none if it is not there."""
    return Path(path).read_bytes() if os.path.exists(path) else b""


def write(path: str, lines: list[Line], tail: bytes) -> list[int]:
    """Make the file the only one of its directory, and return where each line begins."""
    for name in os.listdir(os.path.dirname(path)):
        os.unlink(os.path.join(os.path.dirname(path), name))
    offsets, offset = [], 0
    for line in lines:
        offsets.append(offset)
        offset += len(line.data) + 1
    Path(path).write_bytes(b"".join(line.data + b"\n" for line in lines) + tail)
    return [*offsets, offset]


def sorted_records(lines: list[bytes]) -> list[Any]:
    """Return the records in the order of their ids."""
    return sorted(map(json.loads, lines), key=lambda record: str(record["event_id"]))


@given(damaged_lines(), TAILS)
@ANY
def test_a_check_finds_all_damage_and_nothing_else(
    path: str, lines: list[Line], tail: bytes
) -> None:
    """Each fault with its kind, line number and byte offset, in the order of the lines."""
    offsets = write(path, lines, tail)
    expected = [
        (line.kind, number, offset)
        for number, (line, offset) in enumerate(zip(lines, offsets, strict=False), 1)
        if line.kind
    ]
    expected += [("torn_tail", len(lines) + 1, offsets[-1])] if tail else []
    report = check(path)
    assert [
        (fault.kind, fault.line_number, fault.byte_offset) for fault in report.faults
    ] == expected
    (file,) = report.files
    assert (file.bytes, file.lines) == (len(read(path)), len(lines))
    assert sum(file.records.values()) == sum(
        line.kind is None and bool(line.kept) for line in lines
    )
    assert report.exit_status == (1 if expected else 0)


@given(damaged_lines(), TAILS)
@ANY
def test_a_repair_leaves_valid_lines_in_place_and_quarantines_every_other_byte(
    path: str, lines: list[Line], tail: bytes
) -> None:
    """Valid lines do not move, glued objects are split, the rest is in `.torn`, the log clean."""
    offsets = write(path, lines, tail)
    before = read(path)
    report = repair(path, dry_run=True)
    assert read(path) == before
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    assert repair(path).changes == report.changes
    after, torn = read(path), read(torn_path(path))
    for line, offset in zip(lines, offsets, strict=False):
        if line.kind is None and line.kept:
            assert after[offset : offset + len(line.data)] == line.data
        elif line.kind and not (
            line.kind == "glued" and len(line.kept) > 1 and line.data + b"\n" not in torn
        ):
            assert line.data + b"\n" in torn
    assert tail in torn
    kept = [part for line in lines for part in line.kept]
    assert sorted_records([line for line in after.split(b"\n") if line.strip()]) == sorted_records(
        kept
    )
    assert sorted(map(str, AppendLog(path).read())) == sorted(
        str(json.loads(part)) for part in kept
    )
    assert after.endswith(b"\n") or not after
    assert check(path).is_clean
    assert repair(path).changes == ()
    assert read(path) == after
