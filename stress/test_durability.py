"""Durability, seen in system calls.

What `"fsync"` acknowledges is synced, its name in the directory too.
"""

from __future__ import annotations

import pytest

from . import trace
from .profile import DURABILITIES

# One that does not sync before it acknowledges survives the process only: that is what it is for.
DURABLE = [durability for durability in DURABILITIES if durability != "os"]

pytestmark = pytest.mark.skipif(
    not trace.can_trace(), reason="needs strace, and the permission to trace"
)


@pytest.mark.parametrize("durability", DURABLE)
def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: object, durability: str) -> None:
    """Lock, write, sync, release, acknowledge: in this order for every line."""
    assert trace.judge_calls(trace.trace_appends(str(tmp_path), durability), str(tmp_path)) == []


@pytest.mark.parametrize(
    ("way", "complaint"),
    [
        ("no sync", "before it was synced"),
        ("no directory sync", "before the directory was synced"),
        ("no lock", "written without the lock"),
        ("reorder", "acknowledged before it was written"),
    ],
)
def test_a_broken_engine_shows_in_its_calls(tmp_path: object, way: str, complaint: str) -> None:
    """The trace catches what no file can show."""
    count = trace.LINES
    faults = trace.judge_calls(trace.trace_appends(str(tmp_path), "fsync", way), str(tmp_path))
    assert any(complaint in fault for fault in faults), f"{count} lines, faults: {faults}"
