"""Process pools: an appender that is pickled into the workers of fork, forkserver and spawn."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from . import verifier
from .adapters import ADAPTERS, FILE_NAME
from .messages import ACKNOWLEDGED, ATTEMPT, History, Message
from .profile import HANG_SECONDS, START_METHODS
from .writers import append_in_pool, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from .adapters import Adapter
    from .profile import Profile

WORKERS = 4
LINES = 10
LARGEST_LINE = 1 << 14


def append_from_pool(
    directory: Path, profile: Profile, start_method: str, adapter_name: str
) -> int:
    """Pickle one appender, which was used before, with every call of a pool; return the lines."""
    path = str(directory / FILE_NAME)
    history = History()
    adapter = ADAPTERS[adapter_name](path, "fsync", HANG_SECONDS)
    _note(history, 0, append_in_pool(adapter, profile.seed, 0, LINES, LARGEST_LINE))
    for caller, digests in _run_pool(adapter, profile, start_method).items():
        _note(history, caller, digests)
    _note(
        history,
        profile.processes + 1,
        append_in_pool(adapter, profile.seed, profile.processes + 1, LINES, LARGEST_LINE),
    )
    verifier.require_flawless(verifier.verify_files(history, [path]))
    return history.count_acknowledged()


def _run_pool(adapter: Adapter, profile: Profile, start_method: str) -> dict[int, list[str]]:
    context = multiprocessing.get_context(start_method)
    callers = range(1, profile.processes + 1)
    with ProcessPoolExecutor(
        WORKERS, mp_context=context, initializer=prepare, initargs=(profile.sabotage,)
    ) as pool:
        futures = {
            caller: pool.submit(append_in_pool, adapter, profile.seed, caller, LINES, LARGEST_LINE)
            for caller in callers
        }
        try:
            return {caller: future.result(HANG_SECONDS) for caller, future in futures.items()}
        except TimeoutError:
            for process in pool._processes.values():
                process.kill()  # otherwise the pool would wait for them, and hang as well
            raise


def _note(history: History, caller: int, digests: list[str]) -> None:
    for number, digest in enumerate(digests):
        history.add(Message(ATTEMPT, caller, number, digest))
        history.add(Message(ACKNOWLEDGED, caller, number, digest))


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
@pytest.mark.parametrize("start_method", START_METHODS)
def test_pools_of_every_kind_append_through_a_pickled_appender(
    tmp_path: Path, profile: Profile, start_method: str, adapter: str
) -> None:
    """Lines of the pool are there in order, as are those appended before and after it."""
    assert (
        append_from_pool(tmp_path, profile, start_method, adapter)
        == (profile.processes + 2) * LINES
    )
