"""Locks from a library around `json`, write and fsync by hand.

Both poll; each takes part with its default interval, and with what is fairest that it can do
instead.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from .contender import Contender
from .record import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .contender import Opener

_TIMEOUT_SECONDS: Final = 30.0


def _filelock(**options: Any) -> Opener:
    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        from filelock import FileLock

        lock = FileLock(path + ".lock", timeout=_TIMEOUT_SECONDS, **options)
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - kept open, as one would to be quick

        def append() -> None:
            line = encode(record).encode() + b"\n"
            with lock:
                file.write(line)
                os.fsync(file.fileno())

        return append

    return opener


def _portalocker(**options: Any) -> Opener:
    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        import portalocker

        flags = portalocker.LockFlags.EXCLUSIVE
        if "timeout" in options:  # only polling knows one
            flags |= portalocker.LockFlags.NON_BLOCKING
        lock = portalocker.Lock(path, "ab", flags=flags, buffering=0, **options)

        def append() -> None:
            line = encode(record).encode() + b"\n"
            with lock as file:
                file.write(line)
                os.fsync(file.fileno())

        return append

    return opener


FILELOCK: Final = Contender(
    "filelock + fsync",
    "FileLock, its default poll_interval of 50 ms; json, file kept open",
    is_durable=True,
    is_process_safe=True,
    side="peer",
    open=_filelock(),
)
FILELOCK_QUICK: Final = Contender(
    "filelock + fsync, 1 ms",
    "FileLock(poll_interval=0.001); json, file kept open",
    is_durable=True,
    is_process_safe=True,
    side="peer",
    open=_filelock(poll_interval=0.001),
)
PORTALOCKER: Final = Contender(
    "portalocker.Lock + fsync",
    "its default check_interval of 250 ms, timeout 30 s; json",
    is_durable=True,
    is_process_safe=True,
    side="peer",
    open=_portalocker(timeout=_TIMEOUT_SECONDS),
    is_per_thread=True,
)
PORTALOCKER_BLOCKING: Final = Contender(
    "portalocker.Lock + fsync, blocking",
    "flags=LockFlags.EXCLUSIVE, which knows no timeout; json",
    is_durable=True,
    is_process_safe=True,
    side="peer",
    open=_portalocker(),
    is_per_thread=True,
)
