"""Every crash point of a repair: killed at each call, each call failing, and power cuts.

After each, no byte is lost, no record is new or there twice, and the next repair continues.
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
# A bad line that contains a whole record: half overwritten, it must not become that record.
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
    """A damaged log: its sealed segment, if any, its active file, and its valid records."""

    sealed: tuple[bytes, ...]
    lines: tuple[bytes, ...]
    tail: bytes
    records: list[bytes]
    name: str = f"s{SUFFIX}"

    def prepare(self, directory: str) -> str:
        """Write the files, and return the path of the log."""
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
    "bad lines only": Damage((), (BAD, b"bad"), b"", []),
    "a sealed segment and bad lines only": Damage(SEALED, (BAD, b"bad"), TAIL, SEALED_RECORDS),
}
of_all_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())


def content_of(directory: str) -> dict[str, bytes]:
    """Return the content of every file but the locks, by name."""
    return {
        name: Path(directory, name).read_bytes()
        for name in os.listdir(directory)
        if not name.endswith(".lock")
    }


def canonical(line: bytes) -> str:
    """Return a record as text that does not depend on its white space or order of fields."""
    return json.dumps(json.loads(line), sort_keys=True)


def verify(damage: Damage, path: str, *, is_whole: bool) -> None:
    """Verify the files after a crash, then repair, append and read all."""
    valid = Counter(map(canonical, damage.records))
    verify_bytes(damage, path)
    found = Counter(canonical(line) for line in lines_of(path) if is_record(line))
    assert not found - valid, "a record that is new, or there twice"
    repair(path)
    verify_bytes(damage, path)
    assert check(path).is_clean
    repaired = Counter(map(canonical, lines_of(path)))
    assert not repaired - valid
    torn = Path(torn_path(path)).read_bytes()
    assert all(
        any(form in torn for form in forms_of(record)) for record in (valid - repaired).elements()
    )
    assert not is_whole or repaired == valid
    assert repair(path).changes == ()
    AppendLog(path).append_line(event(99) + b"\n")
    assert canonical(lines_of(path)[-1]) == canonical(event(99))


def verify_bytes(damage: Damage, path: str) -> None:
    """Verify that each line is in a file of the log or in `.torn`, valid ones at their offset."""
    found = content_of(os.path.dirname(path))
    torn = found.pop(os.path.basename(torn_path(path)), b"")
    files = b"\n".join(found[name] for name in sorted(found))
    for line in (*damage.sealed, *damage.lines, damage.tail):
        assert line in files or line in torn
    active = Path(path).read_bytes()
    offset = 0
    for line in damage.lines:
        if line in GOOD:
            assert active[offset : offset + len(line)] == line
        offset += len(line) + 1


def lines_of(path: str) -> list[bytes]:
    """Return the lines of all files of the log, without blank ones, as other NDJSON readers do."""
    found = content_of(os.path.dirname(path))
    found.pop(os.path.basename(torn_path(path)), None)
    files = [
        *sorted(name for name in found if name != os.path.basename(path)),
        os.path.basename(path),
    ]
    return [line for name in files for line in found[name].split(b"\n")[:-1] if line.strip()]


def is_record(line: bytes) -> bool:
    """Return whether a line would be read as a record."""
    try:
        canonical(line)
    except ValueError:
        return False
    return True


def forms_of(record: str) -> list[bytes]:
    """Return the lines that hold the record of this canonical text."""
    everything = [*RECORDS, *SEALED_RECORDS]
    numbers = [50, 60, 61]
    everything += [event(number, is_compact=False) for number in numbers]
    return [form for form in everything if canonical(form) == record]


class Cases:
    """Repairs of one damaged log, each in a new directory and with a fault at one call."""

    def __init__(self, damage: Damage, directory: Path) -> None:
        """Run the repair once without a fault, to record its calls."""
        self._damage = damage
        self._directory = str(directory / "case")
        self.calls: list[Call] = []
        self.calls = self.run(0, perform_unsynced, is_fatal=False)

    def run(self, number: int, fault: Callable[[Call], Any], *, is_fatal: bool) -> list[Call]:
        """Repair with a fault at one call, and verify the files after it.

        Return the calls that were made in this process.
        """
        faults = OneFault(number, fault, perform_unsynced)
        path = self._damage.prepare(self._directory)
        error = None
        with intercepted(faults):
            faults.is_armed = True
            if is_fatal:
                assert repair_in_child(path) == -signal.SIGKILL
            else:
                error = repair_and_catch(path)
            faults.is_armed = False
        try:
            if (
                error
                and faults.calls[number - 1].name != "close"
                and any(call.name == "pwrite" for call in faults.calls[:number])
            ):
                note = error.__notes__[0]
                assert "repair again" in note or "may be in the file" in note
            verify(self._damage, path, is_whole=number == 0)
        except BaseException as failure:
            failure.add_note(f"{number}. {self.calls[number - 1] if self.calls else ''} {fault}")
            raise
        shutil.rmtree(self._directory)
        return faults.calls


def repair_and_catch(path: str) -> OSError | None:
    """Repair, and return the error if there is one."""
    try:
        repair(path)
    except OSError as error:
        return error
    return None


def repair_in_child(path: str) -> int:
    """Repair in a child process, and return its exit code."""
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
def test_a_call_that_fails_does_no_harm(damage: Damage, tmp_path: Path) -> None:
    """Every call of the repair with every errno, and every write as a short one."""
    cases = Cases(damage, tmp_path)
    for number, call in enumerate(cases.calls, 1):
        for code in ERRORS:
            cases.run(number, fail_with(code), is_fatal=False)
        if call.name in {"write", "pwrite"}:
            for length in (0, 1, -1):
                cases.run(number, write_part(length), is_fatal=False)


class PowerCuts:
    """The states that a power cut at each call can leave the files in.

    Any of the writes since the last sync may be on the disk, whole or in part.
    """

    def __init__(self, directory: str) -> None:
        """Start with the files as they are now."""
        self._directory = directory
        self._synced = content_of(directory)
        self._writes: dict[str, list[tuple[int, bytes]]] = {}
        self.states: set[tuple[tuple[str, bytes], ...]] = set()

    def __call__(self, call: Call) -> Any:
        """Make a call, and add the states that are possible after it."""
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
    """Whichever of the unsynced writes reached the disk."""
    path = damage.prepare(str(tmp_path / "log"))
    cuts = PowerCuts(os.path.dirname(path))
    with intercepted(cuts):
        repair(path)
    # Without valid records nothing is overwritten: the file is truncated.
    assert len(cuts.states) > (10 if damage.records else 1)
    again = str(tmp_path / "again")
    for state in cuts.states:
        os.mkdir(again)
        for name, content in state:
            Path(again, name).write_bytes(content)
        verify(damage, os.path.join(again, os.path.basename(path)), is_whole=False)
        shutil.rmtree(again)
