"""The README: every example in it runs and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metrics_appender
from metrics_appender import MetricsAppenderError

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = README.read_text(encoding="utf-8")
BLOCKS = list(BLOCK.finditer(TEXT))
# The gate runs these as they stand: they make the environment that this test runs in.
NOT_HERE = ("python3 -m venv", "pytest ", "python -m stress")


def examples() -> list[tuple[str, str | None]]:
    """Return each Python example with the output that is shown right after it, `None` where none is."""
    found: list[tuple[str, str | None]] = []
    for block, following in zip(BLOCKS, [*BLOCKS[1:], None], strict=True):
        if block[1] == "python":
            is_shown = (
                following is not None
                and following[1] == "text"
                and not TEXT[block.end() : following.start()].strip()
            )
            found.append((block[2], following[2] if following is not None and is_shown else None))
    return found


def show(directory: Path, code: str, output: str | None) -> None:
    """Run an example in a directory.

    Compare what it prints with what is shown, if anything is.
    """
    script = directory / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if output is not None:
        assert done.stdout == output


@pytest.mark.parametrize(("code", "output"), examples())
def test_a_python_example_prints_what_is_shown(
    tmp_path: Path, code: str, output: str | None
) -> None:
    """It runs by itself in an empty directory."""
    show(tmp_path, code, output)


def test_the_python_examples_print_the_same_in_their_order(tmp_path: Path) -> None:
    """All in one directory, one after the other, as who reads the README tries them."""
    for code, output in examples():
        show(tmp_path, code, output)


def test_the_shell_examples_run_in_their_order(tmp_path: Path) -> None:
    """Each command of the README, in one directory, one after the other."""
    commands = [line for block in BLOCKS if block[1] == "sh" for line in block[2].splitlines()]
    here = [line for line in commands if not line.startswith(NOT_HERE)]
    assert len(here) >= 3
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = ""
    for command in here:
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        limits = (
            1 if "doctor" in command else 0
        )  # what it says of this machine's disk is not the README's matter
        assert done.returncode <= limits, f"{command}\n{done.stdout}{done.stderr}"
        printed += done.stdout
    assert '"run-2"' in printed


def test_every_error_is_in_the_table_of_errors() -> None:
    """With the built-in that it is too, and the root below the table."""
    section = TEXT[TEXT.index("### Errors") : TEXT.index("### Will this directory do?")]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", section, re.MULTILINE))
    kinds = [
        kind
        for name in metrics_appender.__all__
        if isinstance(kind := getattr(metrics_appender, name), type)
    ]
    errors = {
        kind.__name__: kind
        for kind in kinds
        if issubclass(kind, MetricsAppenderError) and kind is not MetricsAppenderError
    }
    assert rows.keys() == errors.keys()
    assert all(
        rows[name].rpartition(".")[2] in {base.__name__ for base in kind.__mro__}
        for name, kind in errors.items()
    )
    assert "All but the last are `MetricsAppenderError`s" in section


def test_the_set_up_is_one_line_each() -> None:
    """One command shows the main job, one passes the tests; the gate finds them by these words."""
    lines = TEXT.splitlines()
    for job in ("metrics-appender demo", "pytest"):
        assert [line for line in lines if line.startswith("python3 -m venv") and job in line]
