"""AsyncMetricsAppender: append and read the metrics of skills, from the tasks of an event loop."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

from ..append_log import AppendLog, open_writer
from ..appender import MetricsAppender, make_directory, note_acknowledged_files
from ..errors import ClosedError
from ..log_options import DEFAULT_LOCK_TIMEOUT, check_options
from ..read import reader, saved_cursors
from ..records import metric_lines, naming
from .batches import batched_in_turns, iterate_in_threads
from .follower import AsyncFollower, Followers
from .group_commit import AsyncGroupCommit
from .threads import LoopThreads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from ..read.follower import Stop
    from ..read.skipped import OnError
    from ..records.metric_lines import FiledLine
    from ..records.metrics import Record
    from ..segment.rotation import Rotation
    from ..write.durability import Durability
    from ..write.log_writer import LogWriter

_P = ParamSpec("_P")

# How many files an appender keeps a writer for.
_MOST_FILES: Final = 1024


class _MetricsFile:
    """A writer that makes the file's directory where it does not exist."""

    def __init__(self, writer: LogWriter, directory: str) -> None:
        self._writer = writer
        self._directory = directory
        self.path = writer.path
        self.close = writer.close

    @property
    def is_cleaning(self) -> bool:
        return self._writer.is_cleaning

    def append(self, block: bytes, deadline: float | None) -> None:
        try:
            self._writer.append(block, deadline)
        except FileNotFoundError:
            make_directory(self._directory, self.path)
            self._writer.append(block, deadline)


