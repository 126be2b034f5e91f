"""The command line: which races, how long, where, and what is kept of them."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from metrics_appender.doctor.mounts import mount_of, read_mounts

from .picture import draw
from .races import append_races
from .reading import import_race, reading_races
from .results import Results, decode_results, encode_results
from .rounds import run_rounds
from .table import configurations_table, results_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rounds import Race

_MARKDOWN_WIDTH = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the races asked for, or read them from a file; print the table, and keep what is to be kept."""
    options = _parse(arguments)
    for kept in filter(None, (options.json, options.picture)):
        kept.parent.mkdir(parents=True, exist_ok=True)  # before the time is spent, not after
    results = decode_results(options.from_file.read_bytes()) if options.from_file else run(options)
    if options.json:
        options.json.write_bytes(encode_results(results))
    if options.picture:
        options.picture.write_text(draw(results), encoding="utf-8")
    width = None if sys.stdout.isatty() and not options.markdown else _MARKDOWN_WIDTH
    console = Console(width=width)
    console.print(results_table(results, is_markdown=options.markdown))
    console.print(configurations_table(results, is_markdown=options.markdown))


def run(options: argparse.Namespace) -> Results:
    """Run the races whose rows hold the text, in a directory that is removed."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=options.dir) as directory, console.status("") as status:
        races = [race.only(options.only) for race in _races(options, directory)]
        done = tuple(run_rounds(race, options.rounds, status.update) for race in races if race.racers)
        return Results(_machine(directory), dt.datetime.now(dt.UTC).date().isoformat(), options.rounds, options.seconds, done)


def _races(options: argparse.Namespace, directory: str) -> list[Race]:
    return [*append_races(options.seconds, directory), *reading_races(directory, options.read_bytes), import_race()]


def _machine(directory: str) -> str:
    mount = mount_of(os.path.realpath(directory), read_mounts())
    return f"{os.cpu_count()} processors, {mount.file_system}, Python {platform.python_version()}, {platform.platform()}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench", description="Appends and reads, beside the bare system calls and peers."
    )
    parser.add_argument("--rounds", type=int, default=7, help="of each race (7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn (1)")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="rows whose 'race: contender' holds this, and what they are compared with"
    )
    parser.add_argument("--dir", metavar="DIR", help="where to write; a temporary directory without it")
    parser.add_argument("--read-bytes", type=int, default=1_000_000_000, metavar="N", help="how long the file to read is (1 GB)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the results, as SVG")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--from", dest="from_file", type=Path, metavar="FILE", help="take the results from a file, and run nothing")
    return parser.parse_args(arguments)
