"""The names beside a file.

In order, told apart, short enough, and matched by no reader's pattern.
"""

from __future__ import annotations

import fnmatch
import os

import pytest

from metrics_appender.fs import filename
from metrics_appender.records import naming

LONG = "ü" * 117 + "_performance.json"
PATHS = ["/data/events.ndjson", "/data/Live Chat_performance.json", f"/data/{LONG}"]
STRETCHES = [(0, 5), (5, 123), (123, 10**15 - 1), (10**15 - 1, 10**15 + 7), (10**15 + 7, 10**16)]


def everything_beside(path: str) -> list[str]:
    """Return one name of each kind."""
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
    """Each fits a directory's 255 bytes, and `*_performance.json` and its like match none."""
    for name in map(os.path.basename, everything_beside(path)):
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
def test_sealed_names_are_found_again_in_the_order_of_their_stretches(path: str) -> None:
    """What was named is parsed, past a petabyte too.

    What is beside, or another file's, is not taken for it.
    """
    names = [os.path.basename(filename.sealed_path(path, *stretch, ".gz")) for stretch in STRETCHES]
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
    assert found == [
        (name, (*stretch, ".gz")) for name, stretch in zip(names, STRETCHES, strict=True)
    ]


def test_sealed_names_sort_as_text_in_the_order_of_time() -> None:
    """A listing by `ls` shows them so."""
    names = [filename.sealed_path("/data/events.ndjson", *stretch) for stretch in STRETCHES[:3]]
    assert names == sorted(names)


def test_long_names_of_two_files_are_told_apart() -> None:
    """What is cut away is in the digest."""
    one, two = ("/data/" + "ü" * 118 + number + "_performance.json" for number in "12")
    assert not set(everything_beside(one)) & set(everything_beside(two))
    assert filename.sealed_names(one, [os.path.basename(filename.sealed_path(two, 0, 5))]) == []


@pytest.mark.parametrize("path", PATHS)
def test_cursors_are_found_by_their_names(path: str) -> None:
    """Those of this file alone, sorted."""
    names = [os.path.basename(filename.cursor_path(path, name)) for name in ("ship", "audit-2")]
    others = [
        os.path.basename(filename.cursor_path(path + ".more", "ship")),
        os.path.basename(filename.torn_path(path)),
    ]
    assert filename.cursor_names(path, names + others) == ["audit-2", "ship"]
