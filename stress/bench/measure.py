"""One turn of one contender: processes that append for a while, are killed, and are read back."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import traceback
from typing import TYPE_CHECKING

from stress.writers import die_with_parent

from .readback import judge
from .results import Run, waits_of
from .worker import Stage, Tally, work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

    from .contender import Contender
    from .worker import Shape

# Far beyond what the slowest contender takes to end: it only turns a hang into an error.
_HANG_SECONDS = 120.0
_FORK = multiprocessing.get_context("fork")


class TurnError(Exception):
    """A contender that failed, or hangs; the text is the traceback of its process."""


def measure(contender: Contender, shape: Shape, seconds: float, directory: str) -> Run:
    """Let processes append to a new file for some seconds, kill them all, count what is there.

    Raises `TurnError` when an append raises, or does not return.
    """
    place = tempfile.mkdtemp(dir=directory)
    try:
        path = os.path.join(place, "metrics.ndjson")
        tallies = _run(contender, path, shape, seconds)
        faults = judge(contender.read_back(path), [tally.acknowledged for tally in tallies])
    finally:
        shutil.rmtree(place)
    counts = [tally.counted for tally in tallies]
    return Run(
        rate=sum(tally.counted / tally.seconds for tally in tallies),
        evenness=min(counts) / max(counts),
        waits=waits_of([wait for tally in tallies for wait in tally.waits]),
        torn=faults.torn,
        lost=faults.lost,
        unacknowledged=faults.unacknowledged,
    )


def _run(contender: Contender, path: str, shape: Shape, seconds: float) -> list[Tally]:
    """Return each process's tally; when this returns, all of them have died of SIGKILL."""
    pipes = [_FORK.Pipe(duplex=False) for _ in range(shape.processes)]
    host = _FORK.Process(
        target=_host, args=(contender, path, shape, seconds, [sender for _, sender in pipes])
    )
    host.start()
    receivers = []
    for receiver, sender in pipes:
        sender.close()
        receivers.append(receiver)
    try:
        return _tallies([_hear(receiver, seconds) for receiver in receivers])
    finally:
        _kill_group(host)
        for receiver in receivers:
            _await_end(receiver)


def _host(
    contender: Contender, path: str, shape: Shape, seconds: float, senders: Sequence[Connection]
) -> None:
    """Be the process that prepares what all share, starts the others, and dies with them."""
    die_with_parent()
    os.setpgid(0, 0)
    try:
        prepared = contender.prepare(path)
    except Exception:  # noqa: BLE001 - the parent waits for tallies, and has to hear of it
        for sender in senders:
            sender.send(traceback.format_exc())
        return
    stage = Stage(contender, path, prepared, shape, seconds, _FORK.Barrier(shape.processes))
    for process, sender in enumerate(senders):
        _FORK.Process(target=work, args=(stage, process, sender)).start()
    while True:
        signal.pause()


def _tallies(heard: Sequence[Tally | str | None]) -> list[Tally]:
    for failure in heard:
        if isinstance(failure, str):
            raise TurnError(failure)
    return [tally for tally in heard if isinstance(tally, Tally)]


def _hear(receiver: Connection, seconds: float) -> Tally | str | None:
    """Return a tally, the trace of a failure, or nothing where another process failed first."""
    if not receiver.poll(seconds + _HANG_SECONDS):
        raise TurnError("an append does not return")
    try:
        heard: Tally | str | None = receiver.recv()
    except EOFError:
        raise TurnError("its processes died") from None
    return heard


def _kill_group(host: ForkProcess) -> None:
    assert host.pid is not None
    with contextlib.suppress(ProcessLookupError):  # it has no group yet
        os.killpg(host.pid, signal.SIGKILL)
    host.kill()
    host.join()


def _await_end(receiver: Connection) -> None:
    """Return when the last process that had the other end is gone."""
    with contextlib.suppress(EOFError):
        while True:
            receiver.recv_bytes()
    receiver.close()
