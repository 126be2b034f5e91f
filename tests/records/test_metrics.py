"""The five kinds of record: what their fields take and what they refuse."""

from __future__ import annotations

import enum
import math
import os
import subprocess
import sys
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from metrics_appender import InvalidRecordError, MetricsAppender


class Kind(NamedTuple):
    """One kind of record: its method, its file, and arguments that are well."""

    method: str
    filename: str
    arguments: dict[str, Any]


def kind_of(method: str, suffix: str, **arguments: Any) -> Kind:
    """Make a kind for the skill `s`."""
    return Kind(method, f"s_{suffix}.json", {"skill_name": "s", **arguments})


PERFORMANCE = kind_of(
    "append_performance_metric", "performance", execution_id="e", execution_time_ms=25, agent="a"
)
OUTCOME = kind_of(
    "append_outcome_metric",
    "outcomes",
    execution_id="e",
    decision="d",
    expected_decision=None,
    correct=True,
    confidence=0.5,
    reasoning="r",
    agent="a",
)
FIDELITY = kind_of(
    "append_fidelity_metric",
    "fidelity",
    execution_id="e",
    pattern_fidelity=0.5,
    patterns_followed=1,
    patterns_missed=1,
    patterns_detail={},
    agent="a",
)
PROMOTION = kind_of(
    "append_promotion_event",
    "promotion_log",
    from_state="f",
    to_state="t",
    approver="p",
    approval_ticket="k",
    reason="r",
    automated_checks={},
)
ROLLBACK = kind_of(
    "append_rollback_event",
    "promotion_log",
    from_state="f",
    to_state="t",
    trigger_reason="r",
    trigger_metric="m",
)
KINDS = [PERFORMANCE, OUTCOME, FIDELITY, PROMOTION, ROLLBACK]

TEXTS = [
    (PERFORMANCE, ["execution_id", "agent", "exception_type"]),
    (OUTCOME, ["execution_id", "decision", "expected_decision", "reasoning", "agent"]),
    (FIDELITY, ["execution_id", "agent"]),
    (PROMOTION, ["from_state", "to_state", "approver", "approval_ticket", "reason"]),
    (ROLLBACK, ["from_state", "to_state", "trigger_reason", "trigger_metric"]),
]
TEXT_FIELDS = [(kind, field) for kind, fields in TEXTS for field in fields]
COUNT_FIELDS = [
    (PERFORMANCE, "execution_time_ms"),
    (FIDELITY, "patterns_followed"),
    (FIDELITY, "patterns_missed"),
]
FLAG_FIELDS = [(PERFORMANCE, "exception_occurred"), (OUTCOME, "correct"), (ROLLBACK, "automated")]
FRACTION_FIELDS = [(OUTCOME, "confidence"), (FIDELITY, "pattern_fidelity")]
TIMESTAMP_FIELDS = [(kind, "timestamp") for kind in KINDS]
NUMBER_FIELDS = [*FRACTION_FIELDS, *TIMESTAMP_FIELDS, (PERFORMANCE, "memory_usage_mb")]
OPTIONAL_FIELDS = [
    (PERFORMANCE, "exception_type"),
    (PERFORMANCE, "memory_usage_mb"),
    (OUTCOME, "expected_decision"),
]

fields_of = pytest.mark.parametrize


TextState = enum.StrEnum("TextState", {"PRODUCTION": "production"})
Level = enum.IntEnum("Level", {"THREE": 3})


class MixedState(str, enum.Enum):  # noqa: UP042 - the older form, whose str() is not its value, is what is tested
    """A text enum as programs held it before there was `StrEnum`."""

    PRODUCTION = "production"


class LyingText(str):
    """A text that shows itself as something else."""

    __slots__ = ()

    def __str__(self) -> str:
        """Lie."""
        return "lie"


class LyingInt(int):
    """A number that shows itself as something else."""

    def __repr__(self) -> str:
        """Lie."""
        return "lie"


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsAppender:
    """An appender that does not wait for the disk."""
    return MetricsAppender(tmp_path, durability="os")


def append_and_read(metrics: MetricsAppender, kind: Kind, **changed: Any) -> dict[str, Any]:
    """Append a record with some of its arguments changed, and return it as read back."""
    getattr(metrics, kind.method)(**{**kind.arguments, **changed})
    (record,) = metrics.read_metrics(kind.filename, limit=1)
    assert isinstance(record, dict)
    return record


