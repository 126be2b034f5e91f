"""Durability in system calls: what is acknowledged was synced, with its directory entry."""

from __future__ import annotations

import pytest

from . import trace
from .profile import DURABILITIES

# "os" acknowledges without a sync: its lines survive a crash of the process only, by design.
DURABLE = [durability for durability in DURABILITIES if durability != "os"]

pytestmark = pytest.mark.skipif(
    not trace.can_trace(), reason="needs strace, and the permission to trace"
)


@pytest.mark.parametrize("durability", DURABLE)
def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: object, durability: str) -> None:
    """Each line is locked, written, synced, released and acknowledged, in this order."""
    assert trace.verify_calls(trace.trace_appends(str(tmp_path), durability), str(tmp_path)) == []


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
    """The trace shows faults of the engine that no file can show."""
    count = trace.LINES
    faults = trace.verify_calls(trace.trace_appends(str(tmp_path), "fsync", way), str(tmp_path))
    assert any(complaint in fault for fault in faults), f"{count} lines, faults: {faults}"
