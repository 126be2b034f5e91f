"""The command: which races are run, where, and what is kept of them."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
import tempfile
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from metrics_appender.doctor.mounts import mount_of, read_mounts

from .page import PageError, read_page, write_page
from .picture import draw
from .races import append_races
from .reading import import_race, reading_races
from .results import Results, decode_results, encode_results
from .rounds import run_rounds
from .table import configurations_table, results_table

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from .rounds import Race

_FILE_WIDTH = 1000  # of a table that goes to a file or a pipe


class UnfitOptionError(Exception):
    """An option that cannot be followed; the text names it, and says why."""


def carry_out(options: argparse.Namespace) -> None:
    """Run the races asked for, or read them from a file.

    Print the table, and keep what is to be kept.
    """
    # What cannot be kept is found before the time is spent, not after.
    for kept in filter(None, (options.json, options.picture)):
        _make_directory(kept.parent)
    if options.page:
        _require_page(options.page)
    results = _read(options.from_file) if options.from_file else run(options)
    if options.json:
        options.json.write_bytes(encode_results(results))
    if options.picture:
        options.picture.write_text(draw(results), encoding="utf-8")
    if options.page:
        write_page(options.page, results)
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)
    console.print(results_table(results))
    console.print(configurations_table(results))


def run(options: argparse.Namespace) -> Results:
    """Run the races whose rows hold the text, in a directory that is removed."""
    console = Console(stderr=True)
    if options.dir and not os.path.isdir(options.dir):
        raise UnfitOptionError(f"--dir: {options.dir} is no directory")
    with tempfile.TemporaryDirectory(dir=options.dir) as directory, console.status("") as status:
        races = [
            race
            for whole in _races(options, directory)
            if (race := whole.only(options.only)).racers
        ]
        if not races:
            raise UnfitOptionError(f"--only: no row's 'race: contender' holds {options.only!r}")
        done = tuple(run_rounds(race, options.rounds, status.update) for race in races)
        return Results(
            _machine(directory),
            dt.datetime.now(dt.UTC).date().isoformat(),
            options.rounds,
            options.seconds,
            done,
        )


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnfitOptionError(f"nothing can be kept in {path}: {error.strerror}") from None


def _require_page(page: Path) -> None:
    try:
        read_page(page)
    except PageError as error:
        raise UnfitOptionError(f"--page: {error}") from None


def _read(path: Path) -> Results:
    try:
        return decode_results(path.read_bytes())
    except OSError as error:
        raise UnfitOptionError(f"--from: {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise UnfitOptionError(f"--from: {path} holds no results: {error}") from None


def _races(options: argparse.Namespace, directory: str) -> list[Race]:
    return [
        *append_races(options.seconds, directory),
        *reading_races(directory, options.read_bytes),
        import_race(),
    ]


def _machine(directory: str) -> str:
    mount = mount_of(os.path.realpath(directory), read_mounts())
    system = f"Python {platform.python_version()}, {platform.platform()}"
    return f"{os.cpu_count()} processors, {mount.file_system}, {system}"
