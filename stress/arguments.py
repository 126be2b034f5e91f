"""What the suite's commands take on their command lines, and how they say what they cannot take."""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def whole_number(least: int) -> Callable[[str], int]:
    """Return what makes a whole number of a text, and refuses one that is less."""

    def number_of(text: str) -> int:
        with contextlib.suppress(ValueError):
            if (number := int(text)) >= least:
                return number
        raise argparse.ArgumentTypeError(f"{text}: pass a whole number of {least} or more")

    return number_of


def span(text: str) -> float:
    """Return a length of time, in whatever unit."""
    with contextlib.suppress(ValueError):
        if 0 < (length := float(text)) < math.inf:
            return length
    raise argparse.ArgumentTypeError(f"{text}: pass a number above 0")


@contextlib.contextmanager
def packages_of(extra: str, parser: argparse.ArgumentParser) -> Iterator[None]:
    """Let imports tell what to install where that is missing, and end with status 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        parser.error(f"{package} is not installed: pip install '.[{extra}]'")
