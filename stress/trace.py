"""Verifies in system calls that lines are written, synced and unlocked before the acknowledgement.

Whether a line survives the loss of power does not show in a file, only in the order of the calls
that wrote it. Run as a program, this module is the process that is traced: it appends, and
acknowledges each line in a second file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from . import payloads, sabotage
from .adapters import LogAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable

_CALLS: Final = "write,pwrite64,fsync,fdatasync,flock,ftruncate"
# 1234 write(3</a/file>, "…", 5) = 5
_CALL: Final = re.compile(r"^\d+ +(\w+)\((\d+)<([^>]*)>(.*)\) += (-?\d+)")
LINES: Final = 8


def trace_appends(directory: str, durability: str, way: str = "") -> list[str]:
    """Trace a process that appends a few lines; return its system calls as strace writes them."""
    log = os.path.join(directory, "trace")
    command = [sys.executable, "-m", "stress.trace", directory, durability, way]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "16", "-e", f"trace={_CALLS}", "-o", log, *command],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with open(log) as file:
        return file.readlines()


def can_trace() -> bool:
    """Return whether strace is installed and may trace."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(
            ["strace", "-o", os.devnull, "true"], capture_output=True, check=False
        ).returncode
        == 0
    )


def verify_calls(calls: Iterable[str], directory: str) -> list[str]:
    """Return every fault in the calls of one thread that appends and acknowledges."""
    verified = _CallVerifier(directory)
    for call in calls:
        verified.see(call)
    if verified.acknowledged != LINES:
        verified.faults.append(f"{verified.acknowledged} acknowledgements, {LINES} were expected")
    return verified.faults


class _CallVerifier:
    """What is known of the file between one call and the next."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path, self._acks = _paths(directory)
        self._is_locked = self._is_written = self._is_name_durable = False
        self._is_dirty = False
        self.acknowledged = 0
        self.faults: list[str] = []

    def see(self, call: str) -> None:
        found = _CALL.match(call)
        if found is None or found[5].startswith("-"):
            return
        name, path, rest = found[1], found[3], found[4]
        if path == self._acks and name == "write":
            self._acknowledge()
        elif path == self._directory and name == "fsync":
            self._is_name_durable = True
        elif path == self._path:
            self._touch(name, rest)

    def _touch(self, name: str, rest: str) -> None:
        if name == "flock":
            self._is_locked = "LOCK_EX" in rest
        elif name in {"write", "pwrite64"}:
            self._is_written = self._is_dirty = True
            if not self._is_locked:
                self.faults.append("written without the lock")
        elif name in {"fsync", "fdatasync"}:
            self._is_dirty = False

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        number = self.acknowledged
        if not self._is_written:
            self.faults.append(f"line {number} was acknowledged before it was written")
        if self._is_dirty:
            self.faults.append(f"line {number} was acknowledged before it was synced")
        if self._is_locked:
            self.faults.append(f"line {number} was acknowledged with the lock held")
        if not self._is_name_durable:
            self.faults.append(f"line {number} was acknowledged before the directory was synced")
        self._is_written = False


def _paths(directory: str) -> tuple[str, str]:
    return os.path.join(directory, "traced.json"), os.path.join(directory, "acknowledged")


def main(directory: str, durability: str, way: str) -> None:
    """Append some lines, and acknowledge each with a write of its own."""
    sabotage.apply(way)
    path, acks = _paths(directory)
    adapter = LogAdapter(path, durability, 60.0)  # type: ignore[arg-type]  # from the command line
    with open(acks, "wb", buffering=0) as file:
        for number in range(LINES):
            payload = payloads.make(0, 1, number, 1 << 10)
            adapter.append(
                {
                    "writer": 1,
                    "number": number,
                    "digest": payloads.digest(payload),
                    "payload": payload,
                }
            )
            file.write(b"%d\n" % number)


if __name__ == "__main__":
    main(*sys.argv[1:])
