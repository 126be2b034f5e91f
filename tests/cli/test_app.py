"""The command line: reading, its errors, and what is true of every command."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import COMMAND, invoke, on_terminal, run
from rich.console import Console

from metrics_appender import AppendLog, MetricsAppender
from metrics_appender.cli import table

if TYPE_CHECKING:
    from collections.abc import Iterator

SKILL = "YouTube Live Chat"


# read


def test_read_writes_the_lines_to_a_pipe_as_they_are(path: str) -> None:
    """NDJSON in, NDJSON out; -n takes the last; a line without its newline is no record."""
    Path(path).write_text(
        '{"a":1}\n{"who":"Zoë","n":123456789012345678901234567890}\n{"a":0.1}\n{"half',
        encoding="utf-8",
    )
    whole = run("read", path)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout + '{"half' == Path(path).read_text(encoding="utf-8")
    assert invoke("read", path, "-n", "1").stdout == '{"a":0.1}\n'
    assert invoke("read", path, "-n", "0").stdout == ""


def test_read_shows_what_only_other_programs_write(path: str) -> None:
    """A lone surrogate is JSON, though this library would refuse to append it."""
    Path(path).write_text('{"a":"\\ud800"}\n', encoding="utf-8")
    assert json.loads(invoke("read", path).stdout) == {"a": "\ud800"}


@pytest.mark.parametrize(
    "line",
    [
        '{"n":1e400}',
        '{"n":[-1E+400,{"a":2e999,"Infinity":"Infinity"}]}',
        r'{"-Infinity":"\"Infinity\\","s":"\ud800","n":-1e400}',
        '{"n":1e308}',
    ],
)
def test_read_writes_nothing_but_json_to_a_pipe(path: str, line: str) -> None:
    """A number too large for a float stays one, and the text "Infinity" stays a text."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    Path(path).write_text(line + "\n", encoding="utf-8")
    assert json.loads(invoke("read", path).stdout, parse_constant=refuse) == json.loads(line)


def test_read_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A typo on a command line must not look like a file without records."""
    done = run("read", tmp_path / "nothing.json")
    assert done.returncode == 2
    assert "nothing.json' does not exist" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("-n", "1"), ("-f",)])
def test_read_of_a_pipe_is_refused(arguments: tuple[str, ...]) -> None:
    """The message names it; a pipe must not look like a file without records."""
    done = run("read", *arguments, "/dev/stdin", text='{"a":1}\n')
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "metrics-appender: /dev/stdin: not a regular file\n",
    )


def test_read_names_the_line_that_is_no_record(path: str) -> None:
    """With file, line and byte, as the library does."""
    Path(path).write_text('{"a":1}\nnot json\n', encoding="utf-8")
    done = run("read", path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"metrics-appender: {path}, line 2 (byte 8): ")
    assert "Traceback" not in done.stderr


def test_read_ends_quietly_when_the_pipe_is_closed(path: str) -> None:
    """`| head -1` gets its line, and no error is printed."""
    Path(path).write_text('{"a":"a line of some length"}\n' * 50_000, encoding="utf-8")
    with subprocess.Popen(
        [*COMMAND, "read", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b'{"a":"a line of some length"}\n'
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_read_shows_a_table_on_a_terminal(tmp_path: Path) -> None:
    """A column for each field, a row for each record; a value that all share is above, once."""
    metrics = MetricsAppender(tmp_path)
    for number in range(3):
        metrics.append_performance_metric(
            SKILL, f"run-{number}", 30 + number, "ai_overseer", timestamp=1760970309.5
        )
    file = tmp_path / f"{SKILL}_performance.json"
    lines = on_terminal("read", file).splitlines()
    assert f"skill_name: {SKILL}" in lines
    assert [line.split() for line in lines if line.startswith(" run-")] == [
        ["run-0", "30"],
        ["run-1", "31"],
        ["run-2", "32"],
    ]
    assert lines[-1] == "3 records"
    assert on_terminal("read", file, "--json").encode() == file.read_bytes()


def test_many_records_are_shown_in_tables_one_after_the_other(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the columns of its own records, so that not all are held in memory at once."""
    held: list[int] = []
    console = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(table, "_PAGE_RECORDS", 2)

    def records() -> Iterator[dict[str, Any]]:
        for number in range(5):
            held.append(console.file.getvalue().count("field"))  # type: ignore[attr-defined]
            yield {f"field {number // 2}": number}

    table.show_records(console, records())
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split() for line in shown if line.startswith(("field", " field"))] == [
        ["field", "0"],
        ["field", "1"],
        ["field", "2"],
    ]
    assert held == [0, 0, 1, 1, 2]
    assert [line for line in shown if "record" in line] == ["5 records"]


def test_read_shows_wide_records_as_blocks_and_escapes_control_characters(path: str) -> None:
    """Where a row does not fit, each field has a line; a record cannot clear the screen."""
    log = AppendLog(path)
    log.append(
        {f"a_field_{number}": f"value_{number}" for number in range(12)}
        | {"text": "red \x1b[31m\nnext\x9b"}
    )
    shown = on_terminal("read", path)
    assert [line.split() for line in shown.splitlines()][:12] == [
        [f"a_field_{number}", f"value_{number}"] for number in range(12)
    ]
    assert r"red \x1b[31m\nnext\x9b" in shown


def test_read_shows_records_of_any_depth(path: str) -> None:
    """They are whole in a pipe, and cut in a table, as every long text is."""
    deep = '{"in":' * 3000 + "1" + "}" * 3000
    Path(path).write_text(f'{deep}\n{{"in":2}}\n', encoding="utf-8")
    assert invoke("read", path).stdout == Path(path).read_text(encoding="utf-8")
    shown = on_terminal("read", path)
    assert '{"in":{"in":{' in "".join(shown.split())
    assert shown.endswith("2 records\n")


@pytest.mark.parametrize(("width", "count"), [(80, 3), (30, 4)], ids=["table", "blocks"])
def test_names_and_values_are_shown_as_they_are_written(width: int, count: int) -> None:
    """Text is never taken for the markup or the emoji codes of Rich."""
    texts = ["[/b]", "[red]colour", ":smile:", "[/]"]
    console = Console(file=io.StringIO(), width=width)
    table.show_records(
        console,
        (
            {"shared [/i]": "[red]"} | {text: f"{text}{number}" for text in texts}
            for number in range(2)
        ),
    )
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "shared [/i]: [red]\n" in shown
    for text in texts:
        assert shown.count(text) == count
        assert [shown.count(f"{text}{number}") for number in range(2)] == [1, 1]


# The command as such


def test_without_the_extra_the_command_says_what_to_install() -> None:
    """In one line, and with a status of failure."""
    code = (
        "import sys; sys.modules['typer'] = None; "
        "from metrics_appender.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "read"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'metrics-appender[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_library_itself_imports_nothing_of_the_command() -> None:
    """The core does not need Typer and Rich."""
    code = (
        "import sys, metrics_appender; heavy = ('typer', 'rich', 'metrics_appender.cli'); "
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_version_is_that_of_the_package() -> None:
    """It is what a bug report has to name."""
    assert invoke("--version").stdout == "metrics-appender 0.1.0\n"
