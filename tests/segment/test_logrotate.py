"""Files that another program rotated: they are found in the order in which they were written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from metrics_appender.fs import calls as fs_calls
from metrics_appender.segment.logrotate import list_rotated

if TYPE_CHECKING:
    from pathlib import Path


def names(directory: Path, *made: str) -> list[str]:
    """Make files, each newer than the one before, and return those that are listed."""
    for age, name in enumerate(made):
        (directory / name).touch()
        os.utime(directory / name, (age, age))
    return [os.path.basename(rotated.path) for rotated in list_rotated(str(directory / "e.json"))]


@pytest.mark.parametrize(
    "oldest_first",
    [
        ["e.json.11.gz", "e.json.10.gz", "e.json.2", "e.json.1"],
        ["e.json.1", "e.json.0"],
        ["e.json-20261123.gz", "e.json-20261124", "e.json-20261124-1764000000"],
        ["e.json.20261123", "e.json.2026112413"],
        ["e.json-2026112423", "e.json-2026112500.gz"],
        ["e.json-20200101", "e.json.2", "e.json-20200102", "e.json.1"],
    ],
)
def test_rotated_files_are_listed_oldest_first(tmp_path: Path, oldest_first: list[str]) -> None:
    """By number or by date; where both are there, also by the time of the last write."""
    assert names(tmp_path, *oldest_first) == oldest_first


def test_the_number_counts_and_not_the_time(tmp_path: Path) -> None:
    """A slow writer may append to an older file after a newer one was begun."""
    assert names(tmp_path, "e.json.1", "e.json.2", "e.json.3") == [
        "e.json.3",
        "e.json.2",
        "e.json.1",
    ]


def test_other_files_are_not_taken_for_rotated_ones(tmp_path: Path) -> None:
    """Sealed segments, cursors, torn bytes, other logs, directories."""
    (tmp_path / "e.json.7").mkdir()
    others = [
        "e.json",
        "e.json.torn",
        "e.json.a.cursor",
        "e.json.1.tmp",
        "e.json-2",
        "e-1.json",
        "xe.json.1",
        "e.json.1.bak",
    ]
    sealed = ["e.json.000000000000000-000000000000120", "e.json.000000000000120-000000000000900.gz"]
    assert names(tmp_path, *others, *sealed) == []
    assert list_rotated(str(tmp_path / "none" / "e.json")) == []


def test_a_file_that_is_there_plain_and_compressed_is_listed_once(tmp_path: Path) -> None:
    """It is being compressed, and the compressed copy may be half-written."""
    assert names(tmp_path, "e.json.1.gz", "e.json.1") == ["e.json.1"]


def test_a_listing_ends_though_a_rotated_file_is_being_written(tmp_path: Path) -> None:
    """Its time changes with each listing; its inode number does not."""
    expected = names(tmp_path, "e.json.2", "e.json.1")
    real = fs_calls.list_names
    times = iter(range(10, 100))

    def list_names(directory: str) -> list[str]:
        os.utime(tmp_path / "e.json.1", (0, next(times)))
        return real(directory)

    with mock.patch.object(fs_calls, "list_names", list_names):
        assert [
            os.path.basename(rotated.path) for rotated in list_rotated(str(tmp_path / "e.json"))
        ] == expected


def test_a_listing_in_the_middle_of_a_rotation_is_repeated(tmp_path: Path) -> None:
    """A renamed file that one listing missed is in the next."""
    expected = names(tmp_path, "e.json.2", "e.json.1")
    listings = iter([["e.json.2"], ["e.json.1"]])
    real = fs_calls.list_names
    with mock.patch.object(
        fs_calls, "list_names", lambda directory: next(listings, None) or real(directory)
    ):
        assert [
            os.path.basename(rotated.path) for rotated in list_rotated(str(tmp_path / "e.json"))
        ] == expected
