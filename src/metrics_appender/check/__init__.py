"""Reading all there is for what is wrong in it, and changing nothing.

Only the door is here: what is behind it is loaded when it is first used.
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
    """Read a file with its sealed segments, or every log of a directory.

    Return what is in it and what is wrong.

    Reported are a torn tail, a run of NUL bytes, a line that is no JSON object, objects glued into
    one line, a record that is not what its file is for (in a skill's four files, known by their
    suffixes), and an event whose id stands in the log already: each with file, line number, byte
    offset and an excerpt. In a directory, logs are the files of skills, and `*.ndjson` and
    `*.jsonl`. Nothing is changed, no writer is made to wait, and a line that is being written is no
    fault. Takes a constant amount of memory, the longest line and the event ids apart.

    `progress` is called with the bytes read and the bytes there are.

        >>> log = AppendLog("events.ndjson")
        >>> log.append({"any": "record"})
        >>> report = check("events.ndjson")
        >>> report.is_clean, report.files[0].lines, report.files[0].records
        (True, 1, {'other': 1})
        >>> log.append_line(b'{"a":1}{"b":2}\\n')
        >>> [(fault.kind, fault.line_number, fault.byte_offset) for fault in check("events.ndjson").faults]
        [('glued', 2, 17)]

    Raises `FileNotFoundError` where nothing is there, and the `OSError` of a directory that cannot
    be listed. A file that cannot be read is told of in the report: its `error`, and the
    `exit_status` 2.
    """
    from .examine import examine

    return examine(os.path.abspath(os.fspath(path)), progress)
