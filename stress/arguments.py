"""Types of command line arguments, and a clear error where an extra is not installed."""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def whole_number(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers that refuses what is below `least`."""

    def number_of(text: str) -> int:
        with contextlib.suppress(ValueError):
            if (number := int(text)) >= least:
                return number
        raise argparse.ArgumentTypeError(f"{text}: pass a whole number of {least} or more")

    return number_of


def span(text: str) -> float:
    """Parse a length of time, which is finite and above 0."""
    with contextlib.suppress(ValueError):
        if 0 < (length := float(text)) < math.inf:
            return length
    raise argparse.ArgumentTypeError(f"{text}: pass a number above 0")


@contextlib.contextmanager
def packages_of(extra: str, parser: argparse.ArgumentParser) -> Iterator[None]:
    """End with status 2 and say what to install where an import in the `with` fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        parser.error(f"{package} is not installed: pip install '.[{extra}]'")
