"""The doctor's hold on its processes: start, tell, wait no longer than a deadline, end.

Whatever touches the directory is done in them, so a mount that does not answer hangs a process and
not the doctor. They are started by `subprocess` and not by `multiprocessing`, whose spawn wants a
`__main__` that can be imported.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# The path is handed on as it is here: the program may have changed it.
_CODE: Final = f"import sys; sys.path[:] = sys.argv[2:]; from {__package__}.probe import main; main(sys.argv[1])"
_END_SECONDS: Final = 3.0
_PIECE_BYTES: Final = 1 << 16


class ProbeProcess:
    """A process that runs `probe`."""

    def __init__(self, lock_name: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with this package's code
            [sys.executable or "", "-P", "-c", _CODE, lock_name, *map(str, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = b""

    def tell(self, command: str, *arguments: Any) -> None:
        """Have it do something; `answer` waits for the result."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is dead, which its answer will tell
            self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")

    def answer(self, timeout_seconds: float) -> Any:
        """Return the result.

        Raises the `OSError` that it met, or `TimeoutError` when none came in time.
        """
        deadline = time.monotonic() + timeout_seconds
        line, newline, rest = self._unread.partition(b"\n")
        while not newline:
            self._unread += self._piece(deadline, timeout_seconds)
            line, newline, rest = self._unread.partition(b"\n")
        self._unread = rest
        is_well, *result = json.loads(line)
        if is_well:
            return result[0]
        raise OSError(result[0] or errno.EIO, result[1])

    def ask(self, command: str, *arguments: Any, timeout_seconds: float) -> Any:
        """Have it do something, and return the result."""
        self.tell(command, *arguments)
        return self.answer(timeout_seconds)

    def end(self) -> None:
        """End it by SIGKILL and close its pipes.

        One that not even that ends, for its mount does not answer, is left to the kernel.
        """
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def _piece(self, deadline: float, timeout_seconds: float) -> bytes:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout_seconds:g} s")
        piece = os.read(self._process.stdout.fileno(), _PIECE_BYTES)
        if not piece:
            raise ChildProcessError(
                errno.ECHILD, f"a process of the doctor's ended: {self._last_words()}"
            )
        return piece

    def _last_words(self) -> str:
        assert self._process.stderr
        words = (
            os.read(self._process.stderr.fileno(), _PIECE_BYTES).decode(errors="replace").strip()
        )
        return words.rpartition("\n")[2] or "without a word"


class Crew:
    """The doctor's processes, by number; each is started when it is first needed.

    A context that ends them all.
    """

    def __init__(self, lock_name: str) -> None:
        """Start none yet."""
        self._lock_name = lock_name
        self._processes: dict[int, ProbeProcess] = {}

    def member(self, number: int) -> ProbeProcess:
        """Return one of them."""
        if number not in self._processes:
            self._processes[number] = ProbeProcess(self._lock_name)
        return self._processes[number]

    def kill(self, number: int) -> None:
        """Send SIGKILL to one of them, and see it dead."""
        self._processes.pop(number).end()

    def end(self) -> None:
        """End all of them. Who is asked for afterwards is a new one."""
        while self._processes:
            self._processes.popitem()[1].end()

    def __enter__(self) -> Self:
        """Return the crew itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all of them."""
        self.end()
