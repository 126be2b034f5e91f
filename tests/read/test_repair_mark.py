"""How long a reader believes that a repair is at work on a line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from metrics_appender.read.repair_mark import MARK, Repairs

if TYPE_CHECKING:
    import pytest


def test_every_repair_is_waited_for_until_one_was_waited_for_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The marks of one that was killed cost two seconds a minute, however many they are."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    repairs = Repairs()
    assert not repairs.may_be_at(b"#", 0)
    for place in range(10):
        assert repairs.may_be_at(MARK, place)
        now += 1.9
        assert repairs.may_be_at(MARK, place)
    now += 0.2
    assert not any(repairs.may_be_at(MARK, place) for place in (9, 10, 11))
    now += 61
    assert repairs.may_be_at(MARK, 12)
