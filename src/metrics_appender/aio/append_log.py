"""AsyncAppendLog: append any JSON object to one NDJSON file, from the tasks of an event loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from ..append_log import AppendLog, check_line, join_lines, note_acknowledged, writer_of
from ..errors import ClosedError
from ..log_options import DEFAULT_LOCK_TIMEOUT, check_options
from ..read import reader
from ..records.batches import Block, encode_blocks
from ..records.ndjson import encode_line
from .batches import batched_in_turns, iterate_in_threads
from .follower import AsyncFollower, Followers
from .group_commit import AsyncGroupCommit
from .threads import LoopThreads

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ..read.follower import Stop
    from ..read.skipped import OnError
    from ..segment.rotation import Rotation
    from ..write.durability import Durability

# A fraction of what is encoded before other tasks have their turns.
_BLOCK_BYTES: Final = 1 << 16


class AsyncAppendLog:
    """One NDJSON file to which the tasks of an event loop append, beside threads and processes.

    The promise is that of `AppendLog`: when an awaited `append` returns, the record's line is whole
    and on disk. Tasks that append at once share one lock, one write and one sync. The event loop is
    never blocked, neither by a slow disk nor by a lock that another process holds: threads wait in
    its place, made when they are needed.

    A log belongs to the event loop of its first use, and raises `RuntimeError` in another one
    unless the first is closed; it is not for other threads. A child of fork, and a process it is
    pickled to, use it in a loop of their own.

    **Cancelling** a task whose line is queued behind others takes the line back: it is never
    written. Cancelled while its line is being written, or waits for the file's lock, the line may
    be in the file, whole. No lock is left held either way.

    Args:
        path: the file, made by the first append (its directory has to exist).
        durability: `"group"`, `"fsync"` or `"os"`, as of `AppendLog`.
        lock_timeout: the seconds that an append waits at most, from its call on, the time behind
            other tasks included; 0 tries once, `None` waits for ever.
        rotation: when the file is sealed and the next one begun (see `Rotation`); never, without
            it.

    Raises:
        InvalidRecordError: an argument of a wrong type or value (also a `ValueError`).

    Example:
        >>> import asyncio
        >>> async def main():
        ...     async with AsyncAppendLog("events.ndjson") as log:
        ...         await asyncio.gather(*(log.append({"n": n}) for n in range(1000)))
        ...         return await log.read(limit=1)
        >>> asyncio.run(main())
        [{'n': 999}]
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
        self._options = check_options(durability, lock_timeout, rotation)
        self._log = AppendLog(path, **self._options._asdict())
        self._threads = LoopThreads()
        self._commit = AsyncGroupCommit(writer_of(self._log), lock_timeout, self._threads)
        self._followers = Followers(self._threads)

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._log.path

    async def append(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object; its line is whole and durable when this returns.

        The lines of one task stand in the order of its calls, also of calls that are gathered.

        Args:
            record: a JSON object, as `AppendLog.append` takes it.

        Raises:
            InvalidRecordError: JSON cannot hold the record. Nothing was opened.
            LockTimeoutError: the line was not written within the timeout. It does not appear later.
            OSError: the disk failed. Its `outcome`, which its note shows too, is "nothing was
                written", or "the line may be in the file" where taking it back failed as well.
            ClosedError: `aclose()` was called before. Nothing was written.
            RuntimeError: the log belongs to another event loop. Nothing was written.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").append({"any": "record"}))
        """
        await self._commit.add(encode_line(record))

    async def append_line(self, line: bytes) -> None:
        """Append one line that is encoded already.

        Args:
            line: a JSON object in UTF-8 with the newline that ends it, as `AppendLog.append_line`
                takes it. The object is not checked.

        Raises:
            InvalidRecordError: not one whole line. Nothing was opened.
            LockTimeoutError, OSError, ClosedError, RuntimeError: as `append` does.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").append_line(b'{"encoded":"before"}\\n'))
        """
        check_line(line)
        await self._commit.add(line)

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        """Append lines that are encoded already, all or nothing: one lock, one write, one sync.

        Args:
            lines: each as `append_line` takes it.

        Raises:
            InvalidRecordError: not all are whole lines. Nothing was opened.
            LockTimeoutError, OSError, ClosedError, RuntimeError: as `append` does, with the outcome
                of all lines.

        Example:
            >>> import asyncio
            >>> lines = [b'{"n":1}\\n', b'{"n":2}\\n']
            >>> asyncio.run(AsyncAppendLog("events.ndjson").append_lines(lines))
        """
        block = join_lines(lines)
        if block:
            await self._commit.add(block)

    async def append_many(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Append JSON objects, many at the price of one: one lock, one write, one sync.

        All or nothing, for every 16 MiB of lines by themselves. Other tasks run while the lines are
        made, so that theirs may come to stand before these. Cancelled, what is being written may be
        in the file, all or nothing; the rest is never written.

        Args:
            records: JSON objects. Each is encoded before the next is asked for, so that a generator
                may fill one dict anew.

        Returns:
            How many records were appended.

        Raises:
            InvalidRecordError: a record that JSON cannot hold, named by its index, from 0.
            LockTimeoutError, OSError, ClosedError, RuntimeError: as `append` does.
            Exception: whatever the iterable raises. Where the first records are acknowledged, the
                note of any error says how many, and the outcome is "nothing more was written".

        Example:
            >>> import asyncio
            >>> log = AsyncAppendLog("events.ndjson")
            >>> asyncio.run(log.append_many({"n": n} for n in range(1000)))
            1000
        """
        appended = 0
        encoded = encode_blocks(records, _BLOCK_BYTES)
        try:
            async for blocks in batched_in_turns(encoded, Block.count_bytes):
                await self._commit.add(b"".join(block.lines for block in blocks))
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
        """Append a record only if a condition on the last record holds; compare-and-append.

        Cancelled, the record may be appended all the same.

        Args:
            record: a JSON object, as `append` takes it.
            condition: called once, in a thread, with the last record of the log or `None`, while
                every other writer waits; see `AppendLog.append_if`.

        Returns:
            Whether the record was appended; then it is durable, as by `append`.

        Raises:
            InvalidRecordError, LockTimeoutError, OSError, ClosedError, RuntimeError: as `append`
                does.
            CorruptLineError: the last line is no JSON object. Nothing was written.
            Exception: whatever the condition raises. Nothing was written.

        Example:
            >>> import asyncio
            >>> log = AsyncAppendLog("states.ndjson")
            >>> asyncio.run(log.append_if({"state": "staged"}, lambda last: last is None))
            True
        """
        return await self._threads.run(self._log.append_if, record, condition)

    async def append_block(self, block: bytes, *, at: int) -> None:
        """Append whole lines that belong at one position of the log's stream, all or nothing.

        Cancelled, they may be appended all the same.

        Args:
            block: lines that are encoded already, each with its newline.
            at: where the log's stream has to end, in bytes from its beginning; see
                `AppendLog.append_block`.

        Raises:
            PositionError: the stream ends elsewhere. Nothing was written.
            InvalidRecordError: the block is not whole lines, or `at` no position. Nothing was
                opened.
            LockTimeoutError, OSError, ClosedError, RuntimeError: as `append` does.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("copy.ndjson").append_block(b'{"n":1}\\n', at=0))
        """
        await self._threads.run(self._log.append_block, block, at=at)

    async def end(self) -> int:
        """Return the position in the log's stream behind its last whole line.

        Returns:
            Bytes from the beginning of the log, sealed segments counted; 0 where there is no file.

        Raises:
            OSError: a file cannot be read.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").end())
            0
        """
        return await self._threads.run(lambda: self._log.end)

    async def read(
        self, limit: int | None = None, *, on_error: OnError = "raise"
    ) -> list[dict[str, Any]]:
        """Return the most recent records, oldest first.

        Args:
            limit: how many records at most, 0 or more; all of them without it.
            on_error: what happens at a whole line that is no JSON object, as of `AppendLog.read`:
                `"raise"`, `"skip"`, or a `SkippedLines()` that collects them.

        Returns:
            The records; none where there is no file.

        Raises:
            ValueError: a negative limit.
            CorruptLineError: a whole line that is no JSON object (also a `json.JSONDecodeError`).
            CorruptSegmentError, OSError: a file cannot be read.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").read(limit=100))
            []
        """
        return await self._threads.run(self._log.read, limit, on_error=on_error)

    def iter_records(self, *, on_error: OnError = "raise") -> AsyncGenerator[dict[str, Any], None]:
        """Yield every record from the first on, in constant memory.

        Args:
            on_error: as of `read`.

        Returns:
            An asynchronous iterator. It closes its file at its end, at the latest when the event
            loop finds it abandoned; with `contextlib.aclosing` at once.

        Raises:
            CorruptLineError, CorruptSegmentError, OSError: as `read` does, when the line is
                reached.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     log = AsyncAppendLog("events.ndjson")
            ...     return [record async for record in log.iter_records()]
            >>> asyncio.run(main())
            []
        """
        return iterate_in_threads(reader.iter_records(self.path, on_error), self._threads)

    async def rotate(self) -> str | None:
        """Seal the file now; the next append begins the next one.

        Returns:
            The path of the segment, or `None` where there is no whole line to seal.

        Raises:
            LockTimeoutError, OSError, ClosedError: as `AppendLog.rotate` does. The file is sealed
                then or as it was, and no line is lost.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").rotate())
        """
        if self._commit.is_closed:
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

        Its `batches()` gives lists of records, `take_lines()` the lines as bytes without waiting.
        It ends with `stop`, and with `aclose()` of what is returned or of this log. A time limit or
        a cancellation ends the wait, not the follower: the next `anext` goes on, and no record is
        lost.

        Args:
            start: `"end"`, `"beginning"`, or a cursor that came with a record. The end is where the
                file ends when `async with` is entered, or without it when the first record is asked
                for.
            poll_seconds: the seconds between two reads of the file.
            stop: a `threading.Event` that ends it.
            on_error: as of `read`.
            notify: whether the kernel is asked to wake it. All are those of `AppendLog.follow`.

        Returns:
            An asynchronous iterator of `(record, cursor)`, without an end, and an asynchronous
            context manager that closes it.

        Raises:
            CursorGoneError, CorruptLineError, ValueError, OSError: as `AppendLog.follow` does, when
                `async with` is entered or a record asked for.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     log = AsyncAppendLog("events.ndjson")
            ...     await log.append({"any": "record"})
            ...     async with log, log.follow("beginning") as records:
            ...         async for record, cursor in records:
            ...             return record
            >>> asyncio.run(main())
            {'any': 'record'}
        """
        return self._followers.add(
            lambda: self._log.follow(
                start, poll_seconds=poll_seconds, stop=stop, on_error=on_error, notify=notify
            ),
        )

    async def save_cursor(self, name: str, cursor: str) -> None:
        """Store a cursor by name, beside the file, in place of the one before; durably.

        Retention deletes no segment that a stored cursor still needs. Cancelled, it may be stored.

        Args:
            name: the cursor's name, of 64 bytes at most and without dots.
            cursor: a cursor that came with a record of this log.

        Raises:
            ValueError: no name of a cursor, or no cursor. Nothing was stored.
            OSError: the disk failed. The cursor that is stored may be the one before.

        Example:
            >>> import asyncio
            >>> async def main():
            ...     async with AsyncAppendLog("events.ndjson") as log:
            ...         await log.append({"any": "record"})
            ...         async with log.follow("beginning") as records:
            ...             record, cursor = await anext(records)
            ...         await log.save_cursor("reporter", cursor)
            ...         return await log.load_cursor("reporter") == cursor
            >>> asyncio.run(main())
            True
        """
        await self._threads.run(self._log.save_cursor, name, cursor)

    async def load_cursor(self, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` where there is none.

        Args:
            name: the cursor's name.

        Returns:
            The cursor, to `follow` from.

        Raises:
            ValueError, OSError: as `save_cursor` does.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").load_cursor("reporter"))
        """
        return await self._threads.run(self._log.load_cursor, name)

    async def drop_cursor(self, name: str) -> None:
        """Delete a stored cursor, so that retention no longer waits for it.

        Args:
            name: the cursor's name. Nothing happens where no cursor is stored under it.

        Raises:
            ValueError, OSError: as `save_cursor` does.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").drop_cursor("reporter"))
        """
        await self._threads.run(self._log.drop_cursor, name)

    async def cursors(self) -> dict[str, str]:
        """Return every stored cursor by its name.

        Returns:
            The cursors; none where there is no file.

        Raises:
            OSError: the directory cannot be read.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").cursors())
            {}
        """
        return await self._threads.run(self._log.cursors)

    async def aclose(self) -> None:
        """Refuse appends from now on.

        Returns when those under way are durable or have failed, the cleaning of segments is done
        and followers have ended. No thread is left then; but where another process still holds a
        lock that an append could not wait for any longer, one waits until that lock is free.
        Reading goes on; closing again does nothing.

        Example:
            >>> import asyncio
            >>> asyncio.run(AsyncAppendLog("events.ndjson").aclose())
        """
        await self._commit.close()
        await self._followers.close()
        # A `rotate()` may have been under way; it has begun the cleaning by the time this returns.
        await self._threads.close()
        await self._threads.run(self._commit.close_writer)
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
        """Close the log."""
        await self.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: the other process makes a log of its own for the same file.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        return functools.partial(type(self), **self._options._asdict()), (self.path,)

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"AsyncAppendLog({self.path!r}, {self._options})"
