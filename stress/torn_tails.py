"""Torn tails on purpose.

What a writer that died in mid-line leaves behind, at a moment of our choosing.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from . import claims, payloads

if TYPE_CHECKING:
    from random import Random

    from .crew import Crew

_MARK_BYTES = 24


def plant(path: str, crew: Crew, chance: Random) -> bytes:
    """End the file in the middle of a line, by a caller that is never heard of again.

    Return the bytes.

    Half of a line, or a run of NUL bytes, as the power leaves it.
    """
    caller = crew.new_callers(1)[0]
    digest = payloads.digest("half")
    crew.claims.hear(claims.Message(claims.ATTEMPT, caller, 0, digest))
    line = f'{{"writer":{caller},"number":0,"digest":"{digest}","payload":"half"}}'.encode()
    # Cut behind the caller's number, so that no two pieces are alike; all but the newline may be
    # there.
    piece = line[: chance.randint(_MARK_BYTES, len(line))] + b"\0" * chance.choice([0, 0, 4096])
    leave(path, piece)
    return piece


def leave(path: str, piece: bytes) -> None:
    """End the file with the bytes, under its lock, as a writer's death does.

    The lock goes with it.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.exists(path) and os.path.samestat(
                os.fstat(fd), os.stat(path)
            ):  # a writer looks, too, whether it was rotated
                os.write(fd, piece)
                return
        finally:
            os.close(fd)
