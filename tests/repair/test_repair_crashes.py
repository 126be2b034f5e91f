"""Every crash point of a repair.

Killed before, in the middle of, or failed by each of its calls, and the power cut between them.

After each: no byte is lost, nothing is a record that was none, no record stands twice, and the next
repair goes on.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from damage import SUFFIX, event
from system_calls import (
    Call,
    OneFault,
    die,
    die_after_part,
    fail_with,
    intercepted,
    perform_unsynced,
    write_part,
)

from metrics_appender import AppendLog, check, repair
from metrics_appender.fs.filename import sealed_path, torn_path

if TYPE_CHECKING:
    from collections.abc import Callable

ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR)
# A bad line in which a record stands whole: half of it overwritten must not bring that to light.
BAD = b'{"torn in mid-' + event(50)
SPACED = event(60, is_compact=False) + event(61, is_compact=False)
COMPACT = [event(70), event(71), event(72)]
GOOD = [event(number) for number in range(5)]
LINES = (
    GOOD[0],
    BAD,
    GOOD[1],
    SPACED,
    GOOD[2],
    b"".join(COMPACT),
    GOOD[3],
    b"\0" * 900 + GOOD[4],
    b"",
    GOOD[4],
    BAD + b"}",
)
TAIL = b'{"torn'
SEALED = (event(80), BAD + b"!", event(81), event(82) + event(83))
RECORDS = [*GOOD, event(60), event(61), *COMPACT]
SEALED_RECORDS = [event(80), event(81), event(82), event(83)]


@dataclass(frozen=True)
class Damage:
    """What is in the log before.

    A sealed segment or none, the lines and the tail of the active file; and what is good in it.
    """

    sealed: tuple[bytes, ...]
    lines: tuple[bytes, ...]
    tail: bytes
    records: list[bytes]
    name: str = f"s{SUFFIX}"

    def prepare(self, directory: str) -> str:
        """Write the files; return the log's path."""
        os.mkdir(directory)
        path = os.path.join(directory, self.name)
        sealed = b"".join(line + b"\n" for line in self.sealed)
        if sealed:
            Path(sealed_path(path, 0, len(sealed))).write_bytes(sealed)
        Path(path).write_bytes(b"".join(line + b"\n" for line in self.lines) + self.tail)
        return path


DAMAGES = {
    "one file": Damage((), LINES, TAIL, RECORDS),
    "objects without ids": Damage((), LINES[:7], b"", RECORDS[:4] + RECORDS[5:], "any.ndjson"),
    "a sealed segment": Damage(SEALED, (GOOD[0], GOOD[1]), b"", [*SEALED_RECORDS, *GOOD[:2]]),
    "nothing but bad lines": Damage((), (BAD, b"bad"), b"", []),
    "a sealed segment and nothing but bad lines": Damage(
        SEALED, (BAD, b"bad"), TAIL, SEALED_RECORDS
    ),
}
of_all_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())


def content_of(directory: str) -> dict[str, bytes]:
    """Return the files that hold lines, or what was put aside, by name."""
    return {
        name: Path(directory, name).read_bytes()
        for name in os.listdir(directory)
        if not name.endswith(".lock")
    }


def canonical(line: bytes) -> str:
    """Return a record as text that does not know how it was written."""
    return json.dumps(json.loads(line), sort_keys=True)


def judge(damage: Damage, path: str, *, is_whole: bool) -> None:
    """Check the files as a crash has left them, then repair, append and read all."""
    kept = Counter(map(canonical, damage.records))
    judge_bytes(damage, path)
    found = Counter(canonical(line) for line in lines_of(path) if is_record(line))
    assert not found - kept, "a record that was none before, or one twice"
    repair(path)
    judge_bytes(damage, path)
    assert check(path).is_clean
    mended = Counter(map(canonical, lines_of(path)))
    assert not mended - kept
    aside = Path(torn_path(path)).read_bytes()
    assert all(
        any(form in aside for form in forms_of(record)) for record in (kept - mended).elements()
    )
    assert not is_whole or mended == kept
    assert repair(path).changes == ()
    AppendLog(path).append_line(event(99) + b"\n")
    assert canonical(lines_of(path)[-1]) == canonical(event(99))


def judge_bytes(damage: Damage, path: str) -> None:
    """Every line of before is where it was, or in `.torn`, or, if it is of objects, these are in the file."""
    found = content_of(os.path.dirname(path))
    aside = found.pop(os.path.basename(torn_path(path)), b"")
    files = b"\n".join(found[name] for name in sorted(found))
    for line in (*damage.sealed, *damage.lines, damage.tail):
        assert line in files or line in aside
    active = Path(path).read_bytes()
    place = 0
    for line in damage.lines:
        if line in GOOD:
            assert active[place : place + len(line)] == line
        place += len(line) + 1


def lines_of(path: str) -> list[bytes]:
    """Return the lines of all files of the log that have something in them, as any reader would that knows no marks."""
    found = content_of(os.path.dirname(path))
    found.pop(os.path.basename(torn_path(path)), None)
    files = [
        *sorted(name for name in found if name != os.path.basename(path)),
        os.path.basename(path),
    ]
    return [line for name in files for line in found[name].split(b"\n")[:-1] if line.strip()]


def is_record(line: bytes) -> bool:
    """Whether a line would be read as a record."""
    try:
        canonical(line)
    except ValueError:
        return False
    return True


