"""The command `rotate`: seal a file now, and keep up its segments."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..append_log import DEFAULT_LOCK_TIMEOUT, AppendLog
from ..maintenance import maintain
from ..named_cursors import first_unread
from ..rotation import Rotation
from .durations import seconds_of
from .failures import fail
from .progress import progress_bar

KeepSegments = typer.Option(min=1, help="Delete the oldest sealed segments beyond so many.", show_default=False)
KeepAge = typer.Option(parser=seconds_of, metavar="AGE", help="Delete segments whose last line is older: 36h, 30d, 4w.", show_default=False)
Compress = typer.Option(metavar="gzip|zstd", help="Compress all but the newest segment.", show_default=False)


def rotate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The NDJSON file.", show_default=False)],
    keep_segments: Annotated[int | None, KeepSegments] = None,
    keep_age: Annotated[Any, KeepAge] = None,
    compress: Annotated[str | None, Compress] = None,
    lock_timeout: Annotated[float, typer.Option(help="Seconds to wait for writers at most; 'inf' waits for ever.")] = DEFAULT_LOCK_TIMEOUT,
) -> None:
    """Seal FILE now, and begin the next one; safe while writers write.

    The sealed segment lies beside FILE, named by its place among all bytes ever appended, and reading FILE reads it too. Then segments are
    deleted and compressed as the options say; what a named cursor has still to read is kept.
    """
    rotation = Rotation(keep_segments=keep_segments, keep_age=keep_age, compress=compress)  # type: ignore[arg-type]  # it checks
    with AppendLog(file, lock_timeout=lock_timeout) as log:
        sealed = log.rotate()
    typer.echo(f"{file}: no line to seal" if sealed is None else sealed)
    if not rotation.is_upkeep:
        return
    with progress_bar("compressing") as progress:
        is_done = maintain(log.path, rotation, first_unread, progress=progress)
    if not is_done:
        fail(f"{file}: another process is compressing or deleting its segments; it was left to that one")
