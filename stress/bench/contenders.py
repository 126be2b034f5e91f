"""The bare loops, the bare calls of an append, and this library's ways to append."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from typing import TYPE_CHECKING, Any, Final

from metrics_appender import AppendLog, MetricsAppender

from .contender import Contender
from .readback import lines_of_file
from .record import line_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable

    from metrics_appender.append_log import Durability

    from .contender import Opener

BATCH: Final = 1000
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def _bare(*, is_synced: bool) -> Opener:
    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        line = line_of(record)

        def append() -> None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, line)
            if is_synced:
                os.fsync(fd)
            fcntl.flock(fd, fcntl.LOCK_UN)

        return append

    return opener


def _calls_of(durability: Durability) -> Opener:
    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        line = line_of(record)

        def append() -> None:
            fd = os.open(path, _APPEND, 0o644)
            os.fstat(fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.stat(path)
            os.write(fd, line)
            if durability == "fsync":
                os.fsync(fd)
            fcntl.flock(fd, fcntl.LOCK_UN)
            if durability == "group":
                os.fsync(fd)
            os.close(fd)

        return append

    return opener


def _log(durability: Durability) -> Opener:
    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        return functools.partial(AppendLog(path, durability=durability).append, record)

    return opener


def _many(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
    return functools.partial(AppendLog(path).append_many, [record] * BATCH)


@contextlib.asynccontextmanager
async def _async_log(
    path: str, record: dict[str, Any]
) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    from metrics_appender.aio import AsyncAppendLog

    async with AsyncAppendLog(path) as log:
        yield functools.partial(log.append, record)


def _make_uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _typed(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
    append = MetricsAppender(os.path.dirname(path), durability="os").append_performance_metric
    return lambda: append(record["skill_name"], record["execution_id"], 25, record["agent"], True)


def _lines_of_metrics(path: str) -> list[bytes]:
    return lines_of_file(os.path.join(os.path.dirname(path), "YouTube Live Chat_performance.json"))


BARE_FSYNC: Final = Contender(
    "bare loop, fsync",
    "flock, write, fsync, unlock on a descriptor kept open, each thread its own",
    is_durable=True,
    is_process_safe=True,
    side="bare",
    open=_bare(is_synced=True),
    is_per_thread=True,
)
BARE: Final = Contender(
    "bare loop",
    "flock, write, unlock on a descriptor kept open, each thread its own",
    is_durable=False,
    is_process_safe=True,
    side="bare",
    open=_bare(is_synced=False),
    is_per_thread=True,
)
CALLS_OF_FSYNC: Final = Contender(
    'the calls of "fsync"',
    "open, fstat, flock, stat, write, fsync, unlock, close: all that an append asks of the system, "
    "by a loop that knows no deadline",
    is_durable=True,
    is_process_safe=True,
    side="bare",
    open=_calls_of("fsync"),
)
CALLS_OF_GROUP: Final = Contender(
    'the calls of "group"',
    "the same, unlocked before the fsync",
    is_durable=True,
    is_process_safe=True,
    side="bare",
    open=_calls_of("group"),
)
CALLS_OF_OS: Final = Contender(
    'the calls of "os"',
    "the same without the fsync",
    is_durable=False,
    is_process_safe=True,
    side="bare",
    open=_calls_of("os"),
)
FSYNC: Final = Contender(
    'AppendLog "fsync"',
    "the default, lock_timeout 30 s",
    is_durable=True,
    is_process_safe=True,
    open=_log("fsync"),
)
GROUP: Final = Contender(
    'AppendLog "group"',
    'durability="group", lock_timeout 30 s',
    is_durable=True,
    is_process_safe=True,
    open=_log("group"),
)
OS: Final = Contender(
    'AppendLog "os"',
    'durability="os", lock_timeout 30 s',
    is_durable=False,
    is_process_safe=True,
    open=_log("os"),
)
TYPED: Final = Contender(
    'MetricsAppender "os"',
    'append_performance_metric, durability="os"',
    is_durable=False,
    is_process_safe=True,
    open=_typed,
    read_back=_lines_of_metrics,
)
ASYNC: Final = Contender(
    "AsyncAppendLog",
    "its default, group",
    is_durable=True,
    is_process_safe=True,
    open_async=_async_log,
)
ASYNC_UVLOOP: Final = Contender(
    "AsyncAppendLog, uvloop",
    "its default, group, in an event loop of uvloop",
    is_durable=True,
    is_process_safe=True,
    open_async=_async_log,
    make_loop=_make_uvloop,
    package="uvloop",
)
MANY: Final = Contender(
    "AppendLog.append_many",
    f"{BATCH} records a call, the default durability; waits are of a call",
    is_durable=True,
    is_process_safe=True,
    open=_many,
    records_per_call=BATCH,
)
