"""Running a check: scan every file of every log, and collect the reports."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..fs.lock import is_free
from ..segment.source import PlainFile
from .files import byte_counter, find_logs, list_parts
from .report import MOST_FAULTS, CheckReport, FileReport
from .scan import Scan
from .schema import schema_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..segment.source import Source
    from .files import Part, Progress
    from .report import FaultKind, LineFault
    from .scan import Finding
    from .schema import Schema


def examine(path: str, progress: Progress | None = None) -> CheckReport:
    """Check a log with its sealed segments, or all logs of a directory; see `check`."""
    logs = find_logs(path)
    count = byte_counter(logs, progress)
    reports: list[FileReport] = []
    for log in logs:
        schema, ids = schema_for(log), set[str]()
        with ExitStack() as opened:
            reports += [
                report
                for part in list_parts(log, opened)
                if (report := _examine_part(part, schema, ids, count))
            ]
    return CheckReport(path, tuple(reports))


def find_faults(scan: Scan, source: Source, progress: Callable[[int], None]) -> Iterator[Finding]:
    """Yield the faults of an open file, from the scan's position to the end of the file."""
    yield from scan.scan_new_lines(progress)
    torn = scan.find_torn_tail(lambda: not isinstance(source, PlainFile) or is_free(source.fd))
    if torn:
        yield torn


def _examine_part(
    part: Part, schema: Schema, ids: set[str], progress: Callable[[int], None]
) -> FileReport | None:
    """Return the report of one file, or `None` if it was deleted after it was listed."""
    faults: list[LineFault] = []
    counts: Counter[FaultKind] = Counter()
    try:
        source = part.open()
    except FileNotFoundError:
        return None
    except (OSError, ImportError) as error:
        return FileReport(part.path, part.size, 0, {}, None, None, {}, (), _reason_of(error))
    problem = None
    with source:
        scan = Scan(source, schema, ids)
        try:
            for found in find_faults(scan, source, progress):
                counts[found.fault.kind] += 1
                if len(faults) < MOST_FAULTS:
                    faults.append(found.fault)
        except (OSError, ImportError) as error:
            problem = _reason_of(error)
        path = source.path
    times = scan.first_time, scan.last_time
    return FileReport(
        path,
        scan.size,
        scan.lines,
        dict(scan.records),
        *times,
        dict(counts),
        tuple(faults),
        problem,
    )


def _reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
