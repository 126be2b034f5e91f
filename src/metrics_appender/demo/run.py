"""Running the demo: worker processes append at once, and one is killed in mid-write.

Nothing is simulated: each acknowledgement comes over a pipe after its append returned, and the kill
is a SIGKILL while the kernel copies a line of many megabytes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .check import LONG_FILE, TORN_SUFFIX, WorkerResult
from .worker import ENDING, GO, KINDS, LONG_KIND, Message, Task, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess

MIN_PROCESSES: Final = 2  # one to be killed, one to recover the tail that it leaves
MIN_RECORDS: Final = len(KINDS)
# The length of the record during whose write a worker is killed. Where the kill comes too late, the
# next victim writes a longer one.
_LONG_CHARACTERS: Final = (24_000_000, 64_000_000, 160_000_000)
# When the file has grown by this much, it is by the long record and no other.
_SEEN_GROWING_BYTES: Final = 1_000_000
_POLL_SECONDS: Final = 0.0002
_END_SECONDS: Final = 5.0


class Kill(NamedTuple):
    """One SIGKILL: the worker it hit, the length of its record, and whether that line is torn."""

    writer: int
    pid: int
    characters: int
    is_torn: bool


class RunResult(NamedTuple):
    """The result of a run: each worker's result, the kills, failures of workers, and the time."""

    workers: list[WorkerResult]
    kills: list[Kill]
    failures: list[str]
    seconds: float


