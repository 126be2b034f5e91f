"""The package from outside: its names, import time, types, and the examples in its docstrings."""

from __future__ import annotations

import doctest
import importlib
import importlib.resources
import inspect
import json
import pkgutil
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import metrics_appender

if TYPE_CHECKING:
    from pathlib import Path

FOUND = pkgutil.walk_packages(metrics_appender.__path__, "metrics_appender.")
MODULES = sorted(module.name for module in FOUND if not module.name.endswith("__main__"))
HEAVY = ["asyncio", "filelock", "multiprocessing", "numpy", "portalocker", "rich", "typer"]


def public_objects() -> list[tuple[str, object]]:
    """Return every public name of the package, and every public method of its classes."""
    found: list[tuple[str, object]] = []
    for name in metrics_appender.__all__:
        value = getattr(metrics_appender, name)
        found.append((name, value))
        if inspect.isclass(value):
            ours = [
                vars(base)
                for base in value.__mro__
                if base.__module__.startswith(metrics_appender.__name__)
            ]
            parts = [
                (member, getattr(part, "fget", part))
                for names in ours
                for member, part in names.items()
                if not member.startswith("_")
            ]
            found += [
                (f"{name}.{member}", part) for member, part in parts if inspect.isfunction(part)
            ]
    return found


def test_all_is_sorted_and_names_just_what_is_public() -> None:
    """`__all__` lists every public name, and every name in it exists."""
    names = [
        name
        for name, value in vars(metrics_appender).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    assert metrics_appender.__all__ == sorted(names)


def test_a_star_import_gives_the_public_names() -> None:
    """`from metrics_appender import *` works and brings no other name."""
    names: dict[str, object] = {}
    exec("from metrics_appender import *", names)
    names.pop("__builtins__")
    assert sorted(names) == metrics_appender.__all__


def test_dir_shows_the_public_names_only() -> None:
    """What completion in a shell offers: neither modules nor private names."""
    assert dir(metrics_appender) == metrics_appender.__all__


def test_importing_the_package_stays_light() -> None:
    """A new interpreter that imports it has loaded no extra, no file lock and no asyncio."""
    loaded = f"[name for name in {HEAVY} if name in sys.modules]"
    code = f"import sys, json, metrics_appender; print(json.dumps({loaded}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
    assert done.stderr == ""


def test_an_append_and_a_read_need_no_extra(tmp_path: Path) -> None:
    """Appending and reading work where numpy, Typer and Rich cannot be imported."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["numpy", "typer", "rich"]))
from metrics_appender import MetricsAppender
metrics = MetricsAppender(sys.argv[1])
metrics.append_promotion_event("s", "f", "t", "p", "k", "r", {"a": (1, 2)})
print(metrics.read_metrics("s_promotion_log.json")[0]["automated_checks"])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{'a': [1, 2]}\n"


def test_the_package_tells_that_it_is_typed() -> None:
    """`py.typed` is beside the modules (PEP 561)."""
    assert importlib.resources.files(metrics_appender).joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    ("name", "value"), public_objects(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_whatever_is_public_is_documented_and_typed(name: str, value: object) -> None:
    """Each public name has a docstring of its own, each method an annotated return."""
    assert value.__doc__, name
    if inspect.isfunction(value):
        assert "return" in value.__annotations__, name


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_every_docstring_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prints what it shows, in an empty directory with the public names imported."""
    monkeypatch.delenv("METRICS_APPENDER_DIR", raising=False)
    module = importlib.import_module(name)
    public = {public: getattr(metrics_appender, public) for public in metrics_appender.__all__}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for number, example in enumerate(doctest.DocTestFinder().find(module, extraglobs=public)):
        directory = tmp_path / str(number)
        directory.mkdir()
        monkeypatch.chdir(directory)
        report: list[str] = []
        assert runner.run(example, out=report.append).failed == 0, "".join(report)


def test_the_main_classes_have_an_example() -> None:
    """Each main class shows in its docstring how it is used."""
    for kind in (metrics_appender.AppendLog, metrics_appender.MetricsAppender):
        assert ">>> " in (kind.__doc__ or "")
