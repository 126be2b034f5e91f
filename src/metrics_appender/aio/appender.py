"""AsyncMetricsAppender: append and read the metrics of skills, from the tasks of an event loop."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

from ..append_log import (
    DEFAULT_LOCK_TIMEOUT,
    AppendLog,
    check_durability,
    check_lock_timeout,
    import_the_rest,
    open_writer,
)
from ..appender import make_directory, note_acknowledged_files
from ..errors import ClosedError
from ..read import reader, saved_cursors
from ..records import naming
from ..records.metric_lines import TypedMethods
from ..records.metrics import FiledLine, by_file, encode_records
from ..write.log_writer import LogWriter, check_rotation
from .chunks import iterate_in_chunks
from .follower import AsyncFollower, Followers
from .group_commit import Gathering
from .threads import LoopThreads
from .turns import chunked_in_turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from ..append_log import Durability
    from ..read.follower import Stop
    from ..read.skipped import OnError
    from ..records.metrics import Record
    from ..segment.rotation import Rotation

_P = ParamSpec("_P")

_MOST_FILES: Final = 1024


class _LineMaker(TypedMethods):
    """Makes the line and leaves it where its coroutine takes it up.

    In an event loop nothing comes in between.
    """

    made: tuple[str, str, bytes]

    def _hand_in(self, skill_name: str, suffix: str, line: bytes) -> None:
        self.made = skill_name, suffix, line


class _MetricsFile:
    """A file whose directory is made when it is not there."""

    def __init__(self, log: LogWriter, directory: str) -> None:
        self._log = log
        self._directory = directory
        self.path = log.path
        self.close = log.close

    @property
    def is_cleaning(self) -> bool:
        return self._log.is_cleaning

    def append(self, block: bytes, deadline: float | None) -> None:
        try:
            self._log.append(block, deadline)
        except FileNotFoundError:
            make_directory(self._directory, self.path)
            self._log.append(block, deadline)


def _as_coroutine(
    method: Callable[Concatenate[TypedMethods, _P], None],
) -> Callable[Concatenate[AsyncMetricsAppender, _P], Coroutine[Any, Any, None]]:
    """Make of a typed method one that is awaited, of the same parameters, checks and docstring."""

    @functools.wraps(method)
    async def append(self: AsyncMetricsAppender, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        maker = self._maker
        method(maker, *args, **kwargs)
        await self._append(*maker.made)

    return append


class AsyncMetricsAppender:
    """The metrics of many skills in one directory, appended and read by the tasks of an event loop.

    The methods are those of `MetricsAppender`, as coroutines, with the same parameters, promise and
    errors. Tasks that append to a file at once share one lock, one write and one sync; the event
    loop is never blocked.

        >>> import asyncio
        >>> async def main():
        ...     async with AsyncMetricsAppender("metrics") as metrics:
        ...         await metrics.append_performance_metric("YouTube Live Chat", "run-1", 25, "ai_overseer")
        ...         return await metrics.read_metrics("YouTube Live Chat_performance.json")
        >>> asyncio.run(main())[0]["execution_time_ms"]
        25

    `metrics_dir` is found as `MetricsAppender` finds it, and made by the first append.
    `durability`, `lock_timeout` and `rotation`, cancelling a task that waits, and the one event
    loop that an appender belongs to: all as with `AsyncAppendLog`.
    """

    def __init__(
        self,
        metrics_dir: Path | str | None = None,
        *,
        durability: Durability = "group",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the directory; nothing is made or opened before the first append."""
        check_durability(durability)
        check_lock_timeout(lock_timeout)
        check_rotation(rotation)
        import_the_rest(is_rotating=rotation is not None)
        self._directory = (
            naming.default_directory()
            if metrics_dir is None
            else naming.absolute_path("metrics_dir", metrics_dir)
        )
        self._durability: Durability = durability
        self._lock_timeout = lock_timeout
        self._rotation = rotation
        self._is_closed = False
        self._maker = _LineMaker()
        self._writers = LoopThreads()
        self._readers = LoopThreads()  # others than those, which may all wait for locks
        self._followers = Followers(self._readers)
        self._files: dict[str, Gathering] = {}

    append_performance_metric = _as_coroutine(TypedMethods.append_performance_metric)
    append_outcome_metric = _as_coroutine(TypedMethods.append_outcome_metric)
    append_fidelity_metric = _as_coroutine(TypedMethods.append_fidelity_metric)
    append_promotion_event = _as_coroutine(TypedMethods.append_promotion_event)
    append_rollback_event = _as_coroutine(TypedMethods.append_rollback_event)

    async def append_many(self, records: Iterable[Record]) -> int:
        """Append typed records, of any kinds and skills, as `MetricsAppender.append_many` does.

        Return how many.

        Other tasks have their turns while the lines are made. Cancelled, it is as with `append_…`
        for the file that is being written, all or nothing; the rest is never written.
        """
        acknowledged: Counter[str] = Counter()
        try:
            async for chunk in chunked_in_turns(
                encode_records(records, self._maker.tokens), FiledLine.count_bytes
            ):
                for name, lines in by_file(chunk).items():
                    await (self._files.get(name) or self._new_file(name)).add(b"".join(lines))
                    acknowledged[name] += len(lines)
        except BaseException as error:
            note_acknowledged_files(error, self._directory, acknowledged)
            raise
        return acknowledged.total()

    @property
    def metrics_dir(self) -> Path:
        """The directory, as an absolute path."""
        from pathlib import Path

        return Path(self._directory)

    async def read_metrics(
        self, filename: str, limit: int | None = None, *, on_error: OnError = "raise"
    ) -> list[dict[str, Any]]:
        """Return the most recent `limit` records of a file, oldest first, as `MetricsAppender.read_metrics` does."""
        return await self._readers.run(reader.read_last, self._path_of(filename), limit, on_error)

    def iter_metrics(
        self, filename: str, *, on_error: OnError = "raise"
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield every record of a file, oldest first, in constant memory.

        Ended as `AsyncAppendLog.iter_records` is.
        """
        return iterate_in_chunks(
            reader.iter_records(self._path_of(filename), on_error), self._readers
        )

    async def rotate(self, filename: str) -> str | None:
        """Seal a file of the directory now.

        Return the name of the segment, as `MetricsAppender.rotate` does.
        """
        path = self._path_of(filename)
        if self._is_closed:
            raise ClosedError(path)
        return await self._readers.run(self._rotate, path)

    def follow(
        self,
        filename: str,
        start: str = "end",
        *,
        poll_seconds: float | None = None,
        stop: Stop | None = None,
        on_error: OnError = "raise",
        notify: bool | None = None,
    ) -> AsyncFollower:
        """Yield each record of a file of the directory from `start` on, as soon as it is whole.

        See `AsyncAppendLog.follow`.
        """
        log = self._new_log(self._path_of(filename))
        return self._followers.add(
            lambda: log.follow(
                start, poll_seconds=poll_seconds, stop=stop, on_error=on_error, notify=notify
            ),
        )

    async def save_cursor(self, filename: str, name: str, cursor: str) -> None:
        """Store a cursor by name, durably, as `MetricsAppender.save_cursor` does.

        Cancelled, it may be stored.
        """
        await self._readers.run(saved_cursors.save_cursor, self._path_of(filename), name, cursor)

    async def load_cursor(self, filename: str, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` when there is none."""
        return await self._readers.run(saved_cursors.load_cursor, self._path_of(filename), name)

    async def drop_cursor(self, filename: str, name: str) -> None:
        """Forget a stored cursor, so that retention no longer waits for it.

        Nothing happens when there is none.
        """
        await self._readers.run(saved_cursors.drop_cursor, self._path_of(filename), name)

    async def cursors(self, filename: str) -> dict[str, str]:
        """Return every stored cursor by its name."""
        return await self._readers.run(saved_cursors.list_cursors, self._path_of(filename))

    async def aclose(self) -> None:
        """Refuse appends from now on.

        Return when those under way are durable or have their errors.

        The upkeep of segments is finished too, and followers end. No thread is left then; save
        that, where another process still keeps a lock that an append could not wait for any longer,
        one waits until that lock is free. Closing again does nothing. Reading goes on.
        """
        self._writers.adopt(asyncio.get_running_loop())
        self._is_closed = True
        files = list(self._files.values())
        for file in files:
            file.refuse()
        for file in files:
            await file.close()
        await self._followers.close()
        await self._readers.close()
        await self._writers.run(_close_files, files)
        await self._writers.close()

    async def __aenter__(self) -> Self:
        """Return the appender itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments.

        The other process makes an appender of its own for the same directory.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        make = functools.partial(
            type(self),
            durability=self._durability,
            lock_timeout=self._lock_timeout,
            rotation=self._rotation,
        )
        return make, (self._directory,)

    def __repr__(self) -> str:
        """Show the arguments."""
        rotation = "" if self._rotation is None else f", rotation={self._rotation!r}"
        return f"AsyncMetricsAppender({self._directory!r}, durability={self._durability!r}, lock_timeout={self._lock_timeout!r}{rotation})"

    def _path_of(self, filename: str) -> str:
        return os.path.join(self._directory, naming.check_file_name(filename))

    async def _append(self, skill_name: str, suffix: str, line: bytes) -> None:
        if type(skill_name) is not str:
            skill_name = naming.plain_text(skill_name)
        file = self._files.get(skill_name + suffix) or self._new_file(
            naming.file_name(skill_name, suffix)
        )
        await file.add(line)

    def _new_file(self, name: str) -> Gathering:
        path = os.path.join(self._directory, name)
        if self._is_closed:
            raise ClosedError(path)
        if len(self._files) >= _MOST_FILES:
            self._files = {name: file for name, file in self._files.items() if file.is_under_way}
        writer = open_writer(path, self._durability, self._lock_timeout, self._rotation)
        metrics_file = _MetricsFile(writer, self._directory)
        file = self._files[name] = Gathering(metrics_file, self._lock_timeout, self._writers)
        return file

    def _new_log(self, path: str) -> AppendLog:
        return AppendLog(
            path,
            durability=self._durability,
            lock_timeout=self._lock_timeout,
            rotation=self._rotation,
        )

    def _rotate(self, path: str) -> str | None:
        """Rotate with a log of its own, in a thread.

        That of the appends may be in use, and waits for nobody.
        """
        with self._new_log(path) as log:
            return log.rotate()


def _close_files(files: list[Gathering]) -> None:
    for file in files:
        file.close_file()
