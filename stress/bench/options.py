"""The options of the benchmark's command, which can be read without the packages it needs."""

from __future__ import annotations

import argparse
from pathlib import Path

from stress.arguments import span, whole_number


def make_parser() -> argparse.ArgumentParser:
    """Return the parser that reads them."""
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench",
        description="Appends and reads, beside the bare system calls and peers.",
    )
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="of each race (5)")
    parser.add_argument("--seconds", type=span, default=1.0, help="of each turn (1)")
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="rows whose 'race: contender' holds this, and what they are compared with",
    )
    parser.add_argument(
        "--dir", metavar="DIR", help="where to write; a temporary directory without it"
    )
    parser.add_argument(
        "--read-bytes",
        type=whole_number(1000),
        default=1_000_000_000,
        metavar="N",
        help="how long the file to read is (1 GB)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the results, as SVG")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the tables into this page of Markdown"
    )
    parser.add_argument(
        "--from",
        dest="from_file",
        type=Path,
        metavar="FILE",
        help="take the results from a file, and run nothing",
    )
    return parser
