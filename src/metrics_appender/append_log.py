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

# So much of an `append_many` is all or nothing.
CHUNK_BYTES: Final = 16 << 20


class AppendLog:
    """One NDJSON file to which any number of threads and processes append at once.

    When `append` returns, the record's line is whole and on disk: a crash of the process, of the
    kernel, or the loss of power tears no line, mixes no two, and loses none that was acknowledged.

        >>> log = AppendLog("events.ndjson")
        >>> log.append({"any": "record"})
        >>> log.read()
        [{'any': 'record'}]

    `path` is the file, made by the first append (its directory has to be there). `durability` is
    `"fsync"`; or `"group"`, the same promise at a higher rate where many processes append; or
    `"os"`, for what has to survive the process but not the machine. `lock_timeout` is how many
    seconds an append waits for other writers at most; 0 tries once, `None` waits for ever.
    `rotation` says when the file is sealed and the next one begun (see `Rotation`); never, without
    it.

    Share one among threads, keep it over a fork, pickle it for a spawned worker: no lock is held
    between two appends. Raises `InvalidRecordError` (a `ValueError`) for an argument it cannot
    take.
    """

    __slots__ = ("_durability", "_lock_timeout", "_path", "_rotation", "_writer")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "fsync",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file; nothing is opened before the first append or read."""
        check_options(durability, lock_timeout, rotation)
        self._path = absolute_path("path", path)
        self._durability: Durability = durability
        self._lock_timeout = lock_timeout
        self._rotation = rotation
        self._writer = open_writer(self._path, durability, lock_timeout, rotation)

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._path

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object; its line is whole and durable when this returns.

        The lines of one caller stand in the order of its calls.

        Raises `InvalidRecordError` before anything is opened when JSON cannot hold the record,
        `LockTimeoutError` when other writers kept the lock past the deadline (the line will not
        appear later), `OSError` when the disk fails, with a note: "nothing was written", or "the
        line may be in the file" where taking it back failed too; `ClosedError` after `close()`.
        """
        self._writer.append(encode_line(record))

    def append_line(self, line: bytes) -> None:
        """Append one line that is encoded already.

        A JSON object in UTF-8 with the newline that ends it.

        For callers with an encoder of their own; the object is not checked. The promise and the
        errors are those of `append`.

            >>> AppendLog("events.ndjson").append_line(b'{"encoded":"elsewhere"}\\n')
        """
        check_line(line)
        self._writer.append(line)

    def append_lines(self, lines: Sequence[bytes]) -> None:
        """Append lines that are encoded already, all or nothing: one lock, one write, one sync.

        Each as `append_line` takes it. After an error that says "nothing was written" none of them
        is in the file.

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
        that wait for the same state, one appends.

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
            batch.write(lock, (line,))
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
                counted, as `end` tells it.

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
                batch.write(lock, (block,))

        self._writer.run_exclusive(task, seals=True)

    @property
    def end(self) -> int:
        """The position in the log's stream behind its last whole line: bytes from its beginning.

        Sealed segments are counted, and bytes behind the last newline are not. Takes no lock, so
        that another writer may have moved it by the time it is used. 0 where there is no file.
        Raises `OSError` where a file cannot be read.
        """
        from .segment.snapshot import end_of_log

        return end_of_log(self._path)

    def append_many(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Append JSON objects, many at the price of one: one lock, one write, one sync.

        Return how many.

        Each is encoded before the next is asked for, so that a generator may fill one dict anew.
        All or nothing: after an error none of them is in the file. Past 16 MiB of lines that holds
        for every 16 MiB by themselves, so that an iterable of any length takes a bounded memory;
        the error then says "nothing more was written", and its note how many of the first records
        were acknowledged. The errors are those of `append`, and whatever the iterable raises.

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
        """Return the most recent `limit` records, oldest first; all of them without a limit.

        Takes no lock, and reads through the sealed segments as if they were one file with the
        active one. A file that is not there has none. A line that is not ended yet is no record
        yet.

        A whole line that is no JSON object raises `CorruptLineError`. With `on_error="skip"` such
        lines are passed over, and a warning of the logger `metrics_appender` says how many and
        where the first is; with a `SkippedLines()` it says so instead. Raises `ValueError` for a
        negative limit, `CorruptSegmentError` for a compressed segment that cannot be unpacked,
        `OSError` (EINVAL) for what is no regular file, such as a pipe.
        """
        from .read.reader import read_last

        return read_last(self._path, limit, on_error)

    def iter_records(self, *, on_error: OnError = "raise") -> Iterator[dict[str, Any]]:
        """Yield every record from the first on, in constant memory; the same rules as `read`.

        They are those that are there when the first is asked for, or come while the last file is
        read; what retention deletes meanwhile is left out.
        """
        from .read.reader import iter_records

        return iter_records(self._path, on_error)

    def rotate(self) -> str | None:
        """Seal the file now, and return the name of the segment.

        `None` where there is no whole line to seal.

        The next append begins the next file. The segments are compressed and deleted as this log's
        `rotation` says, in the background. Raises as `append` does; the file is sealed then or as
        it was, and no line is lost.
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

        `(record, cursor)`, for ever.

            >>> log = AppendLog("events.ndjson")
            >>> log.append({"any": "record"})
            >>> with log.follow("beginning") as records:
            ...     record, cursor = next(records)

        `start` is `"end"`, for what is appended from this call on; `"beginning"`, for all that
        `read` gives and what comes; or a cursor that came with a record, to go on behind it,
        whatever was rotated in between. Rotation by this library, by logrotate (renaming, or
        `copytruncate` where the copy is left beside the file), removal and a file that is not there
        yet are followed through. Half a line is not there yet.

        Woken by the kernel with the extra `follow`, on Linux; else it looks every `poll_seconds`
        (0.1 unless told; with the kernel's help, 1). `notify=False` does without the kernel, `True`
        raises where it cannot help. `stop` (a `threading.Event`) ends it within 0.1 seconds; so
        does `close()` of what is returned, at once and from any thread. `on_error` is that of
        `read`; after a `CorruptLineError` the next record can be asked for.

        Raises `CursorGoneError` when the cursor's file is gone, or could be one of several;
        `ValueError` for what is no cursor. A record may be seen a moment before its append
        returned, and where that fails, the line is taken back.
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
        """Store a cursor by name, beside the file, in place of the one before.

        Durable when this returns.

        Retention deletes no segment that a stored cursor still needs. A name is of 64 bytes at the
        most, without dots. Raises `ValueError` for another name or what is no cursor, `OSError`
        when the disk fails.
        """
        from .read.saved_cursors import save_cursor

        save_cursor(self._path, name, cursor)

    def load_cursor(self, name: str) -> str | None:
        """Return the cursor that is stored under a name, `None` when there is none."""
        from .read.saved_cursors import load_cursor

        return load_cursor(self._path, name)

    def drop_cursor(self, name: str) -> None:
        """Forget a stored cursor, so that retention no longer waits for it.

        Nothing happens when there is none.
        """
        from .read.saved_cursors import drop_cursor

        drop_cursor(self._path, name)

    def cursors(self) -> dict[str, str]:
        """Return every stored cursor by its name."""
        from .read.saved_cursors import list_cursors

        return list_cursors(self._path)

    def close(self) -> None:
        """Refuse appends from now on.

        Those under way are finished, and so is the upkeep of segments. Closing again does nothing.
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
        """Close it."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: the other process makes a log of its own for the same file.

        A subclass is made of the same arguments; one that takes others has a `__reduce__` of its
        own.
        """
        make = functools.partial(
            type(self),
            durability=self._durability,
            lock_timeout=self._lock_timeout,
            rotation=self._rotation,
        )
        return make, (self._path,)

    def __repr__(self) -> str:
        """Show the arguments."""
        shown = "" if self._rotation is None else f", rotation={self._rotation!r}"
        return f"AppendLog({self._path!r}, durability={self._durability!r}, lock_timeout={self._lock_timeout!r}{shown})"


def check_line(line: bytes) -> None:
    """Raise `InvalidRecordError` unless it is bytes that end in a newline, their only one, not blank, and without a NUL."""
    # A NUL would be taken for what a power cut leaves.
    if (
        type(line) is not bytes
        or not line
        or line.isspace()
        or line.find(b"\n") != len(line) - 1
        or b"\0" in line
    ):
        raise InvalidRecordError((Fault("line", show(line), _LINE_REMEDY),))


def join_lines(lines: Sequence[bytes]) -> bytes:
    """Return the lines as one block.

    Raise `InvalidRecordError` unless each is a line, as `check_line` has it.
    """
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
    """Raise `InvalidRecordError` unless it is bytes that are whole lines, or nothing."""
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
    """Return the writing end of the log at `path`, whose named cursors retention waits for."""
    if rotation is None:  # nothing to import, for an append while the interpreter ends
        return LogWriter(path, durability, lock_timeout)
    from .read.saved_cursors import first_unread

    return LogWriter(path, durability, lock_timeout, rotation, first_unread)


def writer_of(log: AppendLog) -> LogWriter:
    """Return the writing end of a log."""
    return log._writer  # noqa: SLF001 - of this module
