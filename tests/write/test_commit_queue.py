"""The queued appends of one process: which caller is told what, and which one wakes which."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender.fs.lock import TRY, FileLock
from metrics_appender.write.commit_queue import (
    CommitQueue,
    PendingAppend,
    State,
    commit_batch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Batch:
    """Three callers wait, and one batch commits their lines; nothing is written."""

    def __init__(self, path: str) -> None:
        """Queue three lines."""
        self.path = path
        self.lock = FileLock(path)
        self.queue = CommitQueue()
        self.callers = [PendingAppend(line) for line in (b"0\n", b"1\n", b"2\n")]
        for caller in self.callers:
            caller.thread = 0  # other threads than the one that commits
        self.first: PendingAppend | None = None
        self.queue.extend(self.callers)
        self.meanwhile: Callable[[], object] = list

    def write(self, lock: FileLock, lines: Sequence[bytes]) -> Sequence[OSError | None]:
        """Write nothing."""
        assert lock.is_held
        assert lines
        self.meanwhile()
        return ()

    def commit(self) -> None:
        """Commit all that fits into one batch."""
        assert self.lock.acquire(TRY)
        batch = self.queue.take_batch()
        self.first = commit_batch(self.path, self.write, self.lock, batch)
        assert self.lock.fd == -1
        assert all(caller.is_done for caller in batch)

    def awake(self) -> list[int]:
        """Return which callers have been woken since the last time."""
        woken = enumerate(self.callers)
        return [number for number, caller in woken if caller.wakeup.acquire(blocking=False)]


@pytest.fixture
def batch(path: str) -> Batch:
    """Three queued lines."""
    return Batch(path)


def test_the_callers_of_a_batch_wake_each_other_in_a_chain(batch: Batch) -> None:
    """The leader wakes the first; woken all at once, they would contend for one lock."""
    batch.commit()
    assert batch.awake() == []
    assert batch.first is batch.callers[0]
    for number in (1, 2):
        batch.callers[number - 1].wake_next()
        assert batch.awake() == [number]
    batch.callers[2].wake_next()
    assert batch.awake() == []


def test_a_caller_that_a_signal_may_take_away_is_no_part_of_the_chain(batch: Batch) -> None:
    """The main thread is woken at once, and nobody depends on it to be woken."""
    batch.callers[1].may_lead = False
    batch.commit()
    assert batch.awake() == [1]
    batch.callers[0].wake_next()
    assert batch.awake() == [2]


def test_the_leader_is_no_part_of_the_chain(batch: Batch) -> None:
    """It is awake, and wakes the first of the others, whichever place its own line has."""
    batch.callers[1].thread = threading.get_ident()
    batch.commit()
    assert batch.first is batch.callers[0]
    batch.callers[0].wake_next()
    assert batch.awake() == [2]


def test_a_withdrawn_line_is_in_no_batch(batch: Batch) -> None:
    """And one that a batch has taken cannot be withdrawn."""
    assert batch.queue.withdraw(batch.callers[1])
    batch.commit()
    assert [caller.state for caller in batch.callers] == [State.DONE, State.QUEUED, State.DONE]
    assert not batch.queue.withdraw(batch.callers[0])


def test_a_task_is_a_batch_of_its_own(batch: Batch) -> None:
    """In its turn: lines before it go first, lines behind it later."""
    seen: list[bool] = []
    task = PendingAppend(b"", lambda lock: seen.append(lock.is_held))
    batch.queue.insert(1, task)
    batch.commit()
    assert [caller.state for caller in batch.callers] == [State.DONE, State.QUEUED, State.QUEUED]
    batch.commit()
    assert seen == [True]
    assert task.is_done
    batch.commit()
    assert all(caller.is_done for caller in batch.callers)


def test_what_a_task_raises_is_its_callers_alone(batch: Batch) -> None:
    """It is kept for the caller, and the lock is free."""
    fault = ValueError("no such state")

    def task(_: FileLock) -> Any:
        raise fault

    pending = PendingAppend(b"", task)
    batch.queue.appendleft(pending)
    batch.commit()
    assert pending.error is fault
    assert not any(caller.is_done for caller in batch.callers)


def test_a_long_line_is_a_batch_of_its_own(batch: Batch) -> None:
    """A batch joins lines up to a megabyte."""
    batch.queue.insert(1, PendingAppend(b"x" * (1 << 20) + b"\n"))
    batch.commit()
    assert batch.callers[0].is_done
    assert not batch.callers[1].is_done
    assert len(batch.queue) == 3


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError("full")])
def test_a_failure_of_the_batch_reaches_every_caller_as_an_error_of_its_own(
    batch: Batch, error: Exception
) -> None:
    """A traceback belongs to one thread."""

    def fail() -> None:
        raise error

    batch.meanwhile = fail
    batch.commit()
    errors = [caller.error for caller in batch.callers]
    assert len(set(map(id, errors))) == 3
    assert all(isinstance(found, OSError) and found.filename == batch.path for found in errors)


def test_an_unexpected_exception_goes_on_in_the_caller_that_leads(batch: Batch) -> None:
    """The others are told that it interrupted them, and what became of their lines."""

    def fail() -> None:
        raise KeyboardInterrupt

    batch.meanwhile = fail
    batch.callers[1].thread = threading.get_ident()
    batch.commit()
    first, own, last = (caller.error for caller in batch.callers)
    assert isinstance(own, KeyboardInterrupt)
    for told in (first, last):
        assert isinstance(told, OSError)
        assert "may be in the file" in told.__notes__[0]


def test_the_queue_wakes_a_thread_that_may_lead_for_others(batch: Batch) -> None:
    """The main thread only where there is no other."""
    batch.callers[0].may_lead = False
    batch.queue.wake_first()
    assert batch.awake() == [1]
    batch.callers[1].may_lead = batch.callers[2].may_lead = False
    batch.queue.wake_first()
    assert batch.awake() == [0]
    batch.queue.clear()
    batch.queue.wake_first()
    assert not batch.queue.seals_first()
