"""Checking logs: every line is read, what is wrong is reported, nothing is changed.

Only the entry point is here; the code behind it is imported at first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .report import CheckReport


def check(
    path: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Read a log with its sealed segments, or every log of a directory, and report its faults.

    A fault is a torn tail, a run of NUL bytes, a line that is not a JSON object, several objects
    glued into one line, a record that does not fit the schema of its file (a skill's four files,
    recognized by their suffixes), or an event whose id already stands earlier in the log.

    Nothing is changed and no writer has to wait: no lock is held while the files are read, and a
    line that is being written is not a fault. Memory use is constant, except for the longest line
    and the event ids.

    Args:
        path: A log, or a directory. In a directory, logs are the files of skills, `*.ndjson` and
            `*.jsonl`; subdirectories are not searched.
        progress: Called with the bytes read so far and the bytes in total.

    Returns:
        What each file holds, and each fault with its file, line number, byte offset and an excerpt.

    Raises:
        FileNotFoundError: Neither a file nor a sealed segment is there.
        OSError: The directory cannot be listed, or `path` is neither a directory nor a regular
            file. A file that cannot be read raises nothing: its report has the `error`, and the
            `exit_status` is 2.

    Example:
        >>> log = AppendLog("events.ndjson")
        >>> log.append({"any": "record"})
        >>> report = check("events.ndjson")
        >>> report.is_clean, report.files[0].lines, report.files[0].records
        (True, 1, {'other': 1})
        >>> log.append_line(b'{"a":1}{"b":2}\\n')
        >>> [(fault.kind, fault.line_number) for fault in check("events.ndjson").faults]
        [('glued', 2)]
    """
    from .examine import examine

    return examine(os.path.abspath(os.fspath(path)), progress)
