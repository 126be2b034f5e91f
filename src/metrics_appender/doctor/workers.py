"""The worker processes of the doctor: start them, send commands, receive results in time, end them.

Only they touch the directory, so a mount that does not answer hangs a worker and not the doctor.
They are started by `subprocess`, because the spawn method of `multiprocessing` needs a `__main__`
that can be imported.
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

from . import probe

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# A worker gets this process's `sys.path`, which the program may have changed.
_CODE: Final = (
    f"import sys; sys.path[:] = sys.argv[2:]; from {probe.__name__} import main; main(sys.argv[1])"
)
_END_SECONDS: Final = 3.0
_READ_BYTES: Final = 1 << 16


class Worker:
    """A process that runs the commands of `probe`."""

    def __init__(self, lock_name: str) -> None:
        """Start the process; `lock_name` is `module:class`."""
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with this package's code
            [sys.executable or "", "-P", "-c", _CODE, lock_name, *map(str, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = b""

    def send(self, command: str, *arguments: Any) -> None:
        """Send a command; `receive` waits for its result."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # the process has ended: `receive` raises
            self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")

    def receive(self, timeout_seconds: float) -> Any:
        """Return the result of a command.

        Raises the `OSError` that the worker met, and `TimeoutError` without a result in time.
        """
        deadline = time.monotonic() + timeout_seconds
        line, newline, rest = self._unread.partition(b"\n")
        while not newline:
            self._unread += self._read(deadline, timeout_seconds)
            line, newline, rest = self._unread.partition(b"\n")
        self._unread = rest
        is_well, *result = json.loads(line)
        if is_well:
            return result[0]
        raise OSError(result[0] or errno.EIO, result[1])

    def request(self, command: str, *arguments: Any, timeout_seconds: float) -> Any:
        """Send a command, and return its result."""
        self.send(command, *arguments)
        return self.receive(timeout_seconds)

    def end(self) -> None:
        """Send SIGKILL, wait a few seconds for the end, and close the pipes.

        A process in a system call on a mount that does not answer stays until the call returns.
        """
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def _read(self, deadline: float, timeout_seconds: float) -> bytes:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout_seconds:g} s")
        data = os.read(self._process.stdout.fileno(), _READ_BYTES)
        if not data:
            raise ChildProcessError(
                errno.ECHILD, f"a process of the doctor's ended: {self._last_line_of_stderr()}"
            )
        return data

    def _last_line_of_stderr(self) -> str:
        assert self._process.stderr
        text = os.read(self._process.stderr.fileno(), _READ_BYTES).decode(errors="replace").strip()
        return text.rpartition("\n")[2] or "without a word"


class Workers:
    """Worker processes by number, each started at first use; a context manager that ends them."""

    def __init__(self, lock_name: str) -> None:
        """Start none yet; `lock_name` is `module:class`."""
        self._lock_name = lock_name
        self._processes: dict[int, Worker] = {}

    def worker(self, number: int) -> Worker:
        """Return the worker of this number."""
        if number not in self._processes:
            self._processes[number] = Worker(self._lock_name)
        return self._processes[number]

    def kill(self, number: int) -> None:
        """End the worker of this number by SIGKILL."""
        self._processes.pop(number).end()

    def end(self) -> None:
        """End all workers; `worker` starts new ones afterwards."""
        while self._processes:
            self._processes.popitem()[1].end()

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all workers."""
        self.end()
