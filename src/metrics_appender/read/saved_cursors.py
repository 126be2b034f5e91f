"""Cursors that are stored by name beside their log: a follower goes on there after a restart.

And retention deletes nothing that one of them needs. One small file a name: written beside, synced,
then renamed into place, so that a crash at any point leaves the old cursor or the new one. A lock
puts those in a row that are stored under one name at once.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..errors import Fault, InvalidRecordError, show
from ..fs import calls, filename
from ..fs.lock import WAIT, FileLock
from ..outcome import explain
from ..records.naming import name_fault, plain_text
from .cursor import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_NAME_BYTES: Final = 64
_LONGEST_CURSOR_BYTES: Final = 256
_NOT_SURE: Final = "the cursor that is stored may be the one before"


class _Mine(threading.local):
    """The files of the cursors whose lock the thread holds or waits for."""

    saved: frozenset[str] = frozenset()


_mine: Final = _Mine()


def save_cursor(path: str, name: str, cursor: str) -> None:
    """Store a cursor of the log at `path` durably, in place of what has the name.

    Raises `InvalidRecordError` for a name that cannot be a file's, or a text that is no cursor;
    `OSError` when the disk fails, or (EDEADLK) in a signal handler whose own thread is in the
    middle of storing one under this name.
    """
    target = _path_of(path, name)
    Cursor.parse(cursor, "cursor")
    before = _mine.saved
    if target in before:
        raise OSError(
            errno.EDEADLK,
            "save_cursor called by a signal handler "
            "in the middle of one of the same thread and name",
            target,
        )
    try:
        _mine.saved = before | {target}
        _replace(target, cursor)
    except OSError as error:
        raise explain(error, target, _NOT_SURE) from None
    finally:
        _mine.saved = before


def _replace(target: str, cursor: str) -> None:
    lock = FileLock(target + filename.UNFINISHED)
    try:
        lock.acquire(WAIT)
        calls.cut_back(lock.fd, 0)  # what a dead writer left
        calls.write_all(lock.fd, cursor.encode() + b"\n")
        calls.sync_file(lock.fd)
        calls.rename(lock.path, target)
        calls.sync_directory(os.path.dirname(target))
    finally:
        try:
            lock.release()
        except BaseException:
            lock.release()  # a signal's exception may have come before its first step
            raise


def load_cursor(path: str, name: str) -> str | None:
    """Return the cursor that is stored under a name, `None` when there is none."""
    return _read(_path_of(path, name))


def drop_cursor(path: str, name: str) -> None:
    """Forget a name, durably; nothing happens when it is not there."""
    target = _path_of(path, name)
    try:
        calls.unlink(target)
    except FileNotFoundError:
        return
    calls.sync_directory(os.path.dirname(target))


def list_cursors(path: str) -> dict[str, str]:
    """Return every stored cursor of the log at `path` by its name, sorted by name."""
    return dict(_stored(path))


def first_unread(path: str) -> int | None:
    """Return the position in the log's stream from which on the stored cursors need what is there.

    `None` when there are none. It is where the file of the last of them begins: by that file the
    cursor is found again. Where one cannot be read it may be the very first position, and that is
    logged.
    """
    try:
        return min(
            (Cursor.parse(cursor, name).start for name, cursor in _stored(path)), default=None
        )
    except (OSError, InvalidRecordError) as error:
        logger.warn(
            "%s: no segment is deleted, for a stored cursor cannot be read; mend it or drop it: %s",
            path,
            error,
        )
        return 0


def _stored(path: str) -> Iterator[tuple[str, str]]:
    try:
        names = calls.list_names(os.path.dirname(path))
    except FileNotFoundError:
        return
    for name in filename.cursor_names(path, names):
        cursor = _read(filename.cursor_path(path, name))
        if cursor is not None:  # else it was dropped meanwhile
            yield name, cursor


def _read(path: str) -> str | None:
    try:
        fd = calls.open_read(path)
    except FileNotFoundError:
        return None
    try:
        return calls.read_at(fd, _LONGEST_CURSOR_BYTES, 0).decode(errors="replace").strip()
    except OSError as error:
        error.filename = path
        raise
    finally:
        calls.close(fd)


def _path_of(path: str, name: Any) -> str:
    name = plain_text(name)
    fault = name_fault("name", name)
    if not fault and ("." in name or len(name.encode()) > _LONGEST_NAME_BYTES):
        fault = Fault(
            "name",
            show(name),
            f"pass a name without dots, of {_LONGEST_NAME_BYTES} bytes at the most",
        )
    if fault:
        raise InvalidRecordError((fault,), outcome="")
    return filename.cursor_path(path, name)
