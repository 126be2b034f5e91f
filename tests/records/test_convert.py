"""Python values as JSON values: one plain meaning, or refused and named by its path."""

from __future__ import annotations

import enum
import math
import sys
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from metrics_appender import AppendLog, InvalidRecordError, MetricsAppender
from metrics_appender.records.ndjson import decode_line, encode_line

Point = namedtuple("Point", ["x", "y"])  # noqa: PYI024 - the untyped form is a tuple just as well


class Colour(enum.Enum):
    """A name for a text."""

    RED = "red"


class Bits(enum.IntFlag):
    """Numbers with names."""

    ONE = 1
    TWO = 2


class Text(enum.StrEnum):
    """A text with a name."""

    KEY = "key"


@dataclass
class Check:
    """What a check found."""

    name: str
    seen: datetime
    parts: tuple[Path, ...]


class Frozen(msgspec.Struct):
    """A struct with a field."""

    value: float


ZONE = timezone(timedelta(hours=9))
TAKEN: list[tuple[Any, Any]] = [
    ((1, (2, [3])), [1, [2, [3]]]),
    (Point(1, 2), [1, 2]),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (UserDict({"a": (1,)}), {"a": [1]}),
    (datetime(2025, 10, 20, 14, 25, 9, 143542, tzinfo=UTC), "2025-10-20T14:25:09.143542+00:00"),
    (datetime(2025, 10, 20, 14, 25, 9, tzinfo=ZONE), "2025-10-20T14:25:09+09:00"),
    (datetime(2025, 10, 20), "2025-10-20T00:00:00"),  # noqa: DTZ001 - one without a zone is the case
    (date(2025, 10, 20), "2025-10-20"),
    (time(14, 25, 9), "14:25:09"),
    (Path("/tmp/наука"), "/tmp/наука"),
    (PurePosixPath("a/b"), "a/b"),
    (UUID(int=255), "00000000-0000-0000-0000-0000000000ff"),
    (Colour.RED, "red"),
    (Text.KEY, "key"),
    (Bits.ONE | Bits.TWO, 3),
    (
        Check("c", datetime(2025, 1, 1, tzinfo=UTC), (Path("a"),)),
        {"name": "c", "seen": "2025-01-01T00:00:00+00:00", "parts": ["a"]},
    ),
    (Frozen(0.5), {"value": 0.5}),
    (np.int8(-3), -3),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float16(0.5), 0.5),
    (np.float32(0.9), float(np.float32(0.9))),
    (np.float64(0.1), 0.1),
    (np.bool_(True), True),
    (np.str_("наука"), "наука"),
    (np.datetime64("2025-10-20T14:25:09", "us"), "2025-10-20T14:25:09"),
]
REFUSED: list[Any] = [
    *(
        math.nan,
        math.inf,
        -math.inf,
        np.float32("nan"),
        np.float64("inf"),
        "\ud800",
        "a\udfff",
        np.str_("\ud800"),
    ),
    *(
        b"bytes",
        bytearray(b"x"),
        memoryview(b"x"),
        np.bytes_(b"x"),
        Path,
        Check,
        Colour,
        object(),
        len,
        ...,
        1j,
        np.complex128(1),
    ),
    *(
        {1, 2},
        frozenset(),
        Decimal("0.1"),
        Fraction(1, 3),
        timedelta(1),
        range(3),
        iter([1]),
        {}.items(),
        np.array([1]),
        np.array(1),
    ),
]


