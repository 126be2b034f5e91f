"""The README: every example in it runs and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(README.read_text(encoding="utf-8"))]
# The gate runs these as they stand: they make the environment that this test runs in.
NOT_HERE = ("python3 -m venv", "pytest ", "python -m stress")


def examples() -> list[tuple[str, str | None]]:
    """Return each Python example with the output that is shown right after it, `None` where none is."""
    found: list[tuple[str, str | None]] = []
    for index, (kind, text) in enumerate(BLOCKS):
        if kind == "python":
            following = BLOCKS[index + 1] if index + 1 < len(BLOCKS) else ("", "")
            found.append((text, following[1] if following[0] == "text" and "print(" in text else None))
    return found


@pytest.mark.parametrize(("code", "output"), examples())
def test_a_python_example_prints_what_is_shown(tmp_path: Path, code: str, output: str | None) -> None:
    """It runs by itself in an empty directory."""
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if output is not None:
        assert done.stdout == output


def test_the_shell_examples_run_in_their_order(tmp_path: Path) -> None:
    """Each command of the README, in one directory, one after the other."""
    commands = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    here = [line for line in commands if not line.startswith(NOT_HERE)]
    assert len(here) >= 3
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in here:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert '"run-2"' in done.stdout


def test_the_set_up_is_one_line_each() -> None:
    """One command shows the main job, one passes the tests; the gate finds them by these words."""
    lines = README.read_text(encoding="utf-8").splitlines()
    for job in ("metrics-appender demo", "pytest"):
        assert [line for line in lines if line.startswith("python3 -m venv") and job in line]