class _Worker:
    """A worker process, the parent's end of its pipe, and what was received from it."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.task = task
        self.acknowledged = 0
        self.is_killed = False
        self.failure = ""
        self.pipe, far_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(task, far_end), daemon=True)
        _start_with_signals_blocked(self.process)
        far_end.close()  # the worker has the only copy now, so its death closes the pipe

    def receive(self) -> Message | None:
        """Return the next message, or `None` after the last one."""
        try:
            message: Message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        return message

    def send(self) -> None:
        """Send the message that the worker waits for; a dead one is noticed by `receive`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(GO)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; a worker that had ended before was not killed."""
        self.process.kill()
        self.process.join()
        self.is_killed = self.process.exitcode == -signal.SIGKILL

    def describe_failure(self) -> str:
        """Return why the worker failed, the empty text if it did not."""
        self.process.join()
        if self.failure or (self.process.exitcode and not self.is_killed):
            reason = self.failure or f"exit code {self.process.exitcode}"
            return f"worker {self.task.writer} failed: {reason}"
        return ""

    def close_pipe(self) -> None:
        """Close the pipe, so that the worker ends at its next message."""
        self.pipe.close()

    def end(self) -> None:
        """Wait for the end of the process after `close_pipe`, kill it otherwise, and free it."""
        # Killed in the middle of an import, it could leave a temporary file behind.
        self.process.join(_END_SECONDS)
        self.process.kill()
        self.process.join()
        self.process.close()


def _start_with_signals_blocked(process: SpawnProcess) -> None:
    """Start a process in which the ending signals are blocked until it unblocks them itself.

    They are blocked here too, so that none interrupts the start.
    """
    resource_tracker.ensure_running()  # otherwise started by the process, which unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(
    directory: str, processes: int, records: int, on_acknowledged: Callable[[], object]
) -> RunResult:
    """Let workers append `records` each to a directory, and kill the last of them in mid-write.

    `on_acknowledged` is called for each acknowledgement as it is received.
    """
    workers = _Workers(directory, processes, records, on_acknowledged)
    try:
        return workers.run()
    finally:
        workers.end()


def total_records(processes: int, records: int) -> int:
    """Return how many acknowledgements a run ends with if the first kill tears a line."""
    return (processes - 1) * records + _records_before_kill(records)


def _records_before_kill(records: int) -> int:
    """Return how many records a victim appends before the long one: about half of them."""
    return records // 2 // len(KINDS) * len(KINDS) + KINDS.index(LONG_KIND)


class _Workers:
    """The workers of a run: the survivors, and one victim after another until a write is torn."""

    def __init__(
        self, directory: str, processes: int, records: int, on_acknowledged: Callable[[], object]
    ) -> None:
        self._path = os.path.join(directory, LONG_FILE)
        self._directory = directory
        self._on_acknowledged = on_acknowledged
        self._has_begun = False
        self._kills: list[Kill] = []
        self._victims: list[_Worker] = []
        self._workers: list[_Worker] = []
        self._listening: dict[Any, _Worker] = {}
        for writer in range(processes - 1):
            self._add(Task(directory, writer, records))
        self._survivors = list(self._workers)
        self._add_victim(_records_before_kill(records))

    def run(self) -> RunResult:
        """Start all workers at the same moment, and receive messages until the last one ends."""
        for worker in self._workers:
            self._receive(worker)
        self._has_begun = True
        begin = time.monotonic()
        for worker in self._workers:
            worker.send()
        while self._listening:
            for pipe in wait(list(self._listening)):
                self._receive(self._listening[pipe])
        seconds = time.monotonic() - begin
        results = [
            WorkerResult(worker.task, worker.acknowledged, worker.is_killed)
            for worker in self._workers
        ]
        failures = [failure for worker in self._workers if (failure := worker.describe_failure())]
        return RunResult(results, self._kills, failures, seconds)

    def end(self) -> None:
        """End the workers that are still running."""
        for worker in self._workers:
            worker.close_pipe()
        for worker in self._workers:
            worker.end()

    def _add(self, task: Task) -> _Worker:
        worker = _Worker(task)
        self._workers.append(worker)
        self._listening[worker.pipe] = worker
        return worker

    def _add_victim(self, records_before_kill: int) -> None:
        characters = _LONG_CHARACTERS[len(self._victims)]
        self._victims.append(
            self._add(
                Task(self._directory, len(self._workers), records_before_kill + 1, characters)
            )
        )

    def _receive(self, worker: _Worker) -> None:
        """Receive one message, and act on it."""
        word, value = worker.receive() or ("end", 0)
        if word == "acknowledged":
            worker.acknowledged += 1
            self._on_acknowledged()
        elif word == "long":
            self._kill_in_mid_write(worker)
        elif word == "failed":
            worker.failure = str(value)
        elif word == "end":
            del self._listening[worker.pipe]
            if worker.failure and worker in self._victims:
                self._release_survivors()  # there will be no kill to wait for
        elif self._has_begun:  # a later victim is ready
            worker.send()

    def _kill_in_mid_write(self, victim: _Worker) -> None:
        """Kill a worker while the file grows by its long record.

        If the line is torn, the survivors continue; otherwise a next victim writes a longer one.
        """
        before, torn_before = _size_of(self._path), _size_of(self._path + TORN_SUFFIX)
        while (
            not victim.pipe.poll(_POLL_SECONDS)
            and _size_of(self._path) - before < _SEEN_GROWING_BYTES
        ):
            pass
        victim.kill()
        # In this order: a recovery copies the tail to `.torn` before it truncates the file.
        is_torn = _is_torn(self._path) or _size_of(self._path + TORN_SUFFIX) > torn_before
        while victim.pipe in self._listening:
            self._receive(victim)
        if victim.failure:
            return
        self._kills.append(
            Kill(victim.task.writer, victim.process.pid or 0, victim.task.long_characters, is_torn)
        )
        if is_torn or len(self._victims) == len(_LONG_CHARACTERS):
            self._release_survivors()
        else:
            self._add_victim(_records_before_kill(MIN_RECORDS))

    def _release_survivors(self) -> None:
        for worker in self._survivors:
            worker.send()


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _is_torn(path: str) -> bool:
    """Return whether a file ends in the middle of a line at this moment."""
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read()[-1:] not in {b"\n", b""}
    except OSError:
        return False  # not there, or empty
