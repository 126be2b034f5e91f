"""The command `append`: records from a pipe to a file, and one typed record from options."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from metrics_appender import AppendLog, MetricsAppender
from metrics_appender.cli.app import app

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from conftest import Waiting

COMMAND = (sys.executable, "-m", "metrics_appender")
SKILL = "YouTube Live Chat"
# For each kind: its options besides --skill, the suffix of its file, and the arguments of the
# method that the options stand for.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "performance": (
        (
            "--execution-id e-1 --execution-time-ms 31 --agent ai --exception-occurred "
            "--exception-type OSError --memory-usage-mb 1.5"
        ),
        "_performance.json",
        {
            "execution_id": "e-1",
            "execution_time_ms": 31,
            "agent": "ai",
            "exception_occurred": True,
            "exception_type": "OSError",
            "memory_usage_mb": 1.5,
        },
    ),
    "outcome": (
        (
            "--execution-id e-1 --decision go --expected-decision stay --incorrect "
            "--confidence 0.5 --reasoning why --agent ai"
        ),
        "_outcomes.json",
        {
            "execution_id": "e-1",
            "decision": "go",
            "expected_decision": "stay",
            "correct": False,
            "confidence": 0.5,
            "reasoning": "why",
            "agent": "ai",
        },
    ),
    "fidelity": (
        (
            "--execution-id e-1 --pattern-fidelity 0.5 --patterns-followed 1 --patterns-missed 1 "
            '--patterns-detail {"a":true} --agent ai'
        ),
        "_fidelity.json",
        {
            "execution_id": "e-1",
            "pattern_fidelity": 0.5,
            "patterns_followed": 1,
            "patterns_missed": 1,
            "patterns_detail": {"a": True},
            "agent": "ai",
        },
    ),
    "promotion": (
        (
            "--from-state a --to-state b --approver Zoë --approval-ticket T-1 --reason why "
            '--automated-checks {"tests":[1,2]}'
        ),
        "_promotion_log.json",
        {
            "from_state": "a",
            "to_state": "b",
            "approver": "Zoë",
            "approval_ticket": "T-1",
            "reason": "why",
            "automated_checks": {"tests": [1, 2]},
        },
    ),
    "rollback": (
        "--from-state b --to-state a --trigger-reason why --trigger-metric errors --no-automated",
        "_promotion_log.json",
        {
            "from_state": "b",
            "to_state": "a",
            "trigger_reason": "why",
            "trigger_metric": "errors",
            "automated": False,
        },
    ),
}


def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as a process, with a text on its standard input."""
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, text=True, check=False
    )


def invoke(*arguments: str | Path, text: str = "") -> Result:
    """Run the command in this process, which is quicker."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=text)


# append FILE


def test_append_takes_a_record_from_each_line_and_prints_how_many(path: str) -> None:
    """Blank lines are skipped, and the last line needs no newline."""
    done = run("append", path, text='{"a":1}\n\n{"who":"Zo\\u00eb"}\r\n   \n{"a": 3}')
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"3 records acknowledged in {path}\n",
        "",
    )
    assert Path(path).read_text(encoding="utf-8") == '{"a":1}\n{"who":"Zoë"}\n{"a":3}\n'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "list"),
        ('{"a":1} {"b":2}', "Extra data"),
        ('{"a":NaN}', "NaN"),
        ('{"a":1e400}', "inf"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_those_before_it_stay(
    path: str, line: str, reason: str
) -> None:
    """The status is for scripts, the message for people; later lines are not appended."""
    done = invoke("append", path, text=f'{{"a":1}}\n\n{{"a":2}}\n{line}\n{{"a":4}}\n')
    assert done.exit_code == 1
    assert done.stdout == f"2 records acknowledged in {path}\n"
    assert "line 4:" in done.stderr
    assert reason in done.stderr
    assert AppendLog(path).read() == [{"a": 1}, {"a": 2}]


def test_a_line_is_appended_while_the_pipe_stays_open(path: str, wait: Waiting) -> None:
    """A record is in the file at once, however slowly they come; Ctrl-C ends with the count."""
    with subprocess.Popen(
        [*COMMAND, "append", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        for number in range(2):
            process.stdin.write(b'{"number":%d}\n' % number)
            process.stdin.flush()
            wait.until(lambda expected=number: len(AppendLog(path).read()) > expected)  # type: ignore[misc]  # a default binds
        process.send_signal(signal.SIGINT)
        assert process.stdout
        # A reader sees the line just before its append returns, and Ctrl-C may come in between.
        assert process.stdout.read().decode() in {
            f"{count} acknowledged in {path}\n" for count in ("1 record", "2 records")
        }
    assert process.returncode == 130


def test_options_may_stand_before_and_after_the_file(path: str) -> None:
    """As anywhere else on a command line."""
    assert invoke("append", "--durability", "os", path, text='{"a":1}').exit_code == 0
    assert invoke("append", path, "--lock-timeout=inf", text='{"a":2}').exit_code == 0
    assert AppendLog(path).read() == [{"a": 1}, {"a": 2}]


def test_a_file_named_like_a_kind_is_reached_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bare word is the kind, with options before it too; `-` is no file."""
    monkeypatch.chdir(tmp_path)
    assert invoke("append", "./outcome", text='{"a":1}').exit_code == 0
    assert AppendLog(tmp_path / "outcome").read() == [{"a": 1}]
    for words in (["--durability", "os", "outcome"], ["-"]):
        done = invoke("append", *words, text='{"a":2}')
        assert done.exit_code == 2
        assert f"./{words[-1]}" in done.stderr
    assert os.listdir(tmp_path) == ["outcome"]


