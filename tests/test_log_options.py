"""The options that every public class takes: what is refused, how they are shown."""

from __future__ import annotations

import math
from typing import Any

import pytest

from metrics_appender import InvalidRecordError, Rotation
from metrics_appender.log_options import check_options


@pytest.mark.parametrize("lock_timeout", [0, 0.5, 30, math.inf, None])
def test_a_timeout_is_seconds_of_0_or_more_or_none(lock_timeout: float | None) -> None:
    """It is kept as it was passed."""
    assert check_options("fsync", lock_timeout, None).lock_timeout is lock_timeout


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("durability", ("never", 1, None)),
        ("durability", (["fsync"], 1, None)),
        ("rotation", ("fsync", 1, "daily")),
        *(
            ("lock_timeout", ("fsync", wrong, None))
            for wrong in (-1, math.nan, -math.inf, True, "5", 10**400, 1j)
        ),
    ],
)
def test_a_wrong_option_is_named(field: str, options: Any) -> None:
    """By the name of its parameter."""
    with pytest.raises(InvalidRecordError) as caught:
        check_options(*options)
    assert [fault.field for fault in caught.value.faults] == [field]


def test_options_are_shown_as_the_arguments_of_a_call() -> None:
    """`rotation` only where there is one."""
    assert str(check_options("os", None, None)) == "durability='os', lock_timeout=None"
    rotation = Rotation(max_bytes=5)
    assert str(check_options("group", 2.5, rotation)).endswith(f", rotation={rotation!r}")
