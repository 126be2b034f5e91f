"""The processes of one scenario: started together, listened to, killed, and never left behind."""

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

from . import claims, verifier
from .profile import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from types import TracebackType
    from typing import Self

    from .following import Errand
    from .writers import Task

StartMethod = Literal["fork", "forkserver", "spawn"]

_LOOK_SECONDS: Final = 0.05
_DUMP_SECONDS: Final = 5.0


@dataclass(slots=True)
class Worker:
    """One process of a crew, as its master sees it.

    `threads` and `counts` grow by one with every phase.

    `counts` holds what its body counts: a writer its open descriptors, a reader how often it has
    read.
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
        """Return how many phases it has been through."""
        return len(self.threads)


class Crew:
    """Starts workers, hears what they say, and sees to it that all have ended; a context manager.

    Everything is heard in the thread that calls, so that forked workers inherit no thread of the
    crew's.
    """

    def __init__(self, start_method: StartMethod = "fork") -> None:
        """Open the pipe; nothing is started yet."""
        self.claims = claims.Claims()
        self.workers: list[Worker] = []
        self.strangers: set[int] = set()
        self._context: Any = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            self._context.set_forkserver_preload(
                ["stress.writers", "stress.reading", "stress.first_use"]
            )
        inbox, self.outbox = multiprocessing.Pipe(duplex=False)
        self._ear = claims.Ear(inbox)
        self._poll = select.poll()
        self._poll.register(inbox.fileno(), select.POLLIN)
        self._callers = itertools.count(1)

    def new_callers(self, count: int) -> tuple[int, ...]:
        """Return the numbers of so many callers that nobody has had."""
        return tuple(itertools.islice(self._callers, count))

    def start(
        self, body: Callable[[Any, Connection, Connection], None], task: Task | Errand
    ) -> Worker:
        """Start a process; it waits for its go before every phase."""
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

    def let_go(self, workers: Iterable[Worker] | None = None) -> None:
        """Wait until all of the workers are ready, then let them all go at once."""
        chosen = list(self.workers if workers is None else workers)
        self.wait_until(
            lambda: all(worker.is_ready for worker in chosen), "the workers to be ready"
        )
        for worker in chosen:
            worker.is_ready = False
            os.write(worker.go.fileno(), b".")

    def wait_for_phase(self, count: int, workers: Iterable[Worker] | None = None) -> None:
        """Wait until all of the workers have been through so many phases."""
        chosen = list(self.workers if workers is None else workers)
        self.wait_until(
            lambda: all(worker.count_phases() >= count for worker in chosen),
            f"the end of phase {count}",
        )

    def wait_for_strangers(self, count: int) -> None:
        """Wait until so many processes that nobody waits for have told their ids."""
        self.wait_until(
            lambda: len(self.strangers) >= count, f"{count} children that outlive their parents"
        )

    def attend(self, seconds: float) -> None:
        """Hear what is said in the next so many seconds."""
        until = time.monotonic() + seconds
        while True:
            remaining = until - time.monotonic()
            if self._poll.poll(max(0, math.ceil(remaining * 1000))):
                for message in self._ear.listen():
                    self._hear(message)
            if remaining <= 0:
                return

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Listen until something is so.

        Fail when a worker failed, or when it takes beyond all measure.
        """
        deadline = time.monotonic() + HANG_SECONDS
        while not is_so():
            self._check_on_workers()
            if time.monotonic() > deadline:
                self._fail_hanging(what)
            if self._poll.poll(_LOOK_SECONDS * 1000):
                for message in self._ear.listen():
                    self._hear(message)

    def enough(self, workers: Iterable[Worker]) -> None:
        """Tell workers in an endless phase to end it, those that failed already apart.

        `finish` tells of them.
        """
        for worker in workers:
            worker.process.terminate()

    def kill(self, workers: Iterable[Worker]) -> None:
        """Kill workers in the middle of whatever they do, and reap them."""
        chosen = list(workers)
        for worker in chosen:
            worker.is_killed = True
            worker.process.kill()
        self.wait_until(lambda: all(map(Worker.is_over, chosen)), "the killed to be dead")

    def finish(self) -> None:
        """Wait for the end of all workers, in which each ends well."""
        self.wait_until(lambda: all(map(Worker.is_over, self.workers)), "the end of all workers")
        self._check_on_workers()
        self.attend(0)
        while self._poll.poll(0):
            self.attend(0)

    def judge(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Raise unless the files hold what was claimed, and nothing else."""
        verifier.require_flawless(verifier.judge_files(self.claims, paths))

    def living(self) -> list[Worker]:
        """Return the workers that have not ended."""
        return [worker for worker in self.workers if not worker.is_over()]

    def _hear(self, message: claims.Message) -> None:
        if message.kind == claims.STRANGER:
            self.strangers.add(message.number)
        elif message.kind in {claims.READY, claims.PHASE_OVER}:
            worker = next(worker for worker in self.workers if worker.leader == message.caller)
            if message.kind == claims.READY:
                worker.is_ready = True
            else:
                worker.counts.append(message.number)
                worker.threads.append(message.error)
        else:
            self.claims.hear(message)

    def _check_on_workers(self) -> None:
        for worker in self.workers:
            code = worker.process.exitcode
            expected = (None, 0, -signal.SIGKILL) if worker.is_killed else (None, 0)
            assert code in expected, (
                f"worker {worker.leader} ended with {code}; what it said last is in the captured stderr"
            )

    def _fail_hanging(self, what: str) -> None:
        living = self.living()
        for worker in living:
            os.kill(worker.pid, signal.SIGABRT)  # its stacks go to stderr
        for worker in living:
            worker.process.join(_DUMP_SECONDS)
        names = [
            f"{worker.leader} (pid {worker.pid}, pending {self.claims.pending.get(worker.leader)})"
            for worker in living
        ]
        raise AssertionError(
            f"waited {HANG_SECONDS:g} s for {what}; alive: {', '.join(names) or 'none'}; stacks are in the captured stderr"
        )

    def __enter__(self) -> Self:
        """Return the crew itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill whoever is left, and close the pipes."""
        for pid in self.strangers:
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
        self._ear.inbox.close()
