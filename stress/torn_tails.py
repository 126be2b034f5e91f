"""Torn tails on purpose: what a writer that is killed in mid-line leaves behind."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from . import messages, payloads

if TYPE_CHECKING:
    from random import Random

    from .worker_group import WorkerGroup

_MARK_BYTES = 24


def plant(path: str, group: WorkerGroup, chance: Random) -> bytes:
    """End the file with part of a new caller's only line, and return the bytes.

    NUL bytes follow it in some cases, as after a power cut.
    """
    caller = group.new_callers(1)[0]
    digest = payloads.digest("half")
    group.history.add(messages.Message(messages.ATTEMPT, caller, 0, digest))
    line = f'{{"writer":{caller},"number":0,"digest":"{digest}","payload":"half"}}'.encode()
    # Cut behind the caller's number, so that no two pieces are alike; it may be the whole line less
    # its newline.
    piece = line[: chance.randint(_MARK_BYTES, len(line))] + b"\0" * chance.choice([0, 0, 4096])
    leave(path, piece)
    return piece


def leave(path: str, piece: bytes) -> None:
    """End the file with the bytes and release its lock, as the death of a writer does."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # A writer checks as well that the file was not rotated.
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                os.write(fd, piece)
                return
        finally:
            os.close(fd)