def test_a_lock_that_is_not_free_in_time_is_reported(
    path: str, hold: Callable[[str], contextlib.AbstractContextManager[int]]
) -> None:
    """With the line, the file, and that nothing was written; without a traceback."""
    with hold(path):
        done = run("append", path, "--lock-timeout", "0", text='{"a":1}\n')
    assert done.returncode == 1
    assert done.stderr.startswith(f"metrics-appender: {path}: no lock within 0 s")
    assert done.stderr.count("nothing was written") == 1
    assert done.stderr.count("\n") == 1


def test_an_error_of_the_system_is_reported_with_what_became_of_the_record(tmp_path: Path) -> None:
    """In one line: the file, the reason, and that nothing was written."""
    missing = tmp_path / "no" / "file"
    done = invoke("append", missing, text='{"a":1}')
    assert done.exit_code == 1
    reason = "No such file or directory (nothing was written) (line 1 of standard input)"
    assert done.stderr == f"metrics-appender: {missing}: {reason}\n"


def test_a_symbolic_link_is_named_as_one(tmp_path: Path) -> None:
    """The text of ELOOP, too many levels of links, would make people look for a loop."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert "a symbolic link" in invoke("append", tmp_path / "link", text='{"a":1}').stderr


def test_a_file_name_that_is_not_valid_text_can_be_printed(tmp_path: Path) -> None:
    """Its bytes are escaped, and the acknowledgement is not lost in a traceback."""
    name = os.fsdecode(b"\xff.ndjson")
    done = run("append", tmp_path / name, text='{"a":1}')
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 record acknowledged")
    assert AppendLog(tmp_path / name).read() == [{"a": 1}]


# append KIND


@pytest.mark.parametrize("kind", KINDS)
def test_a_typed_record_is_what_the_method_appends(tmp_path: Path, kind: str) -> None:
    """The same fields in the same order, in the skill's file."""
    options, suffix, arguments = KINDS[kind]
    common = ["--skill", SKILL, "--timestamp", "1760970309.5", "--dir", str(tmp_path / "shell")]
    done = invoke("append", kind, *options.split(), *common)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"1 record acknowledged in {tmp_path / 'shell' / (SKILL + suffix)}\n"
    method = MetricsAppender.append_rollback_event if kind == "rollback" else method_of(kind)
    method(MetricsAppender(tmp_path / "method"), SKILL, **arguments, timestamp=1760970309.5)
    expected, found = (
        list(json.loads((tmp_path / way / (SKILL + suffix)).read_bytes()).items())
        for way in ("method", "shell")
    )
    assert [item for item in found if item[0] != "event_id"] == [
        item for item in expected if item[0] != "event_id"
    ]
    assert [name for name, _ in found] == [name for name, _ in expected]


def method_of(kind: str) -> Callable[..., None]:
    """Return the method that appends records of a kind."""
    found: Callable[..., None] = getattr(
        MetricsAppender,
        f"append_{kind}_{'event' if kind in {'promotion', 'rollback'} else 'metric'}",
    )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_named_as_the_parameters(kind: str) -> None:
    """To know the method is to know the command."""
    shown = invoke("append", kind, "--help").stdout
    for name in list(inspect.signature(method_of(kind)).parameters)[2:]:
        assert f"  --{name.replace('_', '-')} " in shown, name


def test_every_wrong_field_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    """In one message without a traceback, and with a status of failure."""
    options = [*KINDS["outcome"][0].split(), "--confidence", "1.5", "--timestamp", "nan"]
    done = run("append", "outcome", "--skill", "../x", *options, "--dir", tmp_path / "new")
    assert done.returncode == 1
    assert done.stderr.startswith("metrics-appender: 3 wrong fields (nothing was written):")
    assert all(name in done.stderr for name in ("skill_name", "timestamp", "confidence"))
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "new") == []


def test_an_option_that_is_no_json_object_is_named(tmp_path: Path) -> None:
    """It is a usage error, as a malformed number is."""
    options = KINDS["promotion"][0].replace('{"tests":[1,2]}', "{'tests':1}").split()
    done = invoke("append", "promotion", "--skill", SKILL, *options, "--dir", tmp_path)
    assert done.exit_code == 2
    assert "--automated-checks" in done.stderr
    assert os.listdir(tmp_path) == []


def test_the_directory_comes_from_the_environment_as_in_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --dir, `METRICS_APPENDER_DIR` says where."""
    monkeypatch.setenv("METRICS_APPENDER_DIR", str(tmp_path / "metrics"))
    done = invoke("append", "rollback", "--skill", SKILL, *KINDS["rollback"][0].split())
    assert done.exit_code == 0
    assert os.listdir(tmp_path / "metrics") == [f"{SKILL}_promotion_log.json"]
