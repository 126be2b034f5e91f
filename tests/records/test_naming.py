"""Names: which a file can have, and which directory holds the files where none is named."""

from __future__ import annotations

import asyncio
import html
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metrics_appender import AppendLog, InvalidRecordError, MetricsAppender
from metrics_appender.aio import AsyncAppendLog, AsyncMetricsAppender
from metrics_appender.records import naming
from metrics_appender.records.metrics import PerformanceMetric

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIXES = [naming.PERFORMANCE, naming.OUTCOMES, naming.FIDELITY, naming.PROMOTION_LOG]
WELCOME = [
    "YouTube Live Chat",
    " leading and trailing ",
    "v1.2.3",
    ".hidden",
    "...",
    "-rf",
    "~",
    "$HOME",
    "a:b*c?d\"e'f<g>h|i",
    "наука",
    "技能",
    "مهارة",
    "कौशल",
    "Zoe\u0308",
    "👩‍👩‍👧‍👦 family",
    "line\u2028separator",
    "\u200b",
]
REFUSED = [
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../a",
    "/etc/passwd",
    "\\",
    "a\\b",
    "..\\a",
    "\0",
    "a\0b",
    "a\n",
    "\r",
    "\t",
    "\x1b[1m",
    "\x7f",
    "\x85",
]
WRONG_TYPES = [None, 5, True, b"name", Path("name"), ["name"]]


@pytest.mark.parametrize("name", WELCOME)
def test_a_persons_text_of_any_script_names_a_file_just_as_it_is(tmp_path: Path, name: str) -> None:
    """Blanks, dots and any script are welcome: the file has the name, and is read by it."""
    metrics = MetricsAppender(tmp_path, durability="os")
    metrics.append_performance_metric(name, "e", 1, "a")
    assert os.listdir(tmp_path) == [f"{name}_performance.json"]
    assert metrics.read_metrics(f"{name}_performance.json")[0]["skill_name"] == name


