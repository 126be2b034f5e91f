"""AsyncAppendLog: append any JSON object to one NDJSON file, from the tasks of an event loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from ..append_log import (
    DEFAULT_LOCK_TIMEOUT,
    AppendLog,
    check_line,
    join_lines,
    note_acknowledged,
    writer_of,
)
from ..errors import ClosedError
from ..read import reader
from ..records.ndjson import Block, encode_blocks, encode_line
from .chunks import iterate_in_chunks
from .follower import AsyncFollower, Followers
from .group_commit import Gathering
from .threads import LoopThreads
from .turns import chunked_in_turns

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ..append_log import Durability
    from ..read.follower import Stop
    from ..read.skipped import OnError
    from ..segment.rotation import Rotation

# A fraction of what is encoded in a turn.
_BLOCK_BYTES: Final = 1 << 16


class AsyncAppendLog:
    """One NDJSON file to which the tasks of an event loop append, beside any number of threads and processes.

    The promise is that of `AppendLog`: when an awaited `append` returns, the record's line is whole
    and on disk. Tasks that append at once share one lock, one write and one sync. The event loop is
    never blocked, neither by a slow disk nor by a lock that another process holds: threads wait in
    its place, made when they are needed.

        >>> import asyncio
        >>> async def main():
        ...     async with AsyncAppendLog("events.ndjson") as log:
        ...         await asyncio.gather(*(log.append({"n": n}) for n in range(1000)))
        ...         return await log.read(limit=1)
        >>> asyncio.run(main())
        [{'n': 999}]

    `path`, `durability` and `lock_timeout` (seconds, from the call on, the time behind other tasks
    included) are those of `AppendLog`, `durability` being `"group"` at first; so is `rotation`.
    Raises `InvalidRecordError` for an argument it cannot take.

    A log belongs to the event loop of its first use, and raises `RuntimeError` in another one
    unless the first is closed; it is not for other threads. A child of fork, and a process it is
    pickled to, use it in a loop of their own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "group",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file; nothing is opened before the first append or read."""
        self._options: dict[str, Any] = {
            "durability": durability,
            "lock_timeout": lock_timeout,
            "rotation": rotation,
        }
        self._log = AppendLog(path, **self._options)
        self._threads = LoopThreads()
        self._lines = Gathering(writer_of(self._log), lock_timeout, self._threads)
        self._followers = Followers(self._threads)

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._log.path

    async def append(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object; its line is whole and durable when this returns.

        The lines of one task stand in the order of its calls, those of calls that are gathered too.

        Raises what `AppendLog.append` does, each error saying what became of the line.
        **Cancelled** while the line waits for others to be written, it is taken back and never
        written. Cancelled while it is being written, or handed over to be when the lock is free,
        the line may be in the file, whole. No lock is left held either way.
        """
        await self._lines.add(encode_line(record))

    async def append_line(self, line: bytes) -> None:
        """Append one line that is encoded already, as `AppendLog.append_line` does and `append` here."""
        check_line(line)
        await self._lines.add(line)

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        """Append lines that are encoded already, all or nothing, as `AppendLog.append_lines` does and `append` here."""
        block = join_lines(lines)
        if block:
            await self._lines.add(block)

    async def append_many(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Append JSON objects, many at the price of one, as `AppendLog.append_many` does.

        Return how many.

        Other tasks have their turns while the lines are made, so that theirs may come to stand
        before these. Cancelled, it is as with `append` for what is under way, all or nothing; the
        rest is never written.
        """
        appended = 0
        try:
            async for blocks in chunked_in_turns(
                encode_blocks(records, _BLOCK_BYTES), Block.count_bytes
            ):
                await self._lines.add(b"".join(block.lines for block in blocks))
                appended += sum(block.records for block in blocks)
        except BaseException as error:
            if appended:
                note_acknowledged(error, self.path, appended)
            raise
        return appended

    async def append_if(
        self,
        record: Mapping[str, Any],
        condition: Callable[[dict[str, Any] | None], bool],
    ) -> bool:
        """Append a record only if a condition on the last record holds; as `AppendLog.append_if`.

        The condition is called in a thread. Cancelled, it is as with `append`.
        """
        return await self._threads.run(self._log.append_if, record, condition)

    async def append_block(self, block: bytes, *, at: int) -> None:
        """Append whole lines that belong at one position; as `AppendLog.append_block`."""
        await self._threads.run(self._log.append_block, block, at=at)

    async def end(self) -> int:
        """Return the position in the log's stream behind its last whole line; as `AppendLog.end`."""
        return await self._threads.run(lambda: self._log.end)

    async def read(
        self, limit: int | None = None, *, on_error: OnError = "raise"
    ) -> list[dict[str, Any]]:
        """Return the most recent `limit` records, oldest first, as `AppendLog.read` does."""
        return await self._threads.run(self._log.read, limit, on_error=on_error)

    def iter_records(self, *, on_error: OnError = "raise") -> AsyncGenerator[dict[str, Any], None]:
        """Yield every record from the first on, in constant memory, as `AppendLog.iter_records` does.

        The file is closed when the iteration ends, at the latest when the event loop finds it
        abandoned; with `contextlib.aclosing` at once.
        """
        return iterate_in_chunks(reader.iter_records(self.path, on_error), self._threads)

    async def rotate(self) -> str | None:
        """Seal the file now, and return the name of the segment, as `AppendLog.rotate` does."""
        if self._lines.is_closed:
            raise ClosedError(self.path)
        return await self._threads.run(self._log.rotate)

    def follow(
        self,
        start: str = "end",
        *,
        poll_seconds: float | None = None,
        stop: Stop | None = None,
        on_error: OnError = "raise",
        notify: bool | None = None,
    ) -> AsyncFollower:
        """Yield each record from `start` on, once and in order, as soon as its line is whole.

        `(record, cursor)`, for ever.

            >>> import asyncio
            >>> async def main():
            ...     log = AsyncAppendLog("events.ndjson")
            ...     await log.append({"any": "record"})
            ...     async with log, log.follow("beginning") as records:
            ...         async for record, cursor in records:
            ...             return record
            >>> asyncio.run(main())
            {'any': 'record'}

        The parameters, errors and what is followed through are those of `AppendLog.follow`; `"end"`
        is where the file ends when `async with` is entered, or without it when the first record is
        asked for, and errors of the arguments come there too. It ends with `stop`, with `aclose()`
        of what is returned or of this log, and when the task that waits is cancelled.
        """
        return self._followers.add(
            lambda: self._log.follow(
                start, poll_seconds=poll_seconds, stop=stop, on_error=on_error, notify=notify
            ),
        )

    async def save_cursor(self, name: str, cursor: str) -> None:
        """Store a cursor by name, durably, as `AppendLog.save_cursor` does.

        Cancelled, it may be stored.
        """
        await self._threads.run(self._log.save_cursor, name, cursor)

    async def load_cursor(self, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` when there is none."""
        return await self._threads.run(self._log.load_cursor, name)

    async def drop_cursor(self, name: str) -> None:
        """Forget a stored cursor, so that retention no longer waits for it.

        Nothing happens when there is none.
        """
        await self._threads.run(self._log.drop_cursor, name)

    async def cursors(self) -> dict[str, str]:
        """Return every stored cursor by its name."""
        return await self._threads.run(self._log.cursors)

    async def aclose(self) -> None:
        """Refuse appends from now on.

        Return when those under way are durable or have their errors.

        The upkeep of segments is finished too, and followers end. No thread is left then; save
        that, where another process still keeps a lock that an append could not wait for any longer,
        one waits until that lock is free. Closing again does nothing. Reading goes on.
        """
        await self._lines.close()
        await self._followers.close()
        await (
            self._threads.close()
        )  # a `rotate()` may have been under way, whose upkeep is begun by now
        await self._threads.run(self._lines.close_file)
        await self._threads.close()

    async def __aenter__(self) -> Self:
        """Return the log itself."""
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
        """Pickle the arguments: the other process makes a log of its own for the same file.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        return functools.partial(type(self), **self._options), (self.path,)

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"Async{self._log!r}"
