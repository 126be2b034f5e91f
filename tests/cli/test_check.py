"""The commands `check` and `repair`: what they show, and how they end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import invoke, on_terminal, run

from metrics_appender.fs.filename import torn_path


@pytest.fixture
def damaged(path: str) -> str:
    """A file with a good line, a bad one, a glued one, and a torn tail."""
    Path(path).write_bytes(b'{"n":1}\nbad \x1b[31m\n{"a": 1}{"b":2}\n{"torn')
    return path


def test_check_names_every_fault_and_ends_with_1(damaged: str) -> None:
    """File, line and byte, what is wrong, and an excerpt without control characters."""
    done = run("check", damaged)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        damaged,
        "  1 other; 3 lines, 40 bytes",
        "  1 no_object, 1 glued, 1 torn_tail",
        f"{damaged}, line 2 (byte 8): no_object: Expecting value at character 1: bad \\x1b[31m",
        f'{damaged}, line 3 (byte 18): glued: 2 whole objects in one line: {{"a": 1}}{{"b":2}}',
        (
            f"{damaged}, line 4 (byte 34): torn_tail: 6 bytes without a newline, which nobody is "
            'writing: {"torn'
        ),
        "1 file, 3 lines, 3 faults",
    ]
    assert done.stderr == ""


def test_check_of_a_clean_log_ends_with_0(path: str) -> None:
    """Records by kind, and the first and the last time."""
    Path(path).write_text('{"timestamp":0}\n{"timestamp":90.5}\n')
    done = invoke("check", path)
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (
        0,
        [
            "  2 other; 2 lines, 35 bytes; 1970-01-01 00:00:00Z to 1970-01-01 00:01:30Z",
            "1 file, 2 lines, 0 faults",
        ],
    )


def test_check_of_what_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    """A missing path, and one of several files that cannot be uncompressed."""
    done = invoke("check", tmp_path / "none")
    assert (done.exit_code, done.stderr) == (
        2,
        f"metrics-appender: not checked: {tmp_path / 'none'}: No such file or directory\n",
    )
    Path(tmp_path, "a.ndjson").write_text("{}\n")
    Path(tmp_path, "b.ndjson.000000000000000-000000000000005.gz").write_text("no gzip at all")
    done = invoke("check", tmp_path)
    assert done.exit_code == 2
    assert "cannot be read: " in done.stdout


def test_check_without_an_argument_reads_the_directory_of_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same one that an appender uses."""
    monkeypatch.setenv("METRICS_APPENDER_DIR", str(tmp_path))
    (tmp_path / "a_performance.json").write_text("{}\n")
    done = invoke("check")
    assert (done.exit_code, "Object missing required field" in done.stdout) == (1, True)


def test_check_gives_json(damaged: str) -> None:
    """In one line, with what the function returns."""
    done = invoke("check", damaged, "--json")
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["exit_status"]) == (1, 1)
    assert [fault["byte_offset"] for fault in facts["files"][0]["faults"]] == [8, 18, 34]


def test_of_many_faults_check_shows_the_first(path: str) -> None:
    """The next line says how many more there are."""
    Path(path).write_text("bad\n" * 30)
    lines = invoke("check", path).stdout.splitlines()
    assert lines[-2:] == ["… and 10 more; --json lists them", "1 file, 30 lines, 30 faults"]


def test_a_dry_run_of_repair_shows_what_it_would_do(damaged: str) -> None:
    """The same lines are shown with --dry-run and without; after that nothing is left to do."""
    before = Path(damaged).read_bytes()
    shown = invoke("repair", damaged, "--dry-run")
    assert shown.exit_code == 1
    assert Path(damaged).read_bytes() == before
    assert not os.path.exists(torn_path(damaged))
    done = invoke("repair", damaged)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:3] == shown.stdout.splitlines()[:3]
    assert [line.rpartition("; ")[2] for line in done.stdout.splitlines()] == [
        "put aside",
        "split: 2 objects",
        "cut",
        "3 faults repaired",
    ]
    assert shown.stdout.splitlines()[3] == "3 faults to repair (dry run: nothing was changed)"
    assert invoke("check", damaged).exit_code == 0
    assert invoke("repair", damaged).stdout == "0 faults repaired\n"


def test_repair_leaves_the_kinds_to_keep(tmp_path: Path) -> None:
    """--keep may be given several times; an unknown kind is a usage error."""
    (tmp_path / "a_performance.json").write_text("{}\nbad\n{}{}\n")
    done = invoke("repair", tmp_path, "--keep", "schema", "--keep", "glued", "--json")
    assert [change["action"] for change in json.loads(done.stdout)["changes"]] == [
        "left",
        "put_aside",
        "left",
    ]
    assert done.exit_code == 1
    assert invoke("repair", tmp_path, "--keep", "all").exit_code == 2


def test_repair_of_a_missing_path_ends_with_2(tmp_path: Path) -> None:
    """In one line."""
    none = tmp_path / "none"
    done = run("repair", none)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"metrics-appender: not repaired: {none}: No such file or directory\n"


def test_repair_of_a_directory_continues_after_a_log_that_cannot_be_repaired(
    tmp_path: Path,
) -> None:
    """Changes go to standard output, failures to standard error, and both to the JSON; status 2."""
    for name in ("a.ndjson", "c.ndjson"):
        (tmp_path / name).write_text("bad\n")
    os.mkfifo(tmp_path / "b.ndjson")
    done = invoke("repair", tmp_path, "--json", "--dry-run")
    facts = json.loads(done.stdout)
    assert done.exit_code == facts["exit_status"] == 2
    assert (len(facts["changes"]), facts["errors"]) == (
        2,
        [{"path": str(tmp_path / "b.ndjson"), "reason": "not a regular file"}],
    )
    done = invoke("repair", tmp_path)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        2,
        "2 faults repaired, 1 log not repaired",
    )
    pipe = tmp_path / "b.ndjson"
    assert done.stderr == f"metrics-appender: not repaired: {pipe}: not a regular file\n"


def test_on_a_terminal_the_bar_is_removed_at_the_end(path: str) -> None:
    """The report is the last that is shown."""
    Path(path).write_text("{}\n")
    assert on_terminal("check", path).splitlines()[-1] == "1 file, 1 line, 0 faults"
