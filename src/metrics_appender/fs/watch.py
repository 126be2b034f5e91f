"""Waiting until a log may have grown: woken by the kernel where it can, by polling where not.

The kernel's notification is inotify(7), through the library asyncinotify (the extra `follow`),
whose descriptor is waited for together with a pipe by which other threads wake the sleeper: nothing
runs while nothing happens. Where the library or inotify is missing, or has no watch left to give,
and for what inotify never reports (writes from another machine to a network file system), a
follower looks by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from ..errors import Fault, InvalidRecordError, show
from . import fork

if TYPE_CHECKING:
    from asyncinotify import Inotify, Watch

_LOOK_SECONDS: Final = 0.1
_LOOK_SECONDS_WHEN_NOTIFIED: Final = 1.0
# poll(2) counts milliseconds in an int; one look more a day costs nothing.
_LONGEST_SECONDS: Final = 86_400.0


class FileWatcher:
    """Sleeps for a follower of `path` until something happens there, `wake`, or the time to look.

    `poll_seconds` is how long it sleeps at the most; without it, 1 second where the kernel notifies
    and 0.1 where not. `notify`: `False` does without the kernel, `True` raises where that cannot
    help (`ImportError`, `OSError`).
    """

    def __init__(self, path: str, *, poll_seconds: float | None, notify: bool | None) -> None:
        """Watch the directory, where that can be."""
        self._path = path
        self._notifier = (
            _open_notifier(path, is_required=notify is True) if notify is not False else None
        )
        usual = _LOOK_SECONDS_WHEN_NOTIFIED if self._notifier else _LOOK_SECONDS
        self._poll_seconds = usual if poll_seconds is None else poll_seconds
        self._watch: Watch | None = None
        self._read_end = self._write_end = -1
        try:
            self._open_pipe()
        except BaseException:
            if self._notifier:
                self._notifier.close()
            raise
        fork.register(self)

    def reset_after_fork(self) -> None:
        """In a forked child, open another pipe.

        A byte in the one that it shares with the parent would keep the parent's follower awake.
        """
        if self._write_end >= 0:
            os.close(self._read_end)
            os.close(self._write_end)
            self._open_pipe()

    def watch(self, fd: int | None) -> None:
        """Be woken by writes to this open file from now on, not by those to the one before.

        `None` watches no file.
        """
        if not self._notifier:
            return
        from asyncinotify import Mask

        if self._watch:
            # The kernel drops the watch of a file that is gone by itself.
            with contextlib.suppress(OSError):
                self._notifier.rm_watch(self._watch)
            self._watch = None
        if fd is not None:
            # By its descriptor: the name may be another's by now.
            with contextlib.suppress(OSError):
                self._watch = self._notifier.add_watch(f"/proc/self/fd/{fd}", Mask.MODIFY)

    def sleep(self, most_seconds: float | None = None) -> None:
        """Return when there may be something, or when it is time to look.

        At the latest after `most_seconds`.
        """
        seconds = min(
            self._poll_seconds, _LONGEST_SECONDS if most_seconds is None else most_seconds
        )
        if self._poll.poll(seconds * 1000) and self._notifier:
            for _ in self._notifier:  # what happened does not matter: the follower looks at all
                pass

    def wake(self) -> None:
        """Wake the sleeper, now and whenever it sleeps again; any thread may, after `close` too."""
        with self._mutex, contextlib.suppress(BlockingIOError):
            if self._write_end >= 0:
                os.write(self._write_end, b".")

    def close(self) -> None:
        """Stop watching; closing again does nothing."""
        with self._mutex:
            if self._write_end < 0:
                return
            ends = self._read_end, self._write_end
            self._read_end = self._write_end = -1
        for end in ends:
            os.close(end)
        if self._notifier:
            self._notifier.close()

    def _open_pipe(self) -> None:
        # Held so that nothing is written to a descriptor that is another file's by now. A signal
        # handler may be inside.
        self._mutex = threading.RLock()
        try:
            self._read_end, self._write_end = os.pipe()
        except OSError as error:  # no descriptor is left: say for which file
            error.filename = self._path
            raise
        os.set_blocking(self._write_end, False)
        self._poll = select.poll()
        self._poll.register(self._read_end, select.POLLIN)
        if self._notifier:
            self._poll.register(self._notifier.fd, select.POLLIN)


def check_poll_seconds(poll_seconds: Any) -> None:
    """Raise `InvalidRecordError` unless it is seconds above 0, or `None`."""
    if poll_seconds is None:
        return
    if (
        isinstance(poll_seconds, bool)
        or not isinstance(poll_seconds, int | float)
        or not 0 < poll_seconds < float("inf")
    ):
        reason = "pass seconds above 0, or None for the usual"
        raise InvalidRecordError((Fault("poll_seconds", show(poll_seconds), reason),), outcome="")


def _open_notifier(path: str, *, is_required: bool) -> Inotify | None:
    """Return what reports files that come and go in the directory.

    `None` where it cannot be had and is not required.
    """
    try:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "no inotify on this system", path)
        from asyncinotify import Inotify, Mask

        notifier = Inotify(sync_timeout=0)
        try:
            notifier.add_watch(
                os.path.dirname(path),
                Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.ONLYDIR,
            )
        except BaseException:
            notifier.close()
            raise
    except (ImportError, OSError):
        # Not installed; or no directory yet, or no more instances or watches
        # (/proc/sys/fs/inotify).
        if is_required:
            raise
        return None
    return notifier
