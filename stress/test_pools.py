"""Process pools: an appender that is pickled into the workers of fork, forkserver and spawn."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from . import verifier
from .claims import ACKNOWLEDGED, ATTEMPT, Claims, Message
from .doors import DOORS, FILE_NAME
from .profile import HANG_SECONDS, START_METHODS
from .writers import append_in_pool, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from .doors import Door
    from .profile import Profile

WORKERS = 4
LINES = 10
LARGEST_LINE = 1 << 14


def append_from_pool(directory: Path, profile: Profile, start_method: str, door_name: str) -> int:
    """Hand one appender, used before, to a pool with every call.

    Return how many lines were acknowledged.
    """
    path = str(directory / FILE_NAME)
    claims = Claims()
    door = DOORS[door_name](path, "fsync", HANG_SECONDS)
    _note(claims, 0, append_in_pool(door, profile.seed, 0, LINES, LARGEST_LINE))
    for caller, digests in _run_pool(door, profile, start_method).items():
        _note(claims, caller, digests)
    _note(
        claims,
        profile.processes + 1,
        append_in_pool(door, profile.seed, profile.processes + 1, LINES, LARGEST_LINE),
    )
    verifier.require_flawless(verifier.judge_files(claims, [path]))
    return claims.count_acknowledged()


def _run_pool(door: Door, profile: Profile, start_method: str) -> dict[int, list[str]]:
    context = multiprocessing.get_context(start_method)
    callers = range(1, profile.processes + 1)
    with ProcessPoolExecutor(
        WORKERS, mp_context=context, initializer=prepare, initargs=(profile.sabotage,)
    ) as pool:
        futures = {
            caller: pool.submit(append_in_pool, door, profile.seed, caller, LINES, LARGEST_LINE)
            for caller in callers
        }
        try:
            return {caller: future.result(HANG_SECONDS) for caller, future in futures.items()}
        except TimeoutError:
            for process in pool._processes.values():
                process.kill()  # or the pool would wait for them, and hang in its turn
            raise


def _note(claims: Claims, caller: int, digests: list[str]) -> None:
    for number, digest in enumerate(digests):
        claims.hear(Message(ATTEMPT, caller, number, digest))
        claims.hear(Message(ACKNOWLEDGED, caller, number, digest))


@pytest.mark.parametrize("door", sorted(DOORS))
@pytest.mark.parametrize("start_method", START_METHODS)
def test_pools_of_every_kind_append_through_a_pickled_appender(
    tmp_path: Path, profile: Profile, start_method: str, door: str
) -> None:
    """What a pool's calls returned is there, in order, between what the appender wrote before and after."""
    assert (
        append_from_pool(tmp_path, profile, start_method, door) == (profile.processes + 2) * LINES
    )