@pytest.mark.parametrize("name", [*REFUSED, "a\ud800", *WRONG_TYPES], ids=repr)
def test_a_name_that_could_leave_the_directory_is_refused_before_anything_is_opened(
    tmp_path: Path, name: str
) -> None:
    """Every method names `skill_name`, and the directory stays as it was."""
    metrics = MetricsAppender(tmp_path / "metrics")
    calls: list[Callable[[], None]] = [
        lambda: metrics.append_performance_metric(name, "e", 1, "a"),
        lambda: metrics.append_outcome_metric(name, "e", "d", None, True, 0.5, "r", "a"),
        lambda: metrics.append_fidelity_metric(name, "e", 0.5, 1, 1, {}, "a"),
        lambda: metrics.append_promotion_event(name, "f", "t", "p", "k", "r", {}),
        lambda: metrics.append_rollback_event(name, "f", "t", "r", "m"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="skill_name") as caught:
            call()
        assert isinstance(caught.value, InvalidRecordError)
        assert [fault.field for fault in caught.value.faults] == ["skill_name"]
    assert [found.name for found in tmp_path.rglob("*")] == ["metrics"]


@pytest.mark.parametrize(
    "name",
    [*REFUSED, "a\ud800", "a" * 256, "é" * 128, *WRONG_TYPES],
    ids=lambda name: repr(name)[:20],
)
def test_a_file_name_that_leaves_the_directory_is_refused_when_the_reader_is_called(
    tmp_path: Path, name: str
) -> None:
    """Both readers refuse at the call; the iterating one does not wait for its first record."""
    metrics = MetricsAppender(tmp_path)
    for read in (metrics.read_metrics, metrics.iter_metrics):
        with pytest.raises(ValueError, match="filename") as caught:
            read(name)
        assert isinstance(caught.value, InvalidRecordError)


class Markup(str):
    """A text that is escaped when it is joined to another, as markupsafe's is."""

    __slots__ = ()

    def __add__(self, other: str) -> Markup:
        """Join what comes behind."""
        return Markup(html.escape(str.__add__(self, other)))

    def __radd__(self, other: str) -> Markup:
        """Join what comes before."""
        return Markup(html.escape(str.__add__(other, self)))


def test_a_subclass_of_text_names_what_its_characters_name(tmp_path: Path) -> None:
    """Directories, skills, files and cursors, in every class, however it joins to other texts."""
    directory = tmp_path / "R&D's"
    name = "Q&A_performance.json"
    skill, filename, cursor_name = Markup("Q&A"), Markup(name), Markup("&here")
    metrics = MetricsAppender(Markup(directory), durability="os")
    for _ in range(2):
        metrics.append_performance_metric(skill, "e", 1, "a")
    metrics.append_many(
        [PerformanceMetric(skill_name=skill, execution_id="e", execution_time_ms=1, agent="a")]
    )

    async def main() -> None:
        async with AsyncMetricsAppender(Markup(directory)) as appender:
            for _ in range(2):
                await appender.append_performance_metric(skill, "e", 1, "a")

    asyncio.run(main())
    AppendLog(Markup(directory / name)).append({})
    for records in (
        metrics.read_metrics(filename),
        list(metrics.iter_metrics(filename)),
        AppendLog(Markup(directory / name)).read(),
    ):
        assert len(records) == 6
    with metrics.follow(filename, "beginning") as follower:
        _, cursor = next(follower)
    metrics.save_cursor(filename, cursor_name, cursor)
    assert (
        metrics.load_cursor(filename, cursor_name) == metrics.cursors(filename)["&here"] == cursor
    )
    assert metrics.rotate(filename) is not None
    assert [found.name for found in tmp_path.iterdir()] == ["R&D's"]
    assert {found.name[: len(name)] for found in directory.iterdir()} == {name}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("character", ["x", "é", "技", "👩"])
def test_a_file_name_of_255_bytes_is_taken_and_of_256_is_refused(
    suffix: str, character: str
) -> None:
    """The limit is that of file systems: bytes of UTF-8 with the suffix, not characters."""
    room = 255 - len(suffix)
    width = len(character.encode())
    name = "x" * (room % width) + character * (room // width)
    assert len(naming.file_name(name, suffix).encode()) == 255
    with pytest.raises(InvalidRecordError, match="256 bytes"):
        naming.file_name("x" + name, suffix)


@pytest.mark.parametrize("character", ["x", "技"])
def test_the_longest_name_is_written_and_read(tmp_path: Path, character: str) -> None:
    """A file name of just 255 bytes goes all the way to the disk and back."""
    metrics = MetricsAppender(tmp_path, durability="os")
    room = 255 - len(naming.PROMOTION_LOG)
    width = len(character.encode())
    name = "x" * (room % width) + character * (room // width)
    metrics.append_rollback_event(name, "f", "t", "r", "m")
    (filename,) = os.listdir(tmp_path)
    assert len(filename.encode()) == 255
    assert metrics.read_metrics(filename)[0]["event_id"].startswith(f"rollback_{name}_")


@given(st.text(max_size=80))
@example("a\x9f")
@example("/")
@settings(
    deadline=None, max_examples=200, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_a_name_is_either_a_plain_file_name_or_refused(name: str) -> None:
    """Whatever text comes, what is taken is one path component without control characters."""
    try:
        filename = naming.file_name(name, naming.PERFORMANCE)
    except InvalidRecordError:
        is_odd = (
            name in {"", ".", ".."}
            or not {"/", "\\"}.isdisjoint(name)
            or len(name.encode(errors="replace")) > 200
        )
        assert is_odd or any(unicodedata.category(character) in {"Cc", "Cs"} for character in name)
        return
    assert (
        os.path.basename(os.path.normpath(f"directory/{filename}"))
        == filename
        == f"{name}_performance.json"
    )
    assert not any(unicodedata.category(character) == "Cc" for character in filename)
    assert len(filename.encode()) <= 255


@pytest.mark.parametrize("kind", [MetricsAppender, AsyncMetricsAppender, AppendLog, AsyncAppendLog])
def test_a_path_that_can_name_no_file_is_refused_before_anything_is_made(
    tmp_path: Path, kind: Any
) -> None:
    """A NUL, what the file system has no bytes for, and what is no path.

    Anything else would come up in the middle of an append.
    """
    for wrong in (
        f"{tmp_path}/a\0b",
        tmp_path / "a\0b",
        os.fsencode(tmp_path) + b"/a\0b",
        f"{tmp_path}/\ud800",
        5,
        ["a"],
        object(),
    ):
        with pytest.raises(InvalidRecordError, match="nothing was written") as caught:
            kind(wrong)
        assert [fault.field for fault in caught.value.faults] == [
            "metrics_dir" if "Metrics" in kind.__name__ else "path"
        ]
    assert list(tmp_path.iterdir()) == []


def test_a_path_in_bytes_is_the_one_that_the_system_means(tmp_path: Path) -> None:
    """An appender takes it as a log does, with `os.fsdecode`."""
    directory = os.path.join(os.fsencode(tmp_path), "café".encode())
    metrics: Any = MetricsAppender
    log: Any = AppendLog
    metrics(directory).append_performance_metric("s", "e", 1, "a")
    assert len(log(os.path.join(directory, b"s_performance.json")).read()) == 1
    assert os.listdir(tmp_path) == ["café"]


def test_the_environment_variable_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`METRICS_APPENDER_DIR` wins over the folder that is there, and is made when it is not."""
    (tmp_path / "modules/infrastructure/wre_core").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRICS_APPENDER_DIR", str(tmp_path / "chosen" / "here"))
    assert MetricsAppender().metrics_dir == tmp_path / "chosen" / "here"
    assert (tmp_path / "chosen" / "here").is_dir()


def test_a_relative_path_in_the_environment_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is determined when the appender is made.

    A later change of directory does not move it.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRICS_APPENDER_DIR", "chosen")
    metrics = MetricsAppender()
    monkeypatch.chdir("/")
    assert metrics.metrics_dir == tmp_path / "chosen"


@pytest.mark.parametrize("is_empty", [True, False])
def test_the_engines_folder_is_used_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_empty: bool
) -> None:
    """Without the variable, or with an empty one, the metrics are below `wre_core`."""
    (tmp_path / "modules/infrastructure/wre_core").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METRICS_APPENDER_DIR", raising=False)
    if is_empty:
        monkeypatch.setenv("METRICS_APPENDER_DIR", "")
    expected = tmp_path / "modules/infrastructure/wre_core/recursive_improvement/metrics"
    assert MetricsAppender().metrics_dir == expected
    assert expected.is_dir()
    assert not (tmp_path / "recursive_improvement").exists()


@pytest.mark.parametrize("present", ["modules/infrastructure", "modules/wre_core", "."])
def test_without_the_engines_folder_the_metrics_are_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: str
) -> None:
    """Only the whole of the three folders counts, and a file of that name is no folder."""
    (tmp_path / present).mkdir(parents=True, exist_ok=True)
    if present == "modules/infrastructure":
        (tmp_path / present / "wre_core").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METRICS_APPENDER_DIR", raising=False)
    assert MetricsAppender().metrics_dir == tmp_path / "recursive_improvement/metrics"
    assert (tmp_path / "recursive_improvement/metrics").is_dir()
