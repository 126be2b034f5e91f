"""Messages and helps: each message uses the words of the command line, and each help fits."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import COMMAND, invoke, on_terminal
from rich.console import Console

from metrics_appender import AppendLog
from metrics_appender.cli.doctor import show_report
from metrics_appender.doctor.report import Check, FilesystemReport

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

SINCE = (
    "is neither a length of time (90s, 45m, 36h, 30d, 4w) nor an instant "
    "(2025-10-20, 2025-10-20T14:25:09Z)"
)
WHERE = "agent: pass field=value, such as agent=ai_overseer or correct=false"
AGE = "'5' is no length of time; write it as 90s, 45m, 36h, 30d or 4w"
WAIT = "pass seconds of 0 or more, or 'inf' to wait for ever"
KINDS = "pass one of nul_run, no_object, glued, schema, duplicate_id"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("read FILE --since yesterday", f"Invalid value for --since: 'yesterday' {SINCE}"),
        ("read FILE --since 1h30m", f"Invalid value for --since: '1h30m' {SINCE}"),
        ("read FILE --where agent", f"Invalid value for --where: {WHERE}"),
        ("append FILE --lock-timeout -1", f"Invalid value for '--lock-timeout': {WAIT}"),
        ("append performance --lock-timeout nan", f"Invalid value for '--lock-timeout': {WAIT}"),
        ("rotate FILE --lock-timeout nan", f"Invalid value for '--lock-timeout': {WAIT}"),
        ("repair FILE --lock-timeout -0.5", f"Invalid value for '--lock-timeout': {WAIT}"),
        (
            "append FILE --durability foo",
            "Invalid value for '--durability': 'foo' is not one of fsync, group, os",
        ),
        (
            "append rollback --durability foo",
            "Invalid value for '--durability': 'foo' is not one of fsync, group, os",
        ),
        (
            "rotate FILE --compress lz4",
            "Invalid value for '--compress': 'lz4' is not one of gzip, zstd",
        ),
        (
            "rotate FILE --keep-age 0d",
            "Invalid value for '--keep-age': pass a length of time above 0, such as 36h, 30d or 4w",
        ),
        ("rotate FILE --keep-age 5", f"Invalid value for '--keep-age': {AGE}"),
        ("repair FILE --keep foo", f"Invalid value for --keep: {KINDS}"),
    ],
)
def test_a_bad_option_is_named_with_what_may_be_passed(
    path: str, words: str, complaint: str
) -> None:
    """The status is 2, and nothing was done."""
    AppendLog(path).append({})
    done = invoke(*words.replace("FILE", path).split(), text="{}\n")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].removeprefix("Error: ").removesuffix(".") == complaint
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_a_compression_that_is_not_installed_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install, and the status is 2."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    done = invoke("rotate", path, "--compress", "zstd")
    assert done.exit_code == 2
    assert "pip install 'metrics-appender[zstd]'" in done.stderr


def test_a_lock_timeout_names_the_option(
    path: str, hold: Callable[[str], contextlib.AbstractContextManager[int]]
) -> None:
    """As it is written on a command line, in every command that waits for a lock."""
    Path(path).write_text("{}\nbad\n")
    with hold(path):
        for words in (["append"], ["rotate"], ["repair"]):
            done = invoke(*words, path, "--lock-timeout", "0", text="{}\n")
            assert done.exit_code == (2 if words == ["repair"] else 1)
            assert "pass a longer --lock-timeout" in done.stderr


@pytest.mark.parametrize(
    ("line", "position"),
    [("bad", 1), ('{"a":bad}', 6), ('{"NaN":NaN}', 8), ('{"\\"Infinity":-Infinity}', 15)],
)
def test_every_command_counts_characters_from_1(path: str, line: str, position: int) -> None:
    """As an editor does."""
    Path(path).write_text(line + "\n")
    commands = (
        (["append", path + ".other"], line),
        (["read", path], ""),
        (["check", path], ""),
        (["repair", path, "--dry-run"], ""),
    )
    for words, text in commands:
        done = invoke(*words, text=text)
        assert done.exit_code == 1
        assert f" at character {position}" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 corrupt line skipped, it is: "), (2, "2 corrupt lines skipped, the first: ")],
)
def test_skipped_corrupt_lines_are_counted_in_good_grammar(
    path: str, count: int, words: str
) -> None:
    """One is a line, two are lines."""
    Path(path).write_text("bad\n" * count)
    done = invoke("read", path, "--skip-corrupt")
    assert f"metrics-appender: {words}{path}, line 1 (byte 0)" in done.stderr


def test_a_wrong_option_of_append_leads_to_the_help_with_the_right_ones(path: str) -> None:
    """The command that the message names can be typed as it is."""
    done = invoke("append", "--bogus", path)
    assert done.exit_code == 2
    assert "append FILE [OPTIONS]\n" in done.stderr
    assert "append FILE --help' for help" in done.stderr
    for words in (("FILE", "--help"), (path, "--help")):
        assert "--durability" in invoke("append", *words).stdout


@pytest.mark.parametrize("options", ["", "--durability=os", "--durability os"])
def test_a_file_whose_name_begins_with_a_dash_comes_after_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """As anywhere else on a command line."""
    monkeypatch.chdir(tmp_path)
    assert invoke("append", *options.split(), "--", "-dash.ndjson", text='{"n":1}').exit_code == 0
    assert AppendLog("-dash.ndjson").read() == [{"n": 1}]


def test_an_error_of_the_system_names_the_file_first(tmp_path: Path) -> None:
    """The line of the input is where it happened, not what is wrong."""
    done = invoke("append", tmp_path, text='\n{"a":1}')
    assert done.exit_code == 1
    reason = "Is a directory (nothing was written) (line 2 of standard input)"
    assert done.stderr == f"metrics-appender: {tmp_path}: {reason}\n"


@pytest.mark.parametrize(
    "words", ["append f", "read f", "check f", "repair f", "rotate f", "doctor"]
)
def test_a_working_directory_that_was_removed_is_named(tmp_path: Path, words: str) -> None:
    """The system's error names nothing, and FILE is not what is missing."""
    code = "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.argv[1], sys.argv[1:])"
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if name != "METRICS_APPENDER_DIR"
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMAND, *words.split()],
        cwd=gone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert done.stderr.endswith("the working directory: No such file or directory\n"), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_short_helps_fit_on_a_terminal_of_80_columns() -> None:
    """None is cut with three dots."""
    for words in ([], ["append"]):
        assert "..." not in invoke(*words, "--help").stdout.partition("Commands:")[2]


