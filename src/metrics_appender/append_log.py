"""AppendLog: append any JSON object to one NDJSON file, durably, from many processes at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from .errors import Fault, InvalidRecordError, PositionError, show
from .log_options import DEFAULT_LOCK_TIMEOUT, check_options
from .outcome import note_partly_written
from .records.batches import encode_blocks
from .records.naming import absolute_path
from .records.ndjson import encode_line
from .segment.segments import base_of_active
from .write.durability import Durability
from .write.log_writer import LogWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from .fs.lock import FileLock
    from .read.follower import Follower, Stop
    from .read.skipped import OnError
    from .segment.rotation import Rotation

__all__ = [
    "CHUNK_BYTES",
    "DEFAULT_LOCK_TIMEOUT",
    "AppendLog",
    "Durability",
    "check_line",
    "join_lines",
    "note_acknowledged",
    "open_writer",
    "writer_of",
]

_LINE_REMEDY: Final = (
    "pass one line as bytes, not blank, with a newline at its end only, and no NUL"
)

# How many bytes of an `append_many` are all or nothing.
CHUNK_BYTES: Final = 16 << 20


class AppendLog:
    """One NDJSON file to which any number of threads and processes append at once.

    When `append` returns, the record's line is whole and on disk: a crash of the process, of the
    kernel, or the loss of power tears no line, mixes no two, and loses none that was acknowledged.
    Share one log among threads, keep it over a fork, pickle it for a spawned worker: no lock is
    held between two appends.

    The format is NDJSON (https://github.com/ndjson/ndjson-spec); the lock is flock(2), the sync
    fsync(2), on macOS F_FULLFSYNC of fcntl(2).

    Args:
        path: the file, made by the first append (its directory has to exist).
        durability: `"fsync"`; or `"group"`, the same promise at a higher rate where many processes
            append; or `"os"`, for lines that have to survive the process but not the machine.
        lock_timeout: the seconds that an append waits for other writers at most; 0 tries once,
            `None` waits for ever.
        rotation: when the file is sealed and the next one begun (see `Rotation`); never, without
            it.

    Raises:
        InvalidRecordError: an argument of a wrong type or value (also a `ValueError`). Nothing was
            opened.

    Example:
        >>> log = AppendLog("events.ndjson")
        >>> log.append({"any": "record"})
        >>> log.read()
        [{'any': 'record'}]
    """

    __slots__ = ("_options", "_path", "_writer")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "fsync",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file; nothing is opened before the first append or read."""
        self._options = check_options(durability, lock_timeout, rotation)
        self._path = absolute_path("path", path)
        self._writer = open_writer(self._path, *self._options)

    @property
    def path(self) -> str:
        """The file, as an absolute path.

        Example:
            >>> AppendLog("/srv/metrics/events.ndjson").path
            '/srv/metrics/events.ndjson'
        """
        return self._path

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object; its line is whole and durable when this returns.

        The lines of one caller stand in the order of its calls.

        Args:
            record: a JSON object: keys are text, numbers are finite. It may hold datetimes, paths,
                UUIDs, enums, dataclasses and NumPy scalars too.

        Raises:
            InvalidRecordError: JSON cannot hold the record; every wrong value is named (also a
                `ValueError`). Nothing was opened.
            LockTimeoutError: other writers kept the lock past the deadline (also a `TimeoutError`).
                Nothing was written, and the line does not appear later.
            OSError: the operating system refused, with its errno. Its `outcome`, which its note
                shows too, is "nothing was written", or "the line may be in the file" where taking
                it back failed as well, or where the sync of `"group"` failed. The errno is EDEADLK
                in a signal handler that has interrupted an append of its own thread.
            ClosedError: `close()` was called before. Nothing was written.

        Example:
            >>> AppendLog("events.ndjson").append({"skill": "YouTube Live Chat", "score": 0.5})
        """
        self._writer.append(encode_line(record))

    def append_line(self, line: bytes) -> None:
        """Append one line that is encoded already, with the promise of `append`.

        Args:
            line: a JSON object in UTF-8 with the newline that ends it, and no other. It is not
                parsed: the caller ensures that it is an object.

        Raises:
            InvalidRecordError: not one whole line. Nothing was opened.
            LockTimeoutError, OSError, ClosedError: as `append` does.

        Example:
            >>> AppendLog("events.ndjson").append_line(b'{"encoded":"elsewhere"}\\n')
        """
        check_line(line)
        self._writer.append(line)

    def append_lines(self, lines: Sequence[bytes]) -> None:
        """Append lines that are encoded already, all or nothing: one lock, one write, one sync.

        A crash in the middle of the call may leave the first of them in the file, each whole.

        Args:
            lines: each as `append_line` takes it. An empty sequence does nothing.

        Raises:
            InvalidRecordError: not all are whole lines. Nothing was opened.
            LockTimeoutError, OSError, ClosedError: as `append` does, with the outcome of all lines.

        Example:
            >>> AppendLog("events.ndjson").append_lines([b'{"n":1}\\n', b'{"n":2}\\n'])
        """
        block = join_lines(lines)
        if block:
            self._writer.append(block)

    def append_if(
        self,
        record: Mapping[str, Any],
        condition: Callable[[dict[str, Any] | None], bool],
    ) -> bool:
        """Append a record only if a condition on the last record holds; compare-and-append.

        The last record is read, the condition called and the line written under the file's lock,
        after the recovery of the file's tail: no other writer comes in between. So of two processes
        that wait for the same state, only one appends.

        Args:
            record: a JSON object, as `append` takes it.
            condition: called once with the last record of the log, sealed segments included, or
                with `None` where there is none. It must be quick, since every other writer waits,
                and must not append to the same log (that raises `OSError`, EDEADLK). It may be
                called in another thread of this process.

        Returns:
            Whether the record was appended; then it is durable, as by `append`.

        Raises:
            InvalidRecordError, LockTimeoutError, OSError, ClosedError: as `append` does.
            CorruptLineError: the last line is no JSON object. Nothing was written.
            Exception: whatever the condition raises. Nothing was written.

        Example:
            >>> log = AppendLog("states.ndjson")
            >>> log.append({"state": "staged"})
            >>> promote = {"state": "production"}
            >>> log.append_if(promote, lambda last: last is not None and last["state"] == "staged")
            True
            >>> log.append_if(promote, lambda last: last is not None and last["state"] == "staged")
            False
        """
        from .read.reader import read_last

        line = encode_line(record)
        batch = self._writer.batch

        def task(lock: FileLock) -> bool:
            batch.recover(lock)
            last = read_last(self._path, 1)
            if not condition(last[0] if last else None):
                return False
            batch.write(lock, (line,), is_recovered=True)
            return True

        return bool(self._writer.run_exclusive(task, seals=True))

    def append_block(self, block: bytes, *, at: int) -> None:
        """Append whole lines that belong at one position of the log's stream, all or nothing.

        For copies of a log, such as one that is collected from another machine: a block that comes
        twice, or too early, is refused. The position is compared under the file's lock, after the
        recovery of its tail.

        Args:
            block: lines that are encoded already, each with its newline. They are not checked to be
                JSON objects. An empty block compares the position only.
            at: where the log's stream has to end: bytes from its beginning, sealed segments
                counted, as `end` returns it.

        Raises:
            PositionError: the stream ends elsewhere. It names both positions; nothing was written.
            InvalidRecordError: the block is not whole lines, or `at` no position; nothing was
                opened.
            LockTimeoutError, OSError, ClosedError: as `append` does.

        Example:
            >>> copy = AppendLog("copy.ndjson")
            >>> copy.append_block(b'{"n":1}\\n', at=0)
            >>> copy.append_block(b'{"n":2}\\n', at=copy.end)
            >>> copy.append_block(b'{"n":2}\\n', at=8)
            Traceback (most recent call last):
            ...
            metrics_appender.errors.PositionError: ...
        """
        check_block(block)
        check_position(at)
        batch = self._writer.batch

        def task(lock: FileLock) -> None:
            end = base_of_active(self._path) + batch.recover(lock)
            if end != at:
                raise PositionError(self._path, at, end)
            if block:
                batch.write(lock, (block,), is_recovered=True)

        self._writer.run_exclusive(task, seals=True)

    @property
    def end(self) -> int:
        """The position in the log's stream behind its last whole line.

        Takes no lock: another writer may move it before it is used. `append_block` compares it
        under the lock.

        Returns:
            Bytes from the beginning of the log, sealed segments counted, without those behind the
            last newline; 0 where there is no file.

        Raises:
            OSError: a file cannot be read.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.append_line(b'{"n":1}\\n')
            >>> log.end
            8
        """
        from .segment.snapshot import end_of_log

        return end_of_log(self._path)

    def append_many(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Append JSON objects, many at the price of one: one lock, one write, one sync.

        All or nothing. Past 16 MiB of lines that holds for every 16 MiB by themselves, so that an
        iterable of any length takes a bounded memory. A crash in the middle of the call may leave
        the first lines in the file, each whole.

        Args:
            records: JSON objects, as `append` takes them. Each is encoded before the next is asked
                for, so that a generator may fill one dict anew.

        Returns:
            How many records were appended.

        Raises:
            InvalidRecordError: a record that JSON cannot hold, named by its index, from 0. Nothing
                of its 16 MiB was written.
            LockTimeoutError, OSError, ClosedError: as `append` does, with the outcome of the lines
                that were being written.
            Exception: whatever the iterable raises. Where the first records are acknowledged, the
                note of any error says how many, and "nothing was written" becomes "nothing more was
                written".

        Example:
            >>> AppendLog("events.ndjson").append_many({"n": n} for n in range(1000))
            1000
        """
        appended = 0
        try:
            for block in encode_blocks(records, CHUNK_BYTES):
                self._writer.append(block.lines)
                appended += block.records
        except BaseException as error:
            if appended:
                note_acknowledged(error, self._path, appended)
            raise
        return appended

    def read(
        self, limit: int | None = None, *, on_error: OnError = "raise"
    ) -> list[dict[str, Any]]:
        """Return the most recent records, oldest first.

        Takes no lock, and reads the sealed segments and the active file as if they were one file.
        The cost grows with the limit, not with the log. A line without its newline is no record
        yet.

        Args:
            limit: how many records at most, 0 or more; all of them without it.
            on_error: what happens at a whole line that is no JSON object. `"raise"` raises its
                error; `"skip"` skips such lines, and the logger `metrics_appender` warns how many
                there were and where the first is; a `SkippedLines()` collects that instead.

        Returns:
            The records; none where there is no file.

        Raises:
            ValueError: a negative limit, or no such `on_error` (an `InvalidRecordError`).
            CorruptLineError: a whole line that is no JSON object (also a `json.JSONDecodeError`).
            CorruptSegmentError: a compressed segment cannot be unpacked (also an `OSError`).
            OSError: a file cannot be read; EINVAL for what is no regular file, such as a pipe.
                Reading changes nothing.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.append_many({"n": n} for n in range(1000))
            1000
            >>> log.read(limit=2)
            [{'n': 998}, {'n': 999}]
        """
        from .read.reader import read_last

        return read_last(self._path, limit, on_error)

    def iter_records(self, *, on_error: OnError = "raise") -> Iterator[dict[str, Any]]:
        """Yield every record from the first on, in constant memory.

        The files are those of the moment when the first record is asked for; lines that are added
        to the last of them until it is read are yielded too. Segments that retention deletes
        meanwhile are left out. Takes no lock.

        Args:
            on_error: as of `read`.

        Yields:
            The records, oldest first.

        Raises:
            ValueError: at the call, no such `on_error`.
            CorruptLineError, CorruptSegmentError, OSError: as `read` does, when the line is
                reached.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.append_many({"n": n} for n in range(1000))
            1000
            >>> sum(record["n"] for record in log.iter_records())
            499500
        """
        from .read.reader import iter_records

        return iter_records(self._path, on_error)

    def rotate(self) -> str | None:
        """Seal the file now; the next append begins the next one.

        The file is synced and renamed (rename(2)) under its lock. Segments are compressed and
        deleted in the background, as the log's `rotation` says.

        Returns:
            The path of the segment, or `None` where there is no whole line to seal.

        Raises:
            LockTimeoutError, OSError, ClosedError: as `append` does. The file is sealed then or as
                it was, and no line is lost.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.append({"any": "record"})
            >>> segment = log.rotate()
            >>> log.read()
            [{'any': 'record'}]
        """
        return self._writer.rotate()

    def follow(
        self,
        start: str = "end",
        *,
        poll_seconds: float | None = None,
        stop: Stop | None = None,
        on_error: OnError = "raise",
        notify: bool | None = None,
    ) -> Follower:
        """Yield each record from `start` on, once and in order, as soon as its line is whole.

        What is returned waits for the next record, without an end. Its `batches()` gives lists of
        records, `take_lines()` the lines as bytes without waiting.

        It follows rotation by this library and by logrotate (renaming, or `copytruncate` where the
        copy is left beside the file), removal, and a file that does not exist yet. With the extra
        `follow`, on Linux, the kernel wakes it (inotify(7)); otherwise it polls. A record may be
        seen a moment before its append returns; where that append fails, the line is taken back
        from the file, not from the follower.

        Args:
            start: `"end"`, for what is appended from this call on; `"beginning"`, for all that
                `read` gives and what comes; or a cursor that came with a record, to go on behind
                it, whatever was rotated in between.
            poll_seconds: the seconds between two reads of the file at most; without it, 0.1, and 1
                where the kernel wakes it.
            stop: a `threading.Event`, which ends it within 0.1 seconds once it is set. `close()` of
                what is returned ends it at once, from any thread.
            on_error: as of `read`; with `"skip"`, each skipped line is logged by itself.
            notify: whether the kernel wakes it. `None` uses the kernel where it can help, `False`
                does without it, `True` raises where it cannot help.

        Yields:
            `(record, cursor)`; the cursor is the position behind the record. What is returned is an
            iterator and a context manager that closes it.

        Raises:
            CursorGoneError: the cursor's file is gone, or could be one of several (also a
                `LookupError`). Nothing was read.
            ValueError: no cursor, or another argument of a wrong value (an `InvalidRecordError`).
            CorruptLineError: at a record, a whole line that is no JSON object. The next call goes
                on behind it.
            ImportError, OSError: `notify=True` cannot be had. Nothing stays open.
            OSError: a file cannot be read. A later call reads it again.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.append({"any": "record"})
            >>> with log.follow("beginning") as records:
            ...     record, cursor = next(records)
            >>> record
            {'any': 'record'}
        """
        from .read.follower import Follower

        return Follower(
            self._path,
            start,
            poll_seconds=poll_seconds,
            stop=stop,
            on_error=on_error,
            notify=notify,
        )

    def save_cursor(self, name: str, cursor: str) -> None:
        """Store a cursor by name, beside the file, in place of the one before; durably.

        Retention deletes no segment that a stored cursor still needs. The cursor's file is replaced
        by rename(2), so that a crash at any point leaves the one before or this one.

        Args:
            name: the cursor's name, of 64 bytes at most and without dots.
            cursor: a cursor that came with a record of this log.

        Raises:
            ValueError: no name of a cursor, or no cursor (an `InvalidRecordError`). Nothing was
                stored.
            OSError: the disk failed. The cursor that is stored may be the one before.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.append({"any": "record"})
            >>> with log.follow("beginning") as records:
            ...     record, cursor = next(records)
            >>> log.save_cursor("reporter", cursor)
            >>> log.load_cursor("reporter") == cursor
            True
        """
        from .read.saved_cursors import save_cursor

        save_cursor(self._path, name, cursor)

    def load_cursor(self, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` where there is none.

        Args:
            name: the cursor's name.

        Returns:
            The cursor, to `follow` from.

        Raises:
            ValueError: no name of a cursor (an `InvalidRecordError`).
            OSError: the cursor's file cannot be read.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.load_cursor("reporter") or "beginning"
            'beginning'
        """
        from .read.saved_cursors import load_cursor

        return load_cursor(self._path, name)

    def drop_cursor(self, name: str) -> None:
        """Delete a stored cursor, durably, so that retention no longer waits for it.

        Args:
            name: the cursor's name. Nothing happens where no cursor is stored under it.

        Raises:
            ValueError: no name of a cursor (an `InvalidRecordError`). Nothing was deleted.
            OSError: the disk failed. The cursor may be stored still.

        Example:
            >>> AppendLog("events.ndjson").drop_cursor("reporter")
        """
        from .read.saved_cursors import drop_cursor

        drop_cursor(self._path, name)

    def cursors(self) -> dict[str, str]:
        """Return every stored cursor by its name.

        Returns:
            The cursors, sorted by name; none where there is no file.

        Raises:
            OSError: the directory, or a cursor's file, cannot be read.

        Example:
            >>> AppendLog("events.ndjson").cursors()
            {}
        """
        from .read.saved_cursors import list_cursors

        return list_cursors(self._path)

    def close(self) -> None:
        """Refuse appends from now on, and wait for the cleaning of segments that has begun.

        Appends that other threads have under way still complete. Reading goes on; closing again
        does nothing.

        Example:
            >>> log = AppendLog("events.ndjson")
            >>> log.close()
            >>> log.append({"any": "record"})
            Traceback (most recent call last):
            ...
            metrics_appender.errors.ClosedError: ...
        """
        self._writer.close()

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: the other process makes a log of its own for the same file.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        return functools.partial(type(self), **self._options._asdict()), (self._path,)

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"AppendLog({self._path!r}, {self._options})"


def check_line(line: bytes) -> None:
    """Raise `InvalidRecordError` unless it is one line: not blank, its only newline at its end."""
    # A reader would take a NUL for what a power cut leaves.
    if (
        type(line) is not bytes
        or not line
        or line.isspace()
        or line.find(b"\n") != len(line) - 1
        or b"\0" in line
    ):
        raise InvalidRecordError((Fault("line", show(line), _LINE_REMEDY),))


def join_lines(lines: Sequence[bytes]) -> bytes:
    """Return the lines as one block; raise `InvalidRecordError` unless each is a whole line."""
    try:
        joined = b"".join(lines)
        is_whole = joined.count(b"\n") == len(lines) and b"\0" not in joined
        is_whole = is_whole and all(
            type(line) is bytes and line.endswith(b"\n") and not line.isspace() for line in lines
        )
    except TypeError:
        is_whole = False
    if not is_whole:
        raise InvalidRecordError((Fault("lines", show(lines), f"for each: {_LINE_REMEDY}"),))
    return joined


def note_acknowledged(error: BaseException, path: str, count: int) -> None:
    """Note on the error of an `append_many` how many of its records stay."""
    note_partly_written(
        error, path, f"the first {count} records are acknowledged, and in the file", [path]
    )


def check_block(block: bytes) -> None:
    """Raise `InvalidRecordError` unless it is bytes of whole lines, or of none."""
    if type(block) is not bytes or b"\0" in block or not (block.endswith(b"\n") or not block):
        remedy = "pass whole lines as bytes, with a newline at the end of each, and no NUL"
        raise InvalidRecordError((Fault("block", show(block), remedy),))


def check_position(at: Any) -> None:
    """Raise `InvalidRecordError` unless it is a whole number of 0 or more."""
    if type(at) is not int or at < 0:
        remedy = "pass a whole number (int) of 0 or more: bytes from the beginning of the log"
        raise InvalidRecordError((Fault("at", show(at), remedy),))


def open_writer(
    path: str, durability: Durability, lock_timeout: float | None, rotation: Rotation | None
) -> LogWriter:
    """Return the writer of the log at `path`; its retention waits for the log's stored cursors."""
    if rotation is None:  # an append while the interpreter ends cannot import anything
        return LogWriter(path, durability, lock_timeout)
    from .read.saved_cursors import first_unread

    return LogWriter(path, durability, lock_timeout, rotation, first_unread)


def writer_of(log: AppendLog) -> LogWriter:
    """Return the writer of a log."""
    return log._writer  # noqa: SLF001 - of this module
