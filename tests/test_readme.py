"""Every README.md of the project: its examples run as shown, and its links lead somewhere.

The blocks of a page run in their order in one directory, as a reader tries them; those in Python
run by themselves too. A `text` block right behind an example is what it prints. A shell block ends
with status 0, or as the line of its fence says (`sh exits 1`, `sh exits 0 or 1`); one that is
marked `sh no-test` sets up an environment, needs root, or takes long, and is not run.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import metrics_appender
from metrics_appender import MetricsAppenderError

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
GUIDE: Final = ROOT / "src" / "metrics_appender" / "README.md"
_COLUMNS: Final = 100
_FENCED: Final = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\](?:\(|: )([^)\s]+)")
_PATH: Final = re.compile(r"(?<![\w/.])(?:tests|stress|src)/[\w/.-]*\w")
_CODE: Final = re.compile(r"`[^`\n]*`")


def pages() -> list[Path]:
    """Return every README.md of the project, none of an environment or a cache in it."""
    found = sorted(ROOT.rglob("README.md"))
    return [page for page in found if not _is_hidden(page.relative_to(ROOT))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part in {"build", "dist"} for part in path.parts)


class Example(NamedTuple):
    """One example of a page: what is run, how it ends, and what it prints if that is shown."""

    line_number: int
    language: str
    code: str
    statuses: tuple[int, ...]
    output: str | None

    def run(self, directory: Path) -> None:
        """Run the example in a directory, and compare its status and output with what is shown."""
        script = directory / "example"
        script.write_text(self.code, encoding="utf-8")
        interpreter = [sys.executable] if self.language == "python" else ["bash", "-eu"]
        done = subprocess.run(
            [*interpreter, script.name],
            cwd=directory,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in self.statuses, f"{self.code}\n{done.stdout}{done.stderr}"
        if self.output is not None:
            assert done.stdout == self.output
        script.unlink()


def _environment() -> dict[str, str]:
    """Return the variables of an environment with this library installed and no setting of it."""
    kept = {name: value for name, value in os.environ.items() if name != "METRICS_APPENDER_DIR"}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def examples_of(page: Path) -> list[Example]:
    """Return what can be run of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    blocks = list(_FENCED.finditer(text))
    found = []
    for block, following in itertools.zip_longest(blocks, blocks[1:]):
        language, info, code = block.groups()
        if language not in {"python", "sh"} or info.strip() == "no-test":
            continue
        is_shown = (
            following is not None
            and following[1] == "text"
            and not text[block.end() : following.start()].strip()
        )
        number = text.count("\n", 0, block.start()) + 1
        output = following[3] if following is not None and is_shown else None
        found.append(Example(number, language, code, _statuses(info), output))
    return found


def _statuses(info: str) -> tuple[int, ...]:
    """Return the statuses that a fence allows: 0, unless it says otherwise."""
    if not info.strip():
        return (0,)
    matched = re.fullmatch(r" exits (\d+(?: or \d+)*)", info)
    assert matched, f"a fence with {info!r}"
    return tuple(map(int, matched[1].split(" or ")))


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


PAGES: Final = pages()
PYTHON: Final = [
    pytest.param(example, id=f"{_name(page)}:{example.line_number}")
    for page in PAGES
    for example in examples_of(page)
    if example.language == "python"
]


@pytest.mark.parametrize("example", PYTHON)
def test_a_python_example_prints_what_is_shown(tmp_path: Path, example: Example) -> None:
    """Each example runs by itself in an empty directory."""
    example.run(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_examples_of_a_page_run_in_their_order(tmp_path: Path, page: Path) -> None:
    """All examples of a page, Python and shell, run one after the other in one directory."""
    for example in examples_of(page):
        example.run(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Each link names a file of the project, and one of its headings if any."""
    for target in _LINK.findall(_prose_of(page)):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if heading:
            assert heading in anchors_of(file), target


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_paths_that_a_page_names_are_there(page: Path) -> None:
    """Each path exists, above all those of tests that are said to prove something."""
    for path in _PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists() or not Path(path).suffix, path


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_has_no_line_that_is_too_long(page: Path) -> None:
    """Only rows of tables and pictures, which Markdown wants in one line, may be longer."""
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > _COLUMNS and not line.startswith(("|", "!["))]
    assert long == []


def anchors_of(page: Path) -> set[str]:
    """Return what a link to a heading of a page can name, as GitHub makes it of the heading."""
    headings = re.findall(r"^#+ (.+)$", _prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _prose_of(page: Path) -> str:
    """Return a page without its examples, in which `#` begins a comment."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def test_every_error_is_in_the_table_of_errors() -> None:
    """The table has each error with its built-in, and the root below."""
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## Errors\n") :]
    section = section[: section.index("\n## ")]
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


def test_the_guide_names_everything_public() -> None:
    """It names each name of the package, and each method of the classes that append."""
    named = {word for code in _CODE.findall(_all_of(GUIDE)) for word in re.findall(r"\w+", code)}
    named |= {word for example in examples_of(GUIDE) for word in re.findall(r"\w+", example.code)}
    wanted = set(metrics_appender.__all__)
    for kind in (metrics_appender.AppendLog, metrics_appender.MetricsAppender):
        wanted |= {name for base in kind.__mro__ for name in vars(base) if not name.startswith("_")}
    assert wanted - named == set()


def _all_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_set_up_is_one_line_each() -> None:
    """One command shows the main job and one passes the tests, in exactly these words."""
    lines = README.read_text(encoding="utf-8").splitlines()
    for job in ("metrics-appender demo", "pytest"):
        assert [line for line in lines if line.startswith("python3 -m venv") and job in line]
