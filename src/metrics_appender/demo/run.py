"""The demo: workers append at once, one is killed in mid-write.

The files are checked against what was told.

Nothing here is pretended: the workers are processes of their own, each acknowledgement comes over a
pipe after its append returned, and the kill is a SIGKILL while the kernel copies a line of many
megabytes.
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

from .check import LONG_FILE, TORN_SUFFIX, Told
from .worker import ENDING, GO, KINDS, LONG_KIND, Message, Task, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess

FEWEST_PROCESSES: Final = 2  # one to be killed, one to mend what it leaves
FEWEST_RECORDS: Final = len(KINDS)
# The length of the record in whose middle a worker is killed, one a try: where the kill comes too
# late, the next one takes longer to write.
_LONG_CHARACTERS: Final = (24_000_000, 64_000_000, 160_000_000)
# So much growth is no other worker's record.
_SEEN_GROWING_BYTES: Final = 1_000_000
_LOOK_SECONDS: Final = 0.0002
_END_SECONDS: Final = 5.0


class Kill(NamedTuple):
    """One SIGKILL: whom it hit, how long the record was that it wrote, and whether that is torn."""

    writer: int
    pid: int
    characters: int
    is_torn: bool


class Outcome(NamedTuple):
    """What a run came to.

    What every worker was told, each kill, what went wrong with workers, the time it took.
    """

    told: list[Told]
    kills: list[Kill]
    failures: list[str]
    seconds: float


class _Worker:
    """A process, the parent's end of its pipe, and what was heard from it."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.task = task
        self.acknowledged = 0
        self.is_killed = False
        self.failure = ""
        self.pipe, far_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(task, far_end), daemon=True)
        _start_undisturbed(self.process)
        far_end.close()  # the worker's own copy is the only one now, so its death ends the pipe

    def receive(self) -> Message | None:
        """Return the next message; `None` when there will be no more."""
        try:
            message: Message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        return message

    def send(self) -> None:
        """Give the word that the worker waits for.

        One that is dead is told of by the end of its pipe.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(GO)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end; a worker that was done before it was not killed."""
        self.process.kill()
        self.process.join()
        self.is_killed = self.process.exitcode == -signal.SIGKILL

    def describe_failure(self) -> str:
        """Return in a sentence what went wrong with it; nothing, as a rule."""
        self.process.join()
        if self.failure or (self.process.exitcode and not self.is_killed):
            return f"worker {self.task.writer} failed: {self.failure or f'exit code {self.process.exitcode}'}"
        return ""

    def dismiss(self) -> None:
        """Close the pipe, by which one that is alive learns at its next word that nobody listens any more."""
        self.pipe.close()

    def end(self) -> None:
        """Leave neither a process nor a descriptor behind, once it was dismissed."""
        self.process.join(
            _END_SECONDS
        )  # killed in the middle of an import, it could leave a file in $TMPDIR
        self.process.kill()
        self.process.join()
        self.process.close()


def _start_undisturbed(process: SpawnProcess) -> None:
    """Start a process that is disturbed by no signal to the group until it attends to them, nor by one that breaks this off."""
    resource_tracker.ensure_running()  # it would be started now, and unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(
    directory: str, processes: int, records: int, on_acknowledged: Callable[[], object]
) -> Outcome:
    """Have workers append `records` each to a directory, kill the last of them in mid-write.

    Return what was told.

    `on_acknowledged` is called for each acknowledgement, as it comes.
    """
    overseer = _Overseer(directory, processes, records, on_acknowledged)
    try:
        return overseer.run()
    finally:
        overseer.end()


def records_in_all(processes: int, records: int) -> int:
    """Return how many acknowledgements a run ends with, when the first kill hits."""
    return (processes - 1) * records + _records_in_peace(records)


def _records_in_peace(records: int) -> int:
    """Return how many records the worker that is to be killed appends in peace.

    Half, up to one of the kind that is long.
    """
    return records // 2 // len(KINDS) * len(KINDS) + KINDS.index(LONG_KIND)


class _Overseer:
    """One run under way: the survivors, and one victim after another until a write is torn."""

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
        self._add_victim(_records_in_peace(records))

    def run(self) -> Outcome:
        """Start all at the same moment, and listen until the last has ended."""
        for worker in self._workers:
            self._hear(worker)
        self._has_begun = True
        begin = time.monotonic()
        for worker in self._workers:
            worker.send()
        while self._listening:
            for pipe in wait(list(self._listening)):
                self._hear(self._listening[pipe])
        seconds = time.monotonic() - begin
        told = [
            Told(worker.task, worker.acknowledged, worker.is_killed) for worker in self._workers
        ]
        failures = [failure for worker in self._workers if (failure := worker.describe_failure())]
        return Outcome(told, self._kills, failures, seconds)

    def end(self) -> None:
        """End whatever runs still."""
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.end()

    def _add(self, task: Task) -> _Worker:
        worker = _Worker(task)
        self._workers.append(worker)
        self._listening[worker.pipe] = worker
        return worker

    def _add_victim(self, records_in_peace: int) -> None:
        characters = _LONG_CHARACTERS[len(self._victims)]
        self._victims.append(
            self._add(Task(self._directory, len(self._workers), records_in_peace + 1, characters))
        )

    def _hear(self, worker: _Worker) -> None:
        """Take one message and do what follows from it."""
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
        """Kill once the file is seen growing under the long record.

        Then let the others go on, or try with a longer one.
        """
        before, torn_before = _size_of(self._path), _size_of(self._path + TORN_SUFFIX)
        while (
            not victim.pipe.poll(_LOOK_SECONDS)
            and _size_of(self._path) - before < _SEEN_GROWING_BYTES
        ):
            pass
        victim.kill()
        # Asked in this order: who mends the tail copies it aside before cutting it off.
        is_torn = _is_torn(self._path) or _size_of(self._path + TORN_SUFFIX) > torn_before
        while victim.pipe in self._listening:
            self._hear(victim)
        if victim.failure:
            return
        self._kills.append(
            Kill(victim.task.writer, victim.process.pid or 0, victim.task.long_characters, is_torn)
        )
        if is_torn or len(self._victims) == len(_LONG_CHARACTERS):
            self._release_survivors()
        else:
            self._add_victim(_records_in_peace(FEWEST_RECORDS))

    def _release_survivors(self) -> None:
        for worker in self._survivors:
            worker.send()


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _is_torn(path: str) -> bool:
    """Whether a file ends in the middle of a line at this moment."""
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read()[-1:] not in {b"\n", b""}
    except OSError:
        return False  # not there, or empty