def test_the_exit_statuses_of_all_commands_are_in_the_help() -> None:
    """Scripts depend on them."""
    assert all(status in invoke("--help").stdout for status in ("74", "141", "130", "143"))


def test_the_attributes_of_a_corrupt_line_are_those_of_json(path: str) -> None:
    """`pos` counts from 0, as in the standard library; only the message counts from 1."""
    Path(path).write_text("bad\n")
    with pytest.raises(json.JSONDecodeError) as caught:
        AppendLog(path).read()
    assert caught.value.pos == 0


@pytest.mark.parametrize("columns", [20, 40, 50])
def test_a_narrow_terminal_loses_no_figure_of_the_demo(tmp_path: Path, columns: int) -> None:
    """Where the table does not fit, each kind has a sentence with all of its figures."""
    words = ["demo", "--processes=2", "--records=5", "--dir", str(tmp_path / "new")]
    shown = " ".join(on_terminal(*words, columns=columns).split())
    assert "All well" in shown
    assert "rollback: 1 acknowledged, 1 found, 0 torn, 0 lost" in shown
    assert "all: " in shown


@pytest.mark.parametrize("columns", range(20, 60, 4))
def test_a_narrow_terminal_loses_no_status_of_the_doctor(columns: int) -> None:
    """Nor a letter of its messages."""
    report = FilesystemReport(
        "/d",
        "ext4",
        "/dev/x",
        "/",
        (),
        (Check("killed_holder", "unfit", "not tried, for two processes got it"),),
    )
    console = Console(width=columns, file=io.StringIO())
    show_report(console, report)
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is the one above
    assert "unfit" in shown
    assert "…" not in shown
    if columns == 20:
        assert "killed holder: unfit, not tried, for two processes got it" in " ".join(
            shown.split()
        )
