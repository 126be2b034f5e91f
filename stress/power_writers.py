"""Writers whose every append is a delicate one.

The first of a file, of a directory, or after a torn tail.
"""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from . import claims, payloads, power, torn_tails
from .doors import FILE_NAME
from .writers import append_one, await_go, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .writers import Task

_PAGE_OF_ZEROS = b"\0" * 4096


def append_to_new_files(task: Task, outbox: Connection, go: Connection) -> None:
    """Append each line to a file of its own, every other one in a directory of its own.

    Until the disk is gone.
    """
    prepare(task.sabotage)
    voice = claims.Voice(outbox)
    caller = task.callers[0]
    await_go(voice, task, go)
    for number in itertools.count():
        # The names sort as the lines were appended.
        place = f"{task.path}.{caller:04}.{number:06}"
        own = (
            replace(task, path=place)
            if number % 2
            else replace(task, path=f"{place}/{FILE_NAME}", door="metrics")
        )
        try:
            door = own.open_door()
        except OSError as error:
            require_gone(error, task.path)
            return
        append_one(door, voice, own, caller, number)


def append_after_torn_tails(task: Task, outbox: Connection, go: Connection) -> None:
    """Leave a piece of each line at the end of the file, sometimes with NUL bytes, then append it; until the disk is gone."""
    prepare(task.sabotage)
    voice = claims.Voice(outbox)
    caller = task.callers[0]
    door = task.open_door()
    await_go(voice, task, go)
    for number in itertools.count():
        digest = payloads.digest(payloads.make(task.seed, caller, number, task.largest))
        piece = power.torn_piece(caller, number, digest)
        try:
            torn_tails.leave(task.path, piece if number % 3 else piece + _PAGE_OF_ZEROS)
        except OSError as error:
            require_gone(error, task.path)
            return
        append_one(door, voice, task, caller, number)


def require_gone(error: OSError, path: str) -> None:
    """Raise the error unless the disk is gone, however that was put.

    Ext4 says EROFS as well, once its journal has given up.
    """
    if error.errno in {errno.EIO, errno.EROFS}:
        return
    try:
        os.stat(os.path.dirname(path))
    except OSError as gone:
        if gone.errno == errno.EIO:
            return
    raise error