def _awaited(
    method: Callable[Concatenate[MetricsAppender, _P], None],
    make_line: Callable[_P, FiledLine],
) -> Callable[Concatenate[AsyncMetricsAppender, _P], Coroutine[Any, Any, None]]:
    """Return the coroutine method of the same name, parameters and docstring as `method`."""

    @functools.wraps(method)
    async def append(self: AsyncMetricsAppender, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        await self._append(make_line(*args, **kwargs))

    return append


class AsyncMetricsAppender:
    """The metrics of many skills in one directory, appended and read by the tasks of an event loop.

    The methods are those of `MetricsAppender`, as coroutines, with the same parameters, promise and
    errors. Tasks that append to a file at once share one lock, one write and one sync; the event
    loop is never blocked. Cancelling a task, and the one event loop that an appender belongs to:
    both as with `AsyncAppendLog`.

    Args:
        metrics_dir: the directory, made by the first append if it does not exist; without it, the
            one that `MetricsAppender` finds.
        durability: `"group"`, `"fsync"` or `"os"`, as of `AppendLog`.
        lock_timeout: the seconds that an append waits at most, from its call on, the time behind
            other tasks included; 0 tries once, `None` waits for ever.
        rotation: when a file is sealed and the next one begun (see `Rotation`); never, without it.

    Raises:
        InvalidRecordError: an argument of a wrong type or value (also a `ValueError`).

    Example:
        >>> import asyncio
        >>> async def main():
        ...     async with AsyncMetricsAppender("metrics") as metrics:
        ...         await metrics.append_performance_metric("Live Chat", "run-1", 25, "qwen")
        ...         return await metrics.read_metrics("Live Chat_performance.json")
        >>> asyncio.run(main())[0]["execution_time_ms"]
        25
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
        self._options = check_options(durability, lock_timeout, rotation)
        self._directory = naming.metrics_directory(metrics_dir)
        self._is_closed = False
        self._writers = LoopThreads()
        self._readers = LoopThreads()  # separate: all writing threads may wait for locks
        self._followers = Followers(self._readers)
        self._files: dict[str, AsyncGroupCommit] = {}

    append_performance_metric = _awaited(
        MetricsAppender.append_performance_metric, metric_lines.performance_line
    )
    append_outcome_metric = _awaited(
        MetricsAppender.append_outcome_metric, metric_lines.outcome_line
    )
    append_fidelity_metric = _awaited(
        MetricsAppender.append_fidelity_metric, metric_lines.fidelity_line
    )
    append_promotion_event = _awaited(
        MetricsAppender.append_promotion_event, metric_lines.promotion_line
    )
    append_rollback_event = _awaited(
        MetricsAppender.append_rollback_event, metric_lines.rollback_line
    )

    async def append_many(self, records: Iterable[Record]) -> int:
        """Append typed records of any kinds and skills, many at the price of one.

        Each file takes one lock, one write and one sync, and its lines are all or nothing, for
        every 16 MiB of lines by themselves. Other tasks run while the lines are made. Cancelled,
        the file that is being written may have its lines, all or none; the rest is never written.

        Args:
            records: structs of `metrics_appender.records`, as `MetricsAppender.append_many` takes
                them.

        Returns:
            How many records were appended.

        Raises:
            InvalidRecordError: a record that cannot be written; each fault names it by its index,
                from 0. Nothing of its 16 MiB was opened.
            LockTimeoutError, OSError, ClosedError: as `append_performance_metric` does. A note says
                how many lines of which files are acknowledged.
            RuntimeError: the appender belongs to another event loop. Nothing was written.
            Exception: whatever the iterable raises, with the same note.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncMetricsAppender("metrics").append_many([]))
            0
        """
        acknowledged: Counter[str] = Counter()
        filed_lines = metric_lines.encode_records(records)
        try:
            async for batch in batched_in_turns(filed_lines, metric_lines.count_bytes):
                for file_name, lines in metric_lines.lines_by_file(batch).items():
                    await self._append((file_name, b"".join(lines)))
                    acknowledged[file_name] += len(lines)
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
        """Return the most recent records of a file of the directory, oldest first.

        Args:
            filename: the file's name, such as `"YouTube Live Chat_performance.json"`.
            limit: how many records at most, 0 or more; all of them without it.
            on_error: what happens at a whole line that is no JSON object, as of
                `MetricsAppender.read_metrics`.

        Returns:
            The records; none for a file that does not exist.

        Raises:
            InvalidRecordError: a name that leaves the directory (also a `ValueError`).
            ValueError: a negative limit.
            CorruptLineError: a whole line that is no JSON object (also a `json.JSONDecodeError`).
            OSError: the file cannot be read.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncMetricsAppender("metrics").read_metrics("none_performance.json"))
            []
        """
        return await self._readers.run(reader.read_last, self._path_of(filename), limit, on_error)

    def iter_metrics(
        self, filename: str, *, on_error: OnError = "raise"
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield every record of a file of the directory, oldest first, in constant memory.

        Args:
            filename: the file's name.
            on_error: as of `read_metrics`.

        Returns:
            An asynchronous iterator, which ends as that of `AsyncAppendLog.iter_records` does.

        Raises:
            InvalidRecordError: at the call, a name that leaves the directory.
            CorruptLineError, OSError: as `read_metrics` does, when the line is reached.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     metrics = AsyncMetricsAppender("metrics")
            ...     return [record async for record in metrics.iter_metrics("none_outcomes.json")]
            >>> asyncio.run(main())
            []
        """
        return iterate_in_threads(
            reader.iter_records(self._path_of(filename), on_error), self._readers
        )

    async def rotate(self, filename: str) -> str | None:
        """Seal a file of the directory now; the next append begins the next one.

        Args:
            filename: the file's name.

        Returns:
            The path of the segment, or `None` where there is no whole line to seal.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            LockTimeoutError, OSError, ClosedError: as `AppendLog.rotate` does. The file is sealed
                then or as it was, and no line is lost.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncMetricsAppender("metrics").rotate("none_performance.json"))
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

        Its `batches()` gives lists of records, `take_lines()` the lines as bytes without waiting.
        It ends with `stop`, and with `aclose()` of what is returned or of this appender. A time
        limit or a cancellation ends the wait, not the follower: the next `anext` goes on, and no
        record is lost.

        Args:
            filename: the file's name. The file need not exist yet.
            start: `"end"`, `"beginning"`, or a cursor that came with a record.
            poll_seconds: the seconds between two reads of the file.
            stop: a `threading.Event` that ends it.
            on_error: as of `read_metrics`.
            notify: whether the kernel is asked to wake it. All but the name are those of
                `AsyncAppendLog.follow`.

        Returns:
            An asynchronous iterator of `(record, cursor)`, without an end, and an asynchronous
            context manager that closes it.

        Raises:
            InvalidRecordError: at the call, a name that leaves the directory.
            CursorGoneError, CorruptLineError, ValueError, OSError: as `AsyncAppendLog.follow` does.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     async with AsyncMetricsAppender("metrics") as metrics:
            ...         await metrics.append_performance_metric("Chat", "run-1", 25, "qwen")
            ...         async with metrics.follow("Chat_performance.json", "beginning") as records:
            ...             record, cursor = await anext(records)
            ...             return record["execution_id"]
            >>> asyncio.run(main())
            'run-1'
        """
        log = self._log_of(self._path_of(filename))
        return self._followers.add(
            lambda: log.follow(
                start, poll_seconds=poll_seconds, stop=stop, on_error=on_error, notify=notify
            ),
        )

    async def save_cursor(self, filename: str, name: str, cursor: str) -> None:
        """Store a cursor by name, beside the file, in place of the one before; durably.

        Retention deletes no segment that a stored cursor still needs. Cancelled, it may be stored.

        Args:
            filename: the file's name.
            name: the cursor's name, of 64 bytes at most and without dots.
            cursor: a cursor that came with a record of this file.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            ValueError: no name of a cursor, or no cursor. Nothing was stored.
            OSError: the disk failed. The cursor that is stored may be the one before.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     async with AsyncMetricsAppender("metrics") as metrics:
            ...         await metrics.append_performance_metric("Chat", "run-1", 25, "qwen")
            ...         async with metrics.follow("Chat_performance.json", "beginning") as records:
            ...             record, cursor = await anext(records)
            ...         await metrics.save_cursor("Chat_performance.json", "promoter", cursor)
            >>> asyncio.run(main())
        """
        await self._readers.run(saved_cursors.save_cursor, self._path_of(filename), name, cursor)

    async def load_cursor(self, filename: str, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` where there is none.

        Args:
            filename: the file's name.
            name: the cursor's name.

        Returns:
            The cursor, to `follow` from.

        Raises:
            InvalidRecordError, ValueError, OSError: as `save_cursor` does.

        Example:
            >>> import asyncio
            >>> metrics = AsyncMetricsAppender("metrics")
            >>> asyncio.run(metrics.load_cursor("none_performance.json", "promoter"))
        """
        return await self._readers.run(saved_cursors.load_cursor, self._path_of(filename), name)

    async def drop_cursor(self, filename: str, name: str) -> None:
        """Delete a stored cursor, so that retention no longer waits for it.

        Args:
            filename: the file's name.
            name: the cursor's name. Nothing happens where no cursor is stored under it.

        Raises:
            InvalidRecordError, ValueError, OSError: as `save_cursor` does.

        Example:
            >>> import asyncio
            >>> metrics = AsyncMetricsAppender("metrics")
            >>> asyncio.run(metrics.drop_cursor("none_performance.json", "promoter"))
        """
        await self._readers.run(saved_cursors.drop_cursor, self._path_of(filename), name)

    async def cursors(self, filename: str) -> dict[str, str]:
        """Return every stored cursor of a file by its name.

        Args:
            filename: the file's name.

        Returns:
            The cursors; none for a file that does not exist.

        Raises:
            InvalidRecordError: a name that leaves the directory.
            OSError: the directory cannot be read.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncMetricsAppender("metrics").cursors("none_performance.json"))
            {}
        """
        return await self._readers.run(saved_cursors.list_cursors, self._path_of(filename))

    async def aclose(self) -> None:
        """Refuse appends from now on.

        Returns when those under way are durable or have failed, the cleaning of segments is done
        and followers have ended. No thread is left then; but where another process still holds a
        lock that an append could not wait for any longer, one waits until that lock is free.
        Reading goes on; closing again does nothing.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncMetricsAppender("metrics").aclose())
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
        await self._writers.run(_close_writers, files)
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
        """Close the appender."""
        await self.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: the other process makes an appender of its own.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        return functools.partial(type(self), **self._options._asdict()), (self._directory,)

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"AsyncMetricsAppender({self._directory!r}, {self._options})"

    def _path_of(self, filename: str) -> str:
        return os.path.join(self._directory, naming.check_file_name(filename))

    async def _append(self, filed: FiledLine) -> None:
        """Append a line, or several joined ones, to its file."""
        file_name, block = filed
        await (self._files.get(file_name) or self._file_for(file_name)).add(block)

    def _file_for(self, file_name: str) -> AsyncGroupCommit:
        path = os.path.join(self._directory, file_name)
        if self._is_closed:
            raise ClosedError(path)
        if len(self._files) >= _MOST_FILES:
            self._files = {name: file for name, file in self._files.items() if file.is_busy}
        writer = _MetricsFile(open_writer(path, *self._options), self._directory)
        file = AsyncGroupCommit(writer, self._options.lock_timeout, self._writers)
        self._files[file_name] = file
        return file

    def _log_of(self, path: str) -> AppendLog:
        return AppendLog(path, **self._options._asdict())

    def _rotate(self, path: str) -> str | None:
        """In a thread: rotate with a log of its own, since the appends' own may be in use."""
        with self._log_of(path) as log:
            return log.rotate()


def _close_writers(files: list[AsyncGroupCommit]) -> None:
    for file in files:
        file.close_writer()
