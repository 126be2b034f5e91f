"""The command `rotate`: seal a file now, then delete and compress its segments."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..append_log import DEFAULT_LOCK_TIMEOUT, AppendLog
from ..errors import InvalidRecordError
from ..fs.calls import is_there
from ..read.saved_cursors import first_unread
from ..segment.cleaner import clean_segments
from ..segment.rotation import Rotation
from ..segment.segments import list_segments
from .failures import fail
from .options import LockTimeout, one_of, parse_age
from .progress import progress_bar

KeepSegments = typer.Option(
    min=1, help="Delete the oldest sealed segments beyond so many.", show_default=False
)
KeepAge = typer.Option(
    parser=parse_age,
    metavar="AGE",
    help="Delete segments whose last line is older: 36h, 30d, 4w.",
    show_default=False,
)
Compress = typer.Option(
    parser=one_of("gzip", "zstd"),
    metavar="gzip|zstd",
    help="Compress all but the newest segment.",
    show_default=False,
)


def rotate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The NDJSON file.", show_default=False)
    ],
    keep_segments: Annotated[int | None, KeepSegments] = None,
    keep_age: Annotated[Any, KeepAge] = None,
    compress: Annotated[Any, Compress] = None,
    lock_timeout: LockTimeout = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Seal FILE now, and begin the next one; safe while writers append.

    The sealed segment is beside FILE, named by its range among all bytes ever appended, and reading
    FILE reads it too. Then segments are deleted and compressed as the options say; what a named
    cursor has still to read is kept. Ends with status 0 (also where FILE has no line to seal) or 1
    (FILE is not there, or something failed).
    """
    try:
        rotation = Rotation(keep_segments=keep_segments, keep_age=keep_age, compress=compress)
    except InvalidRecordError as error:  # the compression is not installed
        fault = error.faults[0]
        raise typer.BadParameter(fault.reason, param_hint=f"--{fault.field}") from None
    with AppendLog(file, lock_timeout=lock_timeout) as log:
        if not (is_there(log.path) or list_segments(log.path)):
            fail(f"{file}: no such file")
        sealed = log.rotate()
    typer.echo(f"{file}: no line to seal" if sealed is None else sealed)
    if not rotation.has_cleaning:
        return
    with progress_bar("compressing") as progress:
        is_done = clean_segments(log.path, rotation, first_unread, progress=progress)
    if not is_done:
        fail(
            f"{file}: another process is compressing or deleting its segments; it was left to "
            "that one"
        )
