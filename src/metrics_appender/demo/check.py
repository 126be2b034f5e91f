"""Comparing the files of a demo with what was acknowledged: nothing lost, doubled, torn or changed.

The comparison shares no code with the library: it reads the raw bytes, with `json` of the standard
library.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .worker import KINDS, LONG_KIND, SKILL_NAME, Task, arguments_of, identity_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

# The kinds of records in each file, and the field that identifies a record of the kind.
FILES: Final[dict[str, dict[str, str]]] = {
    f"{SKILL_NAME}_performance.json": {"performance": "execution_id"},
    f"{SKILL_NAME}_outcomes.json": {"outcome": "execution_id"},
    f"{SKILL_NAME}_fidelity.json": {"fidelity": "execution_id"},
    f"{SKILL_NAME}_promotion_log.json": {
        "promotion": "approval_ticket",
        "rollback": "trigger_metric",
    },
}
LONG_FILE: Final = next(name for name, kinds in FILES.items() if LONG_KIND in kinds)
TORN_SUFFIX: Final = ".torn"
# The fields that the library adds to the arguments; their values are not known beforehand.
_ADDED: Final = frozenset({"timestamp", "timestamp_iso"})
_ADDED_TO_EVENTS: Final = _ADDED | {"event_id"}


@dataclass(frozen=True)
class WorkerResult:
    """What one worker achieved: the appends of its first `acknowledged` records returned.

    A worker that was killed may have written one more, whose append did not return.
    """

    task: Task
    acknowledged: int
    is_killed: bool = False


@dataclass
class Tally:
    """Counts of one kind: acknowledged records, those found whole, torn lines, lost records."""

    acknowledged: int = 0
    found: int = 0
    torn: int = 0
    lost: int = 0


@dataclass
class Findings:
    """What the comparison found: counts by kind, and a sentence for each problem.

    `unacknowledged` counts whole records of killed workers that were not acknowledged, and
    `quarantined` the bytes in the `.torn` of each file that has one: neither is a problem.
    """

    tallies: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in KINDS})
    problems: list[str] = field(default_factory=list)
    unacknowledged: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)


def check(directory: str, workers: Iterable[WorkerResult]) -> Findings:
    """Compare every file of a demo with what was acknowledged to its workers."""
    comparison = _Comparison(workers)
    for name, kinds in FILES.items():
        comparison.check_file(os.path.join(directory, name), kinds)
    comparison.count()
    return comparison.findings


class _Record(NamedTuple):
    worker: WorkerResult
    number: int


class _Comparison:
    """The records that may be in the files, those seen so far, and the findings."""

    def __init__(self, workers: Iterable[WorkerResult]) -> None:
        self.findings = Findings()
        self._allowed = {
            identity_of(worker.task.writer, number): _Record(worker, number)
            for worker in workers
            for number in _possible_numbers(worker)
        }
        self._seen: Counter[str] = Counter()
        self._event_ids: set[str] = set()

    def check_file(self, path: str, kinds: dict[str, str]) -> None:
        """Check every line of one file, and its end."""
        name = os.path.basename(path)
        *lines, rest = _bytes_of(path).split(b"\n")
        latest: dict[int, int] = {}
        for line_number, line in enumerate(lines, 1):
            fault = self._fault_of(line, kinds, latest)
            if fault:
                self._add_problem(f"{name}, line {line_number}: {fault}")
        if rest:
            self._add_problem(
                f"{name}: {self._torn(kinds)}, its last {len(rest):,} bytes are no whole line"
            )
        if os.path.exists(path + TORN_SUFFIX):
            self.findings.quarantined[name] = os.path.getsize(path + TORN_SUFFIX)

    def _fault_of(self, line: bytes, kinds: dict[str, str], latest: dict[int, int]) -> str:
        """Return what is wrong with a line, the empty text if nothing is."""
        content = _parse(line)
        if content is None:
            return f"{self._torn(kinds)}, it is no JSON object"
        identity = _identity_in(content, kinds)
        if identity not in self._allowed:
            return f"a record that nobody was to write ({identity or 'nameless'})"
        worker, number = self._allowed[identity]
        if not _is_whole(content, worker.task, number):
            return f"{identity} does not hold what was appended"
        self._seen[identity] += 1
        is_early = latest.get(worker.task.writer, -1) > number
        latest[worker.task.writer] = number
        if is_early:
            return f"{identity} stands after a later one of its writer"
        return self._event_fault(content)

    def _torn(self, kinds: dict[str, str]) -> str:
        self.findings.tallies[next(iter(kinds))].torn += 1
        return "torn"

    def _event_fault(self, content: dict[str, Any]) -> str:
        event_id = content.get("event_id")
        if event_id in self._event_ids:
            return f"an event_id that another event has, {event_id}"
        if event_id is not None:
            self._event_ids.add(event_id)
        return ""

    def count(self) -> None:
        """Count the acknowledged records, and find those that are lost or doubled."""
        for identity, (worker, number) in self._allowed.items():
            times = self._seen[identity]
            if times > 1:
                self._add_problem(f"{identity} is there {times} times")
            if number >= worker.acknowledged:
                self.findings.unacknowledged += times
                continue
            tally = self.findings.tallies[kind_of(number)]
            tally.acknowledged += 1
            tally.found += times > 0
            tally.lost += times == 0
            if times == 0:
                self._add_problem(f"{identity} is lost, though its append returned")

    def _add_problem(self, problem: str) -> None:
        self.findings.problems.append(problem)


def _possible_numbers(worker: WorkerResult) -> range:
    return range(min(worker.acknowledged + worker.is_killed, worker.task.records))


def _bytes_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line.decode())
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _identity_in(content: dict[str, Any], kinds: dict[str, str]) -> str:
    """Return the identity of a record of one of these kinds, the empty text for any other."""
    kind = content.get("metric_type", content.get("event_type"))
    identity = content.get(kinds[kind]) if isinstance(kind, str) and kind in kinds else None
    return identity if isinstance(identity, str) else ""


def _is_whole(content: dict[str, Any], task: Task, number: int) -> bool:
    kind = kind_of(number)
    marker = "event_type" if kind in {"promotion", "rollback"} else "metric_type"
    expected = {"skill_name": SKILL_NAME, **arguments_of(task, number), marker: kind}
    added = _ADDED_TO_EVENTS if marker == "event_type" else _ADDED
    return content.keys() == expected.keys() | added and all(
        content[name] == value for name, value in expected.items()
    )
