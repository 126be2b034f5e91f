"""The processes of one scenario: started together, listened to, killed, never left behind."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import select
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from . import messages, verifier
from .profile import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from types import TracebackType
    from typing import Self

    from .following import FollowTask
    from .writers import Task

StartMethod = Literal["fork", "forkserver", "spawn"]

_LOOK_SECONDS: Final = 0.05
_DUMP_SECONDS: Final = 5.0


@dataclass(slots=True)
class Worker:
    """One process of a group, as its parent sees it.

    `threads` and `counts` grow by one with every phase. `counts` holds what the body counts: a
    writer its open descriptors, a reader its reads.
    """

    process: BaseProcess
    leader: int
    go: Connection
    is_ready: bool = False
    is_killed: bool = False
    counts: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process.pid is not None
        return self.process.pid

    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self.process.exitcode is not None

    def count_phases(self) -> int:
        """Return how many phases it has ended."""
        return len(self.threads)


class WorkerGroup:
    """Starts workers, records what they report, and ends them all; a context manager.

    Messages are received in the calling thread, so that forked workers inherit no other thread.
    """

    def __init__(self, start_method: StartMethod = "fork") -> None:
        """Open the pipe; no process is started yet."""
        self.history = messages.History()
        self.workers: list[Worker] = []
        self.orphans: set[int] = set()
        self._context: Any = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            self._context.set_forkserver_preload(
                ["stress.writers", "stress.reading", "stress.first_use"]
            )
        inbox, self.outbox = multiprocessing.Pipe(duplex=False)
        self._receiver = messages.Receiver(inbox)
        self._poll = select.poll()
        self._poll.register(inbox.fileno(), select.POLLIN)
        self._callers = itertools.count(1)

    def new_callers(self, count: int) -> tuple[int, ...]:
        """Return numbers for so many new callers."""
        return tuple(itertools.islice(self._callers, count))

    def start(
        self, body: Callable[[Any, Connection, Connection], None], task: Task | FollowTask
    ) -> Worker:
        """Start a process, which waits for `start_phase` before every phase."""
        ours, theirs = self._pipe()
        process = self._context.Process(target=body, args=(task, self.outbox, theirs), daemon=False)
        process.start()
        theirs.close()
        worker = Worker(process, task.callers[0], ours)
        self.workers.append(worker)
        return worker

    def _pipe(self) -> tuple[Connection, Connection]:
        reader, writer = multiprocessing.Pipe(duplex=False)
        return writer, reader

    def start_phase(self, workers: Iterable[Worker] | None = None) -> None:
        """Wait until all of the workers are ready, then start their next phase at once."""
        chosen = list(self.workers if workers is None else workers)
        self.wait_until(
            lambda: all(worker.is_ready for worker in chosen), "the workers to be ready"
        )
        for worker in chosen:
            worker.is_ready = False
            os.write(worker.go.fileno(), b".")

    def wait_for_phase(self, count: int, workers: Iterable[Worker] | None = None) -> None:
        """Wait until all of the workers have ended so many phases."""
        chosen = list(self.workers if workers is None else workers)
        self.wait_until(
            lambda: all(worker.count_phases() >= count for worker in chosen),
            f"the end of phase {count}",
        )

    def wait_for_orphans(self, count: int) -> None:
        """Wait until so many children of killed parents have reported their ids."""
        self.wait_until(
            lambda: len(self.orphans) >= count, f"{count} children that outlive their parents"
        )

    def listen(self, seconds: float) -> None:
        """Receive messages for so many seconds."""
        until = time.monotonic() + seconds
        while True:
            remaining = until - time.monotonic()
            if self._poll.poll(max(0, math.ceil(remaining * 1000))):
                for message in self._receiver.receive():
                    self._take(message)
            if remaining <= 0:
                return

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Receive messages until `is_so()`; fail when a worker failed, or after a hang guard."""
        deadline = time.monotonic() + HANG_SECONDS
        while not is_so():
            self._check_on_workers()
            if time.monotonic() > deadline:
                self._fail_hanging(what)
            if self._poll.poll(_LOOK_SECONDS * 1000):
                for message in self._receiver.receive():
                    self._take(message)

    def end_phase(self, workers: Iterable[Worker]) -> None:
        """Ask workers in an endless phase to end it; `finish` reports those that failed already."""
        for worker in workers:
            worker.process.terminate()

    def kill(self, workers: Iterable[Worker]) -> None:
        """Kill workers with SIGKILL, wherever they are, and reap them."""
        chosen = list(workers)
        for worker in chosen:
            worker.is_killed = True
            worker.process.kill()
        self.wait_until(lambda: all(map(Worker.is_over, chosen)), "the killed to be dead")

    def finish(self) -> None:
        """Wait until all workers have ended, each with status 0 unless it was killed."""
        self.wait_until(lambda: all(map(Worker.is_over, self.workers)), "the end of all workers")
        self._check_on_workers()
        self.listen(0)
        while self._poll.poll(0):
            self.listen(0)

    def verify(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Raise unless the files hold what was acknowledged, in order, and nothing else."""
        verifier.require_flawless(verifier.verify_files(self.history, paths))

    def living(self) -> list[Worker]:
        """Return the workers that have not ended."""
        return [worker for worker in self.workers if not worker.is_over()]

    def _take(self, message: messages.Message) -> None:
        if message.kind == messages.ORPHAN:
            self.orphans.add(message.number)
        elif message.kind in {messages.READY, messages.PHASE_OVER}:
            worker = next(worker for worker in self.workers if worker.leader == message.caller)
            if message.kind == messages.READY:
                worker.is_ready = True
            else:
                worker.counts.append(message.number)
                worker.threads.append(message.error)
        else:
            self.history.add(message)

    def _check_on_workers(self) -> None:
        for worker in self.workers:
            code = worker.process.exitcode
            expected = (None, 0, -signal.SIGKILL) if worker.is_killed else (None, 0)
            assert code in expected, (
                f"worker {worker.leader} ended with {code}; see the captured stderr"
            )

    def _fail_hanging(self, what: str) -> None:
        living = self.living()
        for worker in living:
            os.kill(worker.pid, signal.SIGABRT)  # its stacks go to stderr
        for worker in living:
            worker.process.join(_DUMP_SECONDS)
        names = [
            f"{worker.leader} (pid {worker.pid}, pending {self.history.pending.get(worker.leader)})"
            for worker in living
        ]
        raise AssertionError(
            f"waited {HANG_SECONDS:g} s for {what}; alive: {', '.join(names) or 'none'}; "
            "stacks are in the captured stderr"
        )

    def __enter__(self) -> Self:
        """Return the group."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill all processes that are left, and close the pipes."""
        for pid in self.orphans:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.process.close()
            worker.go.close()
        self.outbox.close()
        self._receiver.inbox.close()
