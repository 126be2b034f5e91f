"""AppendLog: append any JSON object to one NDJSON file, durably, from many processes at once."""

from __future__ import annotations

import functools
import importlib
import math
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from .errors import ClosedError, Fault, InvalidRecordError, show
from .outcome import note_partly_written
from .records.naming import absolute_path
from .records.ndjson import encode_blocks, encode_line
from .write.batch import WritePass
from .write.durability import Patience
from .write.group_commit import GroupCommit
from .write.housekeeping import Housekeeping, check_rotation

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from .read.follower import Follower, Stop
    from .read.skipped import OnError
    from .segment.rotation import Rotation

_LINE_REMEDY: Final = (
    "pass one line as bytes, not blank, with a newline at its end only, and no NUL"
)

Durability = Literal["fsync", "group", "os"]

DEFAULT_LOCK_TIMEOUT: Final = 30.0
# Less than nearly every disk takes for a sync.
_GATHER_SECONDS: Final = 0.0002
# Where the lock is held without a sync it is free again in microseconds, so who finds it taken
# tries again at once, then naps a little, about 20 ms in all, before a thread is woken to wait for
# it. Where it is held over a sync that thread is worth its wake, and from then on the kernel's
# queue is kept to: first come, first served. Where the sync comes after the release it is soon free
# again too, and the queue is kept to by many threads, whose lines meet while their turn comes.
_PATIENCE: Final[dict[str, Patience]] = {
    "fsync": Patience(lines_up_early=True, gather=_GATHER_SECONDS),
    "group": Patience(keeps_queue_for=2, gather=_GATHER_SECONDS),
    "os": Patience(
        (*(0.0,) * 100, 0.00005, 0.0001, 0.0002, 0.0004, *(0.001,) * 19),
        keeps_queue_for=sys.maxsize,
        nap=0.002,
    ),
}
_NEEDED_LATER: Final = (
    "portalocker.portalocker",
    "metrics_appender.read.reader",
    "metrics_appender.read.saved_cursors",
    "metrics_appender.segment.sealing",
)
_NEEDED_TO_ROTATE: Final = ("ctypes", "filelock", "metrics_appender.segment.cleaner")
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

    __slots__ = (
        "_appends",
        "_due",
        "_durability",
        "_housekeeping",
        "_is_closed",
        "_lock_timeout",
        "_path",
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "fsync",
        lock_timeout: float | None = DEFAULT_LOCK_TIMEOUT,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file; nothing is opened before the first append or read."""
        check_durability(durability)
        check_lock_timeout(lock_timeout)
        check_rotation(rotation)
        import_the_rest(is_rotating=rotation is not None)
        self._path = absolute_path("path", path)
        self._durability: Durability = durability
        self._lock_timeout = lock_timeout
        self._is_closed = False
        self._housekeeping = Housekeeping(self._path, rotation)
        self._due = self._housekeeping.due
        write = WritePass(self._path, durability, self._housekeeping.note_mended).run
        self._appends = GroupCommit(
            self._path, write, lock_timeout, _PATIENCE[durability], self._housekeeping.seal
        )

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._path

    @property
    def is_cleaning(self) -> bool:
        """Whether the upkeep of its segments is due, or under way in the background.

        `close` waits for it.
        """
        return self._housekeeping.is_under_way

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one JSON object; its line is whole and durable when this returns.

        The lines of one caller stand in the order of its calls.

        Raises `InvalidRecordError` before anything is opened when JSON cannot hold the record,
        `LockTimeoutError` when other writers kept the lock past the deadline (the line will not
        appear later), `OSError` when the disk fails, with a note: "nothing was written", or "the
        line may be in the file" where taking it back failed too; `ClosedError` after `close()`.
        """
        line = encode_line(record)
        if self._is_closed:
            raise ClosedError(self._path)
        self._appends.append(line)
        if self._due:
            self._housekeeping.do_due()

    def append_line(self, line: bytes) -> None:
        """Append one line that is encoded already.

        A JSON object in UTF-8 with the newline that ends it.

        For callers with an encoder of their own; the object is not checked. The promise and the
        errors are those of `append`.

            >>> AppendLog("events.ndjson").append_line(b'{"encoded":"elsewhere"}\\n')
        """
        if self._is_closed:
            raise ClosedError(self._path)
        check_line(line)
        self._appends.append(line)
        if self._due:
            self._housekeeping.do_due()

    def append_lines(self, lines: Sequence[bytes]) -> None:
        """Append lines that are encoded already, all or nothing: one lock, one write, one sync.

        Each as `append_line` takes it. After an error that says "nothing was written" none of them
        is in the file.

            >>> AppendLog("events.ndjson").append_lines([b'{"n":1}\\n', b'{"n":2}\\n'])
        """
        if self._is_closed:
            raise ClosedError(self._path)
        block = join_lines(lines)
        if block:
            self._appends.append(block)
        if self._due:
            self._housekeeping.do_due()

    def append_block(self, block: bytes, deadline: float | None = None) -> None:
        """Append whole lines that are joined already, as `append_lines` does.

        `deadline` (`time.monotonic`) goes before the timeout.

        For who made the lines by the rules, and, as `aio`, may have kept them waiting before: they
        are not checked again.
        """
        if self._is_closed:
            raise ClosedError(self._path)
        self._appends.append(block, deadline)
        if self._due:
            self._housekeeping.do_due()

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
                self.append_block(block.lines)
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
        if self._is_closed:
            raise ClosedError(self._path)
        return self._housekeeping.rotate(self._lock_timeout)

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
        self._is_closed = True
        self._appends.close()
        self._housekeeping.finish()

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
        rotation = self._housekeeping.rotation
        make = functools.partial(
            type(self),
            durability=self._durability,
            lock_timeout=self._lock_timeout,
            rotation=rotation,
        )
        return make, (self._path,)

    def __repr__(self) -> str:
        """Show the arguments."""
        rotation = self._housekeeping.rotation
        shown = "" if rotation is None else f", rotation={rotation!r}"
        return f"AppendLog({self._path!r}, durability={self._durability!r}, lock_timeout={self._lock_timeout!r}{shown})"


@functools.cache
def import_the_rest(*, is_rotating: bool) -> None:
    """Import what a log's methods need.

    With the first log, which `import metrics_appender` does not wait for.

    Not when a method is called: a child that another thread forks meanwhile would find the module's
    lock held, for ever.
    """
    for module in (*_NEEDED_LATER, *(_NEEDED_TO_ROTATE if is_rotating else ())):
        importlib.import_module(module)


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


def check_durability(durability: Any) -> None:
    """Raise `InvalidRecordError` unless it is one that there is."""
    if not isinstance(durability, str) or durability not in _PATIENCE:
        raise InvalidRecordError(
            (Fault("durability", show(durability), "pass 'fsync', 'group' or 'os'"),)
        )


def check_lock_timeout(lock_timeout: Any) -> None:
    """Raise `InvalidRecordError` unless it is seconds of 0 or more, or `None`."""
    if lock_timeout is None:
        return
    if (
        isinstance(lock_timeout, bool)
        or not isinstance(lock_timeout, int | float)
        or not _is_span(lock_timeout)
    ):
        raise InvalidRecordError(
            (
                Fault(
                    "lock_timeout",
                    show(lock_timeout),
                    "pass seconds of 0 or more, or None to wait for ever",
                ),
            )
        )


def _is_span(seconds: float) -> bool:
    return (
        0 <= seconds <= sys.float_info.max or seconds == math.inf
    )  # not an int that no float can hold
