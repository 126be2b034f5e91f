"""Writers whose every append is the first of a file or directory, or follows a torn tail."""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from . import messages, payloads, power, torn_tails
from .adapters import FILE_NAME
from .writers import append_one, await_start, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .writers import Task

_PAGE_OF_ZEROS = b"\0" * 4096


def append_to_new_files(task: Task, outbox: Connection, go: Connection) -> None:
    """Append lines until the disk is gone, each to a new file, half of them in new directories."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    caller = task.callers[0]
    await_start(reporter, task, go)
    for number in itertools.count():
        # The names sort as the lines were appended.
        place = f"{task.path}.{caller:04}.{number:06}"
        own = (
            replace(task, path=place)
            if number % 2
            else replace(task, path=f"{place}/{FILE_NAME}", adapter="metrics")
        )
        try:
            adapter = own.open_adapter()
        except OSError as error:
            require_gone(error, task.path)
            return
        append_one(adapter, reporter, own, caller, number)


def append_after_torn_tails(task: Task, outbox: Connection, go: Connection) -> None:
    """Append lines until the disk is gone, each after a piece of it, some with NUL bytes behind."""
    prepare(task.sabotage)
    reporter = messages.Reporter(outbox)
    caller = task.callers[0]
    adapter = task.open_adapter()
    await_start(reporter, task, go)
    for number in itertools.count():
        digest = payloads.digest(payloads.make(task.seed, caller, number, task.largest))
        piece = power.torn_piece(caller, number, digest)
        try:
            torn_tails.leave(task.path, piece if number % 3 else piece + _PAGE_OF_ZEROS)
        except OSError as error:
            require_gone(error, task.path)
            return
        append_one(adapter, reporter, task, caller, number)


def require_gone(error: OSError, path: str) -> None:
    """Raise the error unless the disk is gone: EIO, or EROFS of ext4 with its journal aborted."""
    if error.errno in {errno.EIO, errno.EROFS}:
        return
    try:
        os.stat(os.path.dirname(path))
    except OSError as gone:
        if gone.errno == errno.EIO:
            return
    raise error
