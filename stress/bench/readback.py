"""What is in the file after all were killed, against what the appends that had returned wrote."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from .record import process_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Faults(NamedTuple):
    """How many lines: torn or mixed; lost though their append had returned.

    There though no append returned.

    The lines of one process are alike, so a line that is doubled hides one that is lost. The stress
    suite looks closer; this counts what a user of each contender would miss.
    """

    torn: int
    lost: int
    unacknowledged: int


def judge(lines: Iterable[bytes], acknowledged: Sequence[int]) -> Faults:
    """Count the faults; `acknowledged` is each process's count of records whose append returned."""
    found = [0] * len(acknowledged)
    torn = 0
    for line, count in Counter(lines).items():
        process = process_of(line)
        if process is None or process >= len(found):
            torn += count
        else:
            found[process] += count
    return Faults(
        torn=torn,
        lost=sum(max(0, sent - there) for sent, there in zip(acknowledged, found, strict=True)),
        unacknowledged=sum(
            max(0, there - sent) for sent, there in zip(acknowledged, found, strict=True)
        ),
    )


def lines_of_file(path: str) -> list[bytes]:
    """Return the lines of an NDJSON file, newlines included: the last one may lack it."""
    with open(path, "rb") as file:
        return file.readlines()