def assert_written_as(
    metrics: MetricsAppender, kind: Kind, field: str, value: Any, expected: Any
) -> None:
    """Assert which value a field has in the file, and of which type."""
    found = append_and_read(metrics, kind, **{field: value})[field]
    assert (found, type(found)) == (expected, type(expected))


def assert_refused(
    metrics: MetricsAppender, kind: Kind, *wrong: str, **changed: Any
) -> InvalidRecordError:
    """Assert that just the wrong fields are named, and that no file came to be."""
    with pytest.raises(InvalidRecordError) as caught:
        getattr(metrics, kind.method)(**{**kind.arguments, **changed})
    assert sorted(fault.field for fault in caught.value.faults) == sorted(wrong)
    assert all(field in str(caught.value) for field in wrong)
    assert os.listdir(metrics.metrics_dir) == []
    return caught.value


@fields_of(("kind", "field"), TEXT_FIELDS)
def test_text_of_every_sort_is_written_as_the_text_it_is(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """A text, a subclass of it, a text enum and a NumPy text are written by their characters."""
    for value in (
        "",
        "Zoë",
        LyingText("production"),
        np.str_("production"),
        TextState.PRODUCTION,
        MixedState.PRODUCTION,
    ):
        assert_written_as(metrics, kind, field, value, str.__str__(value))


@fields_of(("kind", "field"), TEXT_FIELDS)
def test_what_is_no_text_is_refused_in_a_text_field(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """A text field takes text only, without lone surrogates, and guesses nothing."""
    for value in (
        5,
        True,
        1.5,
        b"x",
        np.bytes_(b"x"),
        np.int64(1),
        Path("x"),
        ["x"],
        Decimal(1),
        object(),
        "\ud800",
        "a\udfffb",
    ):
        assert_refused(metrics, kind, field, **{field: value})


@fields_of(("kind", "field"), COUNT_FIELDS)
def test_whole_numbers_of_every_sort_are_written_as_integers(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """Counts take integers, whole floats and decimals, NumPy's numbers, subclasses and enums.

    Are written as integers.
    """
    numbers: list[Any] = [
        25,
        25.0,
        Decimal(25),
        Decimal("25.00"),
        Decimal("2.5e1"),
        LyingInt(25),
        *(number(25) for number in (np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64)),
    ]
    for value in [*numbers, np.float16(25), np.float32(25), np.float64(25)]:
        assert_written_as(metrics, kind, field, value, 25)
    for value, expected in [
        (0, 0),
        (-0.0, 0),
        (Level.THREE, 3),
        (2**53 + 1, 2**53 + 1),
        (2**64, 2**64),
        (1e20, 10**20),
    ]:
        assert_written_as(metrics, kind, field, value, expected)
    for value, expected in [
        (Decimal("-0"), 0),
        (Decimal(2**53 + 1), 2**53 + 1),
        (Decimal("1e300"), 10**300),
    ]:
        assert_written_as(metrics, kind, field, value, expected)


@fields_of(("kind", "field"), COUNT_FIELDS)
def test_what_is_no_count_is_refused(metrics: MetricsAppender, kind: Kind, field: str) -> None:
    """A bool, a fraction, a negative or infinite number, a text and an array are no counts."""
    for value in (
        True,
        np.bool_(True),
        25.5,
        np.float32(25.5),
        -1,
        -1.0,
        np.int64(-1),
        math.nan,
        np.float64("inf"),
    ):
        assert_refused(metrics, kind, field, **{field: value})
    for other in ("5", b"5", None, Fraction(5), 5j, np.array(5), np.array([5])):
        assert_refused(metrics, kind, field, **{field: other})
    for text in (
        "25.5",
        f"{2**53}.5",
        "-1",
        "NaN",
        "sNaN",
        "Infinity",
        "1e400",
        "1e999999",
        "1e-999999",
    ):
        assert_refused(metrics, kind, field, **{field: Decimal(text)})


def test_a_count_of_more_digits_than_a_reader_converts_is_refused(metrics: MetricsAppender) -> None:
    """Python neither writes nor reads integers of more than 4300 digits.

    They are named like any wrong field.
    """
    assert_refused(metrics, PERFORMANCE, "execution_time_ms", execution_time_ms=10**5000)


def test_numpy_spans_and_instants_are_no_numbers(metrics: MetricsAppender) -> None:
    """A span in nanoseconds is neither milliseconds nor seconds, and "not a time" is not `None`."""
    spans = [np.timedelta64(1, unit) for unit in ("ns", "ms", "Y")]
    for value in [*spans, np.datetime64(1, "ns"), np.datetime64("NaT", "us")]:
        for kind, field in [*COUNT_FIELDS, *NUMBER_FIELDS]:
            assert_refused(metrics, kind, field, **{field: value})


@fields_of(("kind", "field"), NUMBER_FIELDS)
def test_numbers_of_every_sort_are_written_as_floats(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """Measured values take integers, floats, decimals, and NumPy's numbers.

    Are written as floats.
    """
    for number in (
        int,
        float,
        Decimal,
        LyingInt,
        np.int8,
        np.uint64,
        np.int64,
        np.float16,
        np.float32,
        np.float64,
    ):
        assert_written_as(metrics, kind, field, number(1), 1.0)
    assert_written_as(metrics, kind, field, np.float32(0.9), float(np.float32(0.9)))
    assert_written_as(metrics, kind, field, np.float64(0.1), 0.1)
    assert_written_as(metrics, kind, field, Decimal("0.1"), 0.1)
    assert_written_as(metrics, kind, field, 0, 0.0)


@fields_of(("kind", "field"), NUMBER_FIELDS)
def test_what_is_no_finite_number_of_0_or_more_is_refused(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """A bool, a negative number, NaN, an infinity, a text and a date are no measured values."""
    for value in (
        True,
        np.bool_(False),
        -1,
        -5e-324,
        math.nan,
        math.inf,
        -math.inf,
        np.float32("nan"),
        np.float64("inf"),
        10**400,
        10**5000,
    ):
        assert_refused(metrics, kind, field, **{field: value})
    for other in (
        "0.5",
        b"1",
        [1],
        1j,
        np.complex128(1),
        np.array(0.5),
        datetime(1970, 1, 1, tzinfo=UTC),
    ):
        assert_refused(metrics, kind, field, **{field: other})


def test_a_decimal_passes_no_bound_that_a_float_does_not(metrics: MetricsAppender) -> None:
    """Not a number, an infinity, what is negative and what only a float's range makes infinite."""
    for kind, field in NUMBER_FIELDS:
        for value in ("NaN", "sNaN", "Infinity", "-0.1", "1e400", "1e300"):
            if (field, value) != ("memory_usage_mb", "1e300"):
                assert_refused(metrics, kind, field, **{field: Decimal(value)})


def test_a_long_double_is_written_as_the_float_it_is_nearest_to(metrics: MetricsAppender) -> None:
    """NumPy's widest scalar is a scalar, too."""
    for kind, field in NUMBER_FIELDS:
        assert_written_as(metrics, kind, field, np.longdouble(0.1), 0.1)


@fields_of(("kind", "field"), FRACTION_FIELDS)
def test_fractions_are_taken_from_0_to_1_and_not_beyond(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """0 and 1 themselves are fractions, the next float above 1 is not, and `None` is not."""
    for value in (1.0 + 2**-52, 2, np.float32(1.5), None):
        assert_refused(metrics, kind, field, **{field: value})
    for value in (0.0, 5e-324, 1.0 - 2**-53, 1.0):
        assert_written_as(metrics, kind, field, value, value)


@fields_of(("kind", "field"), FLAG_FIELDS)
def test_flags_take_bools_and_nothing_that_resembles_them(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """Python's and NumPy's bools are flags; 0, 1, texts and `None` are not."""
    resembling: list[Any] = [0, 1, 1.0, np.int64(1), "true", "", None, [], np.array(True)]
    for wrong in resembling:
        assert_refused(metrics, kind, field, **{field: wrong})
    for flag in (True, False, np.bool_(True), np.bool_(False)):
        assert_written_as(metrics, kind, field, flag, bool(flag))


@fields_of(("kind", "field"), OPTIONAL_FIELDS)
def test_a_field_that_is_none_is_written_as_null(
    metrics: MetricsAppender, kind: Kind, field: str
) -> None:
    """`None` stands in the line as `null`, it is not left out."""
    append_and_read(metrics, kind, **{field: None})
    assert f'"{field}":null'.encode() in (metrics.metrics_dir / kind.filename).read_bytes()


def test_patterns_detail_takes_numpy_keys_and_flags(metrics: MetricsAppender) -> None:
    """The dict of a fidelity metric may come from NumPy, keys and values.

    Be a subclass of dict.
    """
    for detail in (
        {np.str_("p"): np.bool_(True), TextState.PRODUCTION: False},
        OrderedDict(p=np.bool_(True), production=False),
    ):
        assert_written_as(
            metrics, FIDELITY, "patterns_detail", detail, {"p": True, "production": False}
        )
    assert_written_as(metrics, FIDELITY, "patterns_detail", {}, {})


def test_patterns_detail_refuses_what_is_no_dict_of_flags(metrics: MetricsAppender) -> None:
    """Each pattern has a text key and a bool."""
    for value in (
        None,
        [],
        "p",
        {"p": 1},
        {"p": None},
        {"p": "yes"},
        {1: True},
        {"\ud800": True},
        {"p": {"q": True}},
        [("p", True)],
    ):
        assert_refused(metrics, FIDELITY, "patterns_detail", patterns_detail=value)


def test_automated_checks_have_to_be_an_object(metrics: MetricsAppender) -> None:
    """A list, a text or nothing at all is no JSON object."""
    for value in (None, [], "checks", [("a", 1)], 5, object()):
        assert_refused(metrics, PROMOTION, "automated_checks", automated_checks=value)


WRONG_FIELDS: list[tuple[Kind, dict[str, Any]]] = [
    (
        PERFORMANCE,
        {
            "execution_id": 5,
            "execution_time_ms": -1,
            "exception_occurred": 1,
            "memory_usage_mb": math.nan,
            "agent": None,
        },
    ),
    (
        OUTCOME,
        {
            "decision": None,
            "correct": "yes",
            "confidence": 1.5,
            "reasoning": b"r",
            "timestamp": -1,
            "skill_name": "a/b",
        },
    ),
    (
        FIDELITY,
        {
            "pattern_fidelity": math.inf,
            "patterns_followed": True,
            "patterns_missed": 0.5,
            "patterns_detail": None,
        },
    ),
    (
        PROMOTION,
        {
            "from_state": 1,
            "reason": "\ud800",
            "automated_checks": None,
            "timestamp": math.nan,
            "skill_name": "",
        },
    ),
    (ROLLBACK, {"trigger_metric": None, "automated": 1, "timestamp": True, "skill_name": 5}),
]


@fields_of(("kind", "wrong"), WRONG_FIELDS)
def test_every_wrong_field_is_named_in_one_error(
    metrics: MetricsAppender, kind: Kind, wrong: dict[str, Any]
) -> None:
    """A caller learns of all wrong fields at once, and nothing was opened."""
    assert_refused(metrics, kind, *wrong, **wrong)


def test_wrong_values_in_automated_checks_are_named_by_their_path_beside_other_fields(
    metrics: MetricsAppender,
) -> None:
    """A nested fault is reported with the path to it, together with the faults of other fields."""
    checks = {"ok": 1, "tests": [{"loss": math.nan}, {"raw": b"x"}]}
    paths = ["automated_checks.tests[0].loss", "automated_checks.tests[1].raw", "approver"]
    assert_refused(metrics, PROMOTION, *paths, automated_checks=checks, approver=None)


AT_THE_END = """
import builtins, os, sys
from metrics_appender import InvalidRecordError, MetricsAppender

class Last:
    def __init__(self, metrics):
        self.metrics = metrics

    def __del__(self, os=os, sys=sys, InvalidRecordError=InvalidRecordError):
        self.metrics.append_performance_metric("s", "made plain", 1.0, "a")
        self.metrics.append_promotion_event("s", "f", "t", "p", "k", "r", {"tests": True})
        self.metrics.append_rollback_event("s", "f", "t", "r", "m")
        try:
            self.metrics.append_performance_metric("s", "e", -1, "a")
        except InvalidRecordError as error:
            os.write(1, b"%s, %d" % (error.faults[0].field.encode(), sys.is_finalizing()))

metrics = MetricsAppender(sys.argv[1])
metrics.append_performance_metric("s", "plain", 0, "a")
builtins.last = Last(metrics)
"""


def test_all_kinds_are_checked_while_the_interpreter_ends(metrics: MetricsAppender) -> None:
    """What is made plain and what is refused too, when the modules have been emptied already."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, str(metrics.metrics_dir)],
        check=True,
        capture_output=True,
    )
    assert done.stdout == b"execution_time_ms, 1", done.stderr.decode()
    assert [
        record["execution_time_ms"] for record in metrics.read_metrics("s_performance.json")
    ] == [0, 1]
    assert [event["event_type"] for event in metrics.read_metrics("s_promotion_log.json")] == [
        "promotion",
        "rollback",
    ]