def forms_of(record: str) -> list[bytes]:
    """Return how the record of this canonical text is written."""
    everything = [*RECORDS, *SEALED_RECORDS]
    numbers = [50, 60, 61]
    everything += [event(number, is_compact=False) for number in numbers]
    return [form for form in everything if canonical(form) == record]


class Cases:
    """Runs repairs of one damage, each with one fault, in a directory of its own."""

    def __init__(self, damage: Damage, directory: Path) -> None:
        """Run it once with nothing going wrong, to learn its calls."""
        self._damage = damage
        self._directory = str(directory / "case")
        self.calls: list[Call] = []
        self.calls = self.run(0, perform_unsynced, is_fatal=False)

    def run(self, number: int, fault: Callable[[Call], Any], *, is_fatal: bool) -> list[Call]:
        """Repair with a fault at one call, judge what it left.

        Return the calls that were made in this process.
        """
        disk = OneFault(number, fault, perform_unsynced)
        path = self._damage.prepare(self._directory)
        error = None
        with intercepted(disk):
            disk.is_armed = True
            if is_fatal:
                assert repair_in_child(path) == -signal.SIGKILL
            else:
                error = repair_and_catch(path)
            disk.is_armed = False
        try:
            if (
                error
                and disk.calls[number - 1].name != "close"
                and any(call.name == "pwrite" for call in disk.calls[:number])
            ):
                assert (
                    "repair again" in error.__notes__[0]
                    or "may be in the file" in error.__notes__[0]
                )
            judge(self._damage, path, is_whole=number == 0)
        except BaseException as failure:
            failure.add_note(f"{number}. {self.calls[number - 1] if self.calls else ''} {fault}")
            raise
        shutil.rmtree(self._directory)
        return disk.calls


def repair_and_catch(path: str) -> OSError | None:
    """Repair; return the error if there is one."""
    try:
        repair(path)
    except OSError as error:
        return error
    return None


def repair_in_child(path: str) -> int:
    """Repair in a child; return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            repair(path)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@of_all_damage
def test_a_repair_that_is_killed_at_any_call_does_no_harm(damage: Damage, tmp_path: Path) -> None:
    """Before every call, and in the middle of each write."""
    cases = Cases(damage, tmp_path)
    for number, call in enumerate(cases.calls, 1):
        cases.run(number, die, is_fatal=True)
        if call.name in {"write", "pwrite"} and len(call.arguments[1]) > 1:
            cases.run(number, die_after_part(1), is_fatal=True)
            cases.run(number, die_after_part(-1), is_fatal=True)


@of_all_damage
def test_a_call_that_fails_does_no_harm_either(damage: Damage, tmp_path: Path) -> None:
    """Every call of the repair, with every errno, and every write that is short."""
    cases = Cases(damage, tmp_path)
    for number, call in enumerate(cases.calls, 1):
        for code in ERRORS:
            cases.run(number, fail_with(code), is_fatal=False)
        if call.name in {"write", "pwrite"}:
            for length in (0, 1, -1):
                cases.run(number, write_part(length), is_fatal=False)


class PowerCuts:
    """Keeps what the files may hold if the power goes.

    Of the writes that are not synced, any may be there, in full or by half.
    """

    def __init__(self, directory: str) -> None:
        """Begin with what is on the disk."""
        self._directory = directory
        self._synced = content_of(directory)
        self._writes: dict[str, list[tuple[int, bytes]]] = {}
        self.states: set[tuple[tuple[str, bytes], ...]] = set()

    def __call__(self, call: Call) -> Any:
        """Let a call be made, and note what may be there then."""
        result = call.perform()
        name = os.path.basename(call.path)
        if call.name == "pwrite":
            self._writes.setdefault(name, []).append((call.arguments[2], bytes(call.arguments[1])))
        elif call.name in {"fsync", "ftruncate"} and os.path.isfile(call.path):
            self._synced[name] = Path(call.path).read_bytes()
            self._writes.pop(name, None)
        if call.name in {"pwrite", "fsync", "ftruncate"}:
            self.states.update(tuple(sorted(state.items())) for state in self._possible())
        return result

    def _possible(self) -> list[dict[str, bytes]]:
        choices = []
        for name, writes in self._writes.items():
            for chosen in itertools.product(
                (None, slice(0, 1), slice(1, None), slice(None)), repeat=min(len(writes), 5)
            ):
                content = bytearray(self._synced[name])
                for (offset, data), part in zip(writes[-5:], chosen, strict=True):
                    if part is not None:
                        begin = offset + (part.start or 0)
                        content[begin : begin + len(data[part])] = data[part]
                choices.append({**self._synced, name: bytes(content)})
        return choices or [dict(self._synced)]


@of_all_damage
def test_a_power_cut_in_the_middle_of_a_repair_does_no_harm(damage: Damage, tmp_path: Path) -> None:
    """Whatever of what was not synced is there."""
    path = damage.prepare(str(tmp_path / "log"))
    cuts = PowerCuts(os.path.dirname(path))
    with intercepted(cuts):
        repair(path)
    assert len(cuts.states) > (
        10 if damage.records else 1
    )  # nothing is overwritten where nothing is good: it is cut
    again = str(tmp_path / "again")
    for state in cuts.states:
        os.mkdir(again)
        for name, content in state:
            Path(again, name).write_bytes(content)
        judge(damage, os.path.join(again, os.path.basename(path)), is_whole=False)
        shutil.rmtree(again)
