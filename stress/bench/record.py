"""The record that all append: one for each process, all of the same length."""

from __future__ import annotations

import json
from typing import Any, Final

# The standard library's, as peers' users have it; made once, which is quicker than `dumps` with
# arguments.
encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# A performance metric as a real program writes it, 270 bytes.
_RECORD: Final[dict[str, Any]] = {
    "execution_id": "",
    "timestamp": 1760970309.143542,
    "timestamp_iso": "2025-10-20T14:25:09.143542+00:00",
    "skill_name": "YouTube Live Chat",
    "agent": "ai_overseer",
    "execution_time_ms": 25,
    "exception_occurred": True,
    "exception_type": None,
    "memory_usage_mb": None,
    "metric_type": "performance",
}


def execution_id(process: int) -> str:
    """Return the id that distinguishes the lines of one process."""
    return f"fix_unicode_error_{process:010}"


def record_of(process: int) -> dict[str, Any]:
    """Return what one process appends, again and again."""
    return _RECORD | {"execution_id": execution_id(process)}


def line_of(record: dict[str, Any]) -> bytes:
    """Return it as its line of NDJSON."""
    return encode(record).encode() + b"\n"


def process_of(line: bytes) -> int | None:
    """Return the number of the process that wrote this whole line, `None` if none did."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.keys() != _RECORD.keys() or not line.endswith(b"\n"):
        return None
    process = str(record["execution_id"]).rpartition("_")[2]
    return (
        int(process)
        if process.isdecimal() and record["execution_id"] == execution_id(int(process))
        else None
    )
