"""The names of the files beside a log: ordered, distinct, short enough, matched by no pattern."""

from __future__ import annotations

import fnmatch
import os

import pytest

from metrics_appender.fs import filename
from metrics_appender.records import naming

LONG = "ü" * 117 + "_performance.json"
PATHS = ["/data/events.ndjson", "/data/Live Chat_performance.json", f"/data/{LONG}"]
RANGES = [(0, 5), (5, 123), (123, 10**15 - 1), (10**15 - 1, 10**15 + 7), (10**15 + 7, 10**16)]


def all_names(path: str) -> list[str]:
    """Return a path of each kind of file beside a log."""
    sealed = [
        filename.sealed_path(path, 0, 10**15, ending) for ending in ("", ".gz", ".zst", ".zst.tmp")
    ]
    return [
        *sealed,
        filename.torn_path(path),
        filename.maintenance_lock_path(path),
        filename.cursor_path(path, "c" * 64),
    ]


@pytest.mark.parametrize("path", PATHS)
def test_no_name_is_too_long_or_matched_by_a_pattern_for_records(path: str) -> None:
    """Each has at most 255 bytes, and patterns such as `*_performance.json` match none."""
    for name in map(os.path.basename, all_names(path)):
        assert len(os.fsencode(name)) <= 255
        for suffix in (
            naming.PERFORMANCE,
            naming.OUTCOMES,
            naming.FIDELITY,
            naming.PROMOTION_LOG,
            ".ndjson",
            ".json",
        ):
            assert not fnmatch.fnmatch(name, "*" + suffix)


@pytest.mark.parametrize("path", PATHS)
def test_sealed_names_are_found_in_the_order_of_their_ranges(path: str) -> None:
    """They are parsed beyond a petabyte too, and no other file is taken for one."""
    names = [os.path.basename(filename.sealed_path(path, *span, ".gz")) for span in RANGES]
    own = os.path.basename(path)
    others = [
        own,
        own + ".1",
        own + ".000000000000000",
        own + ".000000000000000-000000000000005x",
        "x" + names[0],
    ]
    others += [
        os.path.basename(filename.torn_path(path)),
        os.path.basename(filename.sealed_path(path + "l", 0, 5)),
    ]
    found = filename.sealed_names(path, [*reversed(names), *others])
    assert found == [(name, (*span, ".gz")) for name, span in zip(names, RANGES, strict=True)]


def test_sealed_names_sort_as_text_in_the_order_of_time() -> None:
    """`ls` lists them in that order."""
    names = [filename.sealed_path("/data/events.ndjson", *span) for span in RANGES[:3]]
    assert names == sorted(names)


def test_long_names_of_two_logs_are_distinct() -> None:
    """The digest depends on what is cut off."""
    one, two = ("/data/" + "ü" * 118 + number + "_performance.json" for number in "12")
    assert not set(all_names(one)) & set(all_names(two))
    assert filename.sealed_names(one, [os.path.basename(filename.sealed_path(two, 0, 5))]) == []


@pytest.mark.parametrize("path", PATHS)
def test_cursors_are_found_by_their_names(path: str) -> None:
    """Those of this log only, sorted."""
    names = [os.path.basename(filename.cursor_path(path, name)) for name in ("ship", "audit-2")]
    others = [
        os.path.basename(filename.cursor_path(path + ".more", "ship")),
        os.path.basename(filename.torn_path(path)),
    ]
    assert filename.cursor_names(path, names + others) == ["audit-2", "ship"]
