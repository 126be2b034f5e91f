"""Crash points: each operation dies before, fails at, or is cut short in each system call.

After each fault: reopen, append, read. `CRASH_TABLE=1 pytest -s tests/write/test_crash_points.py`
prints the table of (operation, durability, call, fault, outcome).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from crash_operations import OPERATIONS, Operation, read
from system_calls import (
    OneFault,
    die,
    die_after_part,
    fail_with,
    intercepted,
    perform_unsynced,
    write_part,
)

from metrics_appender import AppendLog
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs import filename
from metrics_appender.outcome import MAY_BE_WRITTEN, NOTHING_WRITTEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from system_calls import Call, Fault

DURABILITIES = ("fsync", "group", "os")
# All of them at every call: a network file system returns more errors than a call's manual lists.
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR, errno.EFBIG, errno.ENOLCK)
FAILURES = {errno.errorcode[number]: fail_with(number) for number in ERRORS}
SHORT_WRITES = {
    "0 bytes written": write_part(0),
    "1 byte written": write_part(1),
    "n-1 bytes written": write_part(-1),
}
DEATHS_IN_A_WRITE = {
    "killed after 1 byte": die_after_part(1),
    "killed after n-1 bytes": die_after_part(-1),
}
# What may fail when the line is in the file, where cutting it back is too late or fails too.
LATE_CALLS = {"flock", "close", "ftruncate"}

of_every_operation = pytest.mark.parametrize("operation", OPERATIONS)
of_every_durability = pytest.mark.parametrize("durability", DURABILITIES)


@dataclass
class Case:
    """One fault at one call of one operation, and what became of the lines."""

    operation: Operation
    durability: Any
    directory: str
    number: int
    fault: str
    disk: OneFault
    is_killed: bool = False
    acknowledged: set[bytes] = field(default_factory=set)
    errors: dict[bytes, OSError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the files that exist before the operation."""
        os.mkdir(self.directory)
        self.log = self.operation.prepare(self.directory, self.durability)
        self.path = self.log.path

    def report(self, line: bytes, error: OSError | None) -> None:
        """Note the outcome of an append."""
        if error is None:
            self.acknowledged.add(line)
        else:
            self.errors[line] = error

    def run(self) -> None:
        """Do the operation in this process; it leaves no descriptor open."""
        before = descriptors()
        self.disk.is_armed = True
        self.operation.run(self.log, self.report)
        self.disk.is_armed = False
        assert descriptors() == before

    def run_in_child(self) -> None:
        """Do the operation in a child that may die of it, and report its lines through a pipe."""
        reader, writer = os.pipe()

        def report(line: bytes, error: OSError | None) -> None:
            if error is None:
                os.write(writer, line)

        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.disk.is_armed = True
                self.operation.run(self.log, report)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with open(reader, "rb") as pipe:
            self.acknowledged = set(pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in {0, -signal.SIGKILL}
        self.is_killed = status != 0

    def split(self) -> tuple[list[bytes], bytes]:
        """Return the whole lines that were added to the file, and the torn bytes behind them."""
        content = read(self.path)
        assert content.startswith(self.operation.whole), "a line of before is lost"
        *lines, torn = content[len(self.operation.whole) :].split(b"\n")
        return [line + b"\n" for line in lines], torn

    def outcome(self) -> str:
        """Return what was reported of the lines, and what the file holds of them."""
        said = [
            f"{errno.errorcode[error.errno or 0]}: {error.__notes__[0].partition(': ')[2]}"
            for error in self.errors.values()
        ]
        said += ["killed"] * self.is_killed + ["acknowledged"] * len(self.acknowledged)
        whole, torn = self.split()
        return f"{', '.join(said)} ({len(whole)} whole{' and a torn tail' * bool(torn)})"


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def check(case: Case) -> None:
    """Check the file and the errors after the fault, and the file after it was appended to."""
    whole, torn = case.split()
    lines = case.operation.lines
    assert case.acknowledged <= set(whole) <= set(lines)
    assert len(whole) == len(set(whole))
    refused = {
        line for line, error in case.errors.items() if MAY_BE_WRITTEN not in error.__notes__[0]
    }
    assert not refused & set(whole)
    is_recovered = bool(whole) or torn != case.operation.torn
    if is_recovered and torn:
        assert case.is_killed or refused < set(case.errors), "torn, and no error says so"
        assert any(line.startswith(torn) for line in lines)
    check_errors(case)
    check_next_appends(case, whole)
    check_torn_file(
        case.operation.torn, torn, read(filename.torn_path(case.path)), is_recovered=is_recovered
    )


def check_errors(case: Case) -> None:
    """Check that each error is that of the failed call, with a file and the line's outcome."""
    failed = case.disk.calls[case.number - 1] if 0 < case.number <= len(case.disk.calls) else None
    for error in case.errors.values():
        assert error.errno is not None
        assert (
            errno.errorcode[error.errno] == case.fault or error.errno in case.operation.own_errors
        )
        assert error.filename
        (note,) = error.__notes__
        assert NOTHING_WRITTEN in note or (MAY_BE_WRITTEN in note and is_late(failed, case))
    if failed and failed.name in {"flock", "close"} and case.fault in FAILURES:
        is_release = any(
            call.name == "write" and call.path == failed.path == case.path
            for call in case.disk.calls[: case.number]
        )
        assert not (is_release and case.acknowledged), (
            "a failed release was not told to all whom it concerns"
        )
    if failed and failed.name == "fsync":
        later = case.disk.calls[case.number :]
        assert not [call for call in later if call.name == "fsync" and call.path == failed.path], (
            "a failed sync was tried again"
        )


def is_late(failed: Call | None, case: Case) -> bool:
    """Return whether a line may be in the file after this failure.

    Cutting it back may have failed, or others may have written behind it.
    """
    was_synced = any(call.name == "fsync" and call.path == case.path for call in case.disk.calls)
    return (failed is not None and failed.name in LATE_CALLS) or (
        case.durability == "group" and was_synced
    )


def check_next_appends(case: Case, whole: list[bytes]) -> None:
    """Check that the lock is free and the same log and a new one append behind all whole lines."""
    records = list(map(json.loads, [*case.operation.whole.splitlines(), *whole]))
    assert AppendLog(case.path).read() == records
    fs_calls.make_directory(os.path.dirname(case.path))
    file = os.open(case.path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(file)
    case.log.append({"n": "the same log"})
    AppendLog(case.path, durability=case.durability).append({"n": "a new log"})
    added = b'{"n":"the same log"}\n{"n":"a new log"}\n'
    assert read(case.path) == case.operation.whole + b"".join(whole) + added
    assert AppendLog(case.path).read() == records + list(map(json.loads, added.splitlines()))


def check_torn_file(before: bytes, after: bytes, torn: bytes, *, is_recovered: bool) -> None:
    """Check that `.torn` ends with all torn bytes in order, behind a part of them at most."""
    expected = before + after if is_recovered else before
    assert torn.endswith(expected)
    assert before.startswith(torn.removesuffix(expected))


class Table:
    """Runs the cases of one operation, each in a directory of its own, and keeps a row for each."""

    def __init__(self, operation: str, durability: str, directory: Path) -> None:
        """Run the operation once without a fault, to learn its calls."""
        self._name = f"{operation} | {durability}"
        self._operation = OPERATIONS[operation]
        self._durability = durability
        self._directory = os.path.join(directory, "case")
        self.rows: list[str] = []
        self.calls: list[Call] = []
        self.calls = self.run(0, "none", perform_unsynced).disk.calls

    def run(self, number: int, name: str, fault: Fault, *, is_fatal: bool = False) -> Case:
        """Run the operation with a fault at one call, and check what it left."""
        call = (
            f"{number}. {self.calls[number - 1]}" if 0 < number <= len(self.calls) else f"{number}."
        )
        row = f"{self._name} | {call} | {name}"
        one_fault = OneFault(number, fault, self._operation.trouble())
        try:
            with intercepted(one_fault):
                case = Case(
                    self._operation, self._durability, self._directory, number, name, one_fault
                )
                (case.run_in_child if is_fatal else case.run)()
                row += f" | {case.outcome()}"
                check(case)
        except BaseException as error:
            error.add_note(row)
            raise
        self.rows.append(row)
        shutil.rmtree(self._directory)
        return case


@pytest.fixture
def table(operation: str, durability: str, tmp_path: Path) -> Iterator[Table]:
    """The table of one operation, printed on demand."""
    made = Table(operation, durability, tmp_path)
    yield made
    if "CRASH_TABLE" in os.environ:
        print("", *made.rows, sep="\n")


@of_every_durability
@of_every_operation
def test_a_process_killed_at_any_call_loses_no_acknowledged_line(table: Table) -> None:
    """Killed at any call or in mid-write, it leaves whole lines, and the next append recovers."""
    number = 1
    while table.run(number, "killed before", die, is_fatal=True).is_killed:
        number += 1
    assert number == len(table.calls) + 1
    for number, call in enumerate(table.calls, 1):
        for name, fault in DEATHS_IN_A_WRITE.items() if call.name == "write" else ():
            assert table.run(number, name, fault, is_fatal=True).is_killed


@of_every_durability
@of_every_operation
def test_a_call_that_fails_leaves_nothing_behind_unless_the_error_says_so(table: Table) -> None:
    """Every errno of every call is raised; no sync is repeated; no lock or descriptor stays."""
    for number in range(1, len(table.calls) + 1):
        for name, fault in FAILURES.items():
            table.run(number, name, fault)


@of_every_durability
@of_every_operation
def test_a_short_write_is_continued(table: Table, operation: str) -> None:
    """Where a write takes nothing, one byte, or all but one, the rest is written too."""
    for number, call in enumerate(table.calls, 1):
        for name, fault in SHORT_WRITES.items() if call.name == "write" else ():
            case = table.run(number, name, fault)
            assert case.operation.own_errors or not case.errors


def test_every_call_of_an_append_is_intercepted(tmp_path: Path) -> None:
    """The calls with faults are those that strace shows (`test_append_log`), so none escapes."""
    names = sorted(call.name for call in Table("plain append", "fsync", tmp_path).calls)
    assert names == ["close", "flock", "flock", "fstat", "fsync", "lstat", "open", "pread", "write"]