@pytest.mark.parametrize(("value", "expected"), TAKEN, ids=lambda value: type(value).__name__)
def test_what_has_one_plain_meaning_is_written_by_it(
    tmp_path: Path, value: Any, expected: Any
) -> None:
    """Also deep within a record, in a log's record and in `automated_checks` alike."""
    for wrapped, plain in [(value, expected), ([{"in": (value,)}], [{"in": [expected]}])]:
        assert repr(decode_line(encode_line({"v": wrapped}))) == repr({"v": plain})
    metrics = MetricsAppender(tmp_path, durability="os")
    metrics.append_promotion_event("s", "f", "t", "p", "k", "r", {"v": value, "in": [value]})
    checks = metrics.read_metrics("s_promotion_log.json")[0]["automated_checks"]
    assert repr(checks) == repr({"v": expected, "in": [expected]})


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_json_cannot_hold_is_refused_by_its_path(tmp_path: Path, value: Any) -> None:
    """Nothing is turned into a string by guess.

    The error names where it stands, and no file is made.
    """
    log = AppendLog(tmp_path / "any.ndjson")
    metrics = MetricsAppender(tmp_path)
    with pytest.raises(InvalidRecordError) as caught:
        log.append({"ok": 1, "deep": [0, {"v": value}]})
    assert [fault.field for fault in caught.value.faults] == ["record.deep[1].v"]
    with pytest.raises(InvalidRecordError) as caught:
        metrics.append_promotion_event("s", "f", "t", "p", "k", "r", {"ok": 1, "v": value})
    assert [fault.field for fault in caught.value.faults] == ["automated_checks.v"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [
        np.timedelta64(1, "ns"),
        np.datetime64(1, "ns"),
        np.datetime64("NaT", "us"),
        np.timedelta64("NaT", "us"),
    ],
    ids=repr,
)
def test_numpy_spans_and_instants_that_python_has_no_type_for_are_refused(value: Any) -> None:
    """Nanoseconds must not turn into a bare integer, nor "not a time" into `null`.

    Both would be guesses.
    """
    with pytest.raises(InvalidRecordError):
        encode_line({"v": value})


def test_an_instant_that_is_no_time_is_refused() -> None:
    """As pandas has it: a `datetime` by its class, "NaT" by its text, and unequal to itself."""

    class NotATime(datetime):
        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = datetime.__hash__

        def isoformat(self, *_: Any, **__: Any) -> str:
            return "NaT"

    with pytest.raises(InvalidRecordError):
        encode_line({"v": NotATime(2025, 1, 1, tzinfo=UTC)})


def test_a_long_double_is_written_as_the_float_it_is_nearest_to() -> None:
    """NumPy's widest scalar is a scalar, too."""
    assert decode_line(encode_line({"v": np.longdouble(0.1)})) == {"v": 0.1}


def test_an_integer_of_more_digits_than_a_reader_converts_is_refused() -> None:
    """Python reads integers of up to 4300 digits.

    What is longer could be written but never read.
    """
    longest = 10 ** (sys.get_int_max_str_digits() - 1)
    assert decode_line(encode_line({"v": longest})) == {"v": longest}
    with pytest.raises(InvalidRecordError):
        encode_line({"v": longest * 10})


@pytest.mark.parametrize(
    "key",
    [
        1,
        1.5,
        True,
        None,
        b"k",
        (1, 2),
        Colour.RED,
        UUID(int=1),
        date(2025, 1, 1),
        "\ud800",
        np.int64(1),
    ],
    ids=repr,
)
def test_keys_that_are_no_text_are_refused(key: Any) -> None:
    """A number as a key would come back as a text: its caller says how."""
    for record in ({key: 1}, {"deep": [{key: 1}]}):
        with pytest.raises(InvalidRecordError):
            encode_line(record)


def test_text_subclasses_are_keys() -> None:
    """A text enum and a NumPy text are texts."""
    assert decode_line(encode_line({Text.KEY: 1, np.str_("n"): 2})) == {"key": 1, "n": 2}


def test_all_faults_of_a_record_are_named() -> None:
    """Each by its path, in one error."""
    record: dict[Any, Any] = {"a": math.nan, "b": {"c": [b"x", 1, {2}]}, 3: 4}
    with pytest.raises(InvalidRecordError) as caught:
        encode_line(record)
    assert [fault.field for fault in caught.value.faults] == [
        "record.a",
        "record.b.c[0]",
        "record.b.c[2]",
        "a key of record",
    ]
