"""The lines of one process: who is told what, and who wakes whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metrics_appender.fs.lock import TRY, FileLock
from metrics_appender.write import commit_queue
from metrics_appender.write.commit_queue import LineQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metrics_appender.write.commit_queue import Entry


class Queue(LineQueue):
    """Three callers wait; `meanwhile` is called while their lines are being written."""

    def __init__(self, path: str) -> None:
        """Have three of them in line."""
        super().__init__(path, self.write)
        self.lock = FileLock(path)
        self.meanwhile: Callable[[], object] = list
        self.callers = [self.join(line) for line in (b"0\n", b"1\n", b"2\n")]

    def write(
        self, lock: FileLock, block: bytes, lines: Sequence[bytes] = (), /
    ) -> Sequence[OSError | None]:
        """Write nothing."""
        assert lock.is_held
        assert block == b"".join(lines)
        self.meanwhile()
        return ()

    def run(self, own: Entry | None = None) -> None:
        """Run a pass that takes all three."""
        assert self.lock.acquire(TRY)
        assert self.run_pass(self.lock, own) == self.callers
        assert all(caller.is_settled for caller in self.callers)

    def awake(self) -> list[int]:
        """Return which callers have been roused since the last time."""
        return [
            number
            for number, caller in enumerate(self.callers)
            if caller.wake.acquire(blocking=False)
        ]


@pytest.fixture
def queue(path: str) -> Queue:
    """Make it."""
    return Queue(path)


def test_those_who_were_served_together_are_roused_one_by_the_other(queue: Queue) -> None:
    """Who runs the pass rouses the first; roused all at once, they would wait for each other."""
    queue.run()
    assert queue.awake() == []
    for number in (1, 2):
        queue.callers[number - 1].rouse_others()
        assert queue.awake() == [number]
        queue.callers[number - 1].rouse_others()
        assert queue.awake() == []
    queue.callers[2].rouse_others()
    assert queue.awake() == []


def test_who_runs_the_pass_rouses_the_first_of_the_others(queue: Queue) -> None:
    """Whichever place its own line has."""
    own = queue.callers[1]
    queue.run(own)
    assert queue.awake() == []
    own.rouse_others()
    assert queue.awake() == [0]
    queue.callers[0].rouse_others()
    assert queue.awake() == [2]


def test_who_left_while_its_line_was_written_keeps_nobody_asleep(queue: Queue) -> None:
    """Ctrl-C ended its wait, and it will not be there to rouse the next."""
    gone = queue.callers[1]
    queue.meanwhile = lambda: queue.leave(gone)
    queue.run()
    assert queue.awake() == [2]


def test_who_leaves_once_its_line_is_written_rouses_the_next(queue: Queue) -> None:
    """Ctrl-C came before it was roused itself."""
    queue.run()
    assert not queue.leave(queue.callers[1])
    assert queue.awake() == [2]


def test_an_interruption_while_they_are_told_leaves_nobody_asleep(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the pass gets it, and the others their outcome, all of them at once."""
    assert queue.lock.acquire(TRY)
    release = queue.lock.release

    def interrupted() -> None:
        release()
        raise KeyboardInterrupt

    monkeypatch.setattr(FileLock, "release", lambda _: interrupted())
    with pytest.raises(KeyboardInterrupt):
        queue.run_pass(queue.lock, None)
    assert queue.awake() == [0, 1, 2]
    assert all(caller.is_settled and caller.error is None for caller in queue.callers)


def test_who_comes_back_is_not_told_of_its_line_before(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One caller has been told.

    Waits with its next line, when a signal comes before the others are told.
    """
    told = queue.callers[2]
    queue.callers[1].is_left = True  # so that the next step is a call
    back: list[Entry] = []

    def interrupted(_: Entry) -> None:
        monkeypatch.undo()
        assert told.is_settled
        back.append(queue.join(b"next\n"))
        raise KeyboardInterrupt

    monkeypatch.setattr(commit_queue.Entry, "rouse_others", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.run()
    assert all(caller.is_settled for caller in queue.callers)
    assert [(entry.line, entry.is_settled) for entry in queue.entries] == [(b"next\n", False)]
    assert back == list(queue.entries)
