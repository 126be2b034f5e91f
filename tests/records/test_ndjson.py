"""One JSON object and one line.

What is written is what is read, and what JSON cannot hold is refused.
"""

from __future__ import annotations

import enum
import functools
import json
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
from conftest import deep_in_the_stack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metrics_appender import AppendLog, InvalidRecordError, MetricsAppender
from metrics_appender.records import ndjson
from metrics_appender.records.ndjson import decode_line, encode_blocks, encode_line

TEXT = st.text(st.characters(codec="utf-8"))
INTEGERS = st.integers() | st.integers(-(2**70), 2**70)
SCALARS = (
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=6)

ODD_TEXT = "a\nb\r\tc\0d\x1b\x1f\x7fe\x85f\u2028g\u2029h\ufeffi\uffffj\"k\\l/m'n</script>"

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


@given(OBJECTS)
@example(
    {"": None, "big": 2**64, "bigger": -(10**40), "tiny": 5e-324, "minus": -0.0, "text": ODD_TEXT}
)
@settings(
    deadline=None, max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_a_line_decodes_to_the_object_it_was_encoded_from(record: dict[str, Any]) -> None:
    """Every JSON object comes back equal, in the order of its keys.

    Is one line whatever its texts hold.
    """
    line = encode_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    for found in (decode_line(line), decode_line(line[:-1]), json.loads(line)):
        assert repr(found) == repr(record)


@given(
    st.lists(OBJECTS | st.just({"odd": (1, Point(2, 3))}), max_size=40),
    st.sampled_from([1, 100, 1 << 20]),
)
@settings(
    deadline=None, max_examples=50, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_many_records_make_the_same_lines_in_one_go_and_one_by_one(
    records: list[dict[str, Any]], most_bytes: int
) -> None:
    """Those of a list are encoded together, those of an iterator each before the next."""
    for source in (records, iter(records)):
        blocks = list(encode_blocks(source, most_bytes))
        assert b"".join(block.lines for block in blocks) == b"".join(map(encode_line, records))
        assert [block.lines.count(b"\n") for block in blocks] == [block.records for block in blocks]


@given(st.lists(OBJECTS, min_size=1, max_size=4))
@settings(
    deadline=None, max_examples=50, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_a_log_reads_the_objects_that_were_appended(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    """The round trip holds through a file, too."""
    log = AppendLog(tmp_path_factory.mktemp("log") / "any.ndjson", durability="os")
    for record in records:
        log.append(record)
    assert repr(log.read()) == repr(records)
    assert repr(log.read(limit=1)) == repr(records[-1:])
    assert repr(list(log.iter_records())) == repr(records)


def test_letters_are_written_as_they_are() -> None:
    r"""UTF-8 without any `\uXXXX` for letters of any script, signs and emoji, in keys and in values."""
    text = "Zoë наука 技能 مهارة 👩‍👩‍👧 \u2028 \u2029 \ufeff \x7f \x85"
    line = encode_line({text: text})
    assert b"\\u" not in line
    assert line.count(text.encode()) == 2


@pytest.mark.parametrize(
    "text",
    [ODD_TEXT, *(chr(code) for code in [*range(0x21), 0x7F, 0x85, 0x2028, 0xFFFF, 0x10FFFF])],
    ids=ascii,
)
def test_a_record_is_one_line_whatever_is_in_its_text(text: str) -> None:
    """Control characters are escaped, so that no byte of the line but the last ends it."""
    line = encode_line({"k" + text: [text]})
    assert line.index(b"\n") == len(line) - 1
    assert min(line[:-1]) >= 0x20
    assert decode_line(line) == {"k" + text: [text]}


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
def test_what_json_cannot_hold_is_refused_by_its_place(tmp_path: Path, value: Any) -> None:
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


@pytest.mark.parametrize(
    "record", [None, 5, "text", [], [("a", 1)], (), {1}, b"{}", math.nan], ids=repr
)
def test_a_record_has_to_be_an_object(record: Any) -> None:
    """A list or a scalar is JSON, but no record."""
    with pytest.raises(InvalidRecordError, match="record"):
        encode_line(record)


def nested(depth: int) -> dict[str, Any]:
    """Return a dict in a dict in a dict."""
    record: dict[str, Any] = {}
    for _ in range(depth):
        record = {"in": record}
    return record


def test_a_record_in_itself_is_refused() -> None:
    """A circle has no end, whether of dicts or of lists."""
    circle: dict[str, Any] = {}
    circle["in"] = circle
    ring: list[Any] = []
    ring.append((ring,))
    for record in (circle, {"in": ring}):
        with pytest.raises(InvalidRecordError, match="nested"):
            encode_line(record)


@pytest.mark.parametrize("depth", [50, 100, 200, 400, 600, 900, 1000, 1500, 100_000])
def test_a_deep_record_is_either_refused_or_read_back(depth: int) -> None:
    """What the encoder takes the decoder takes, too; neither ends the interpreter."""
    try:
        line = encode_line(nested(depth))
    except InvalidRecordError:
        assert depth > 200
    else:
        found: Any = decode_line(line)
        while found:
            found, depth = found["in"], depth - 1
        assert depth == 0


def test_what_is_too_deep_for_the_encoder_alone_is_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under a raised limit Python may go deeper than the encoder does.

    Never with a bare `RecursionError`.
    """

    def encode(value: Any) -> bytes:
        raise RecursionError

    monkeypatch.setattr(ndjson, "_encode", encode)
    with pytest.raises(
        InvalidRecordError, match=r"record: got dict; nested too deeply.* pass a flatter object"
    ):
        encode_line({"a": {}})


def test_a_line_is_decoded_from_wherever_in_the_stack() -> None:
    """What this library has written, and what it would not write.

    Whether it is JSON does not depend on who reads it.
    """
    for depth in (300, 5000):
        line = b'{"in":' * depth + b"{}" + b"}" * depth
        for frames in (0, sys.getrecursionlimit() - 300):
            found, count = deep_in_the_stack(frames, functools.partial(decode_line, line)), 0
            while found:
                found, count = found["in"], count + 1
            assert count == depth


def test_all_faults_of_a_record_are_named() -> None:
    """Each by its place, in one error."""
    record: dict[Any, Any] = {"a": math.nan, "b": {"c": [b"x", 1, {2}]}, 3: 4}
    with pytest.raises(InvalidRecordError) as caught:
        encode_line(record)
    assert [fault.field for fault in caught.value.faults] == [
        "record.a",
        "record.b.c[0]",
        "record.b.c[2]",
        "a key of record",
    ]


NOT_OBJECTS = [
    b"",
    b" ",
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"[{}]",
    b"{",
    b"}",
    b"{}{}",
    b"{} x",
    b"{'a':1}",
    b'{"a":1,}',
    b'{"a":01}',
]
NOT_JSON = [
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":"\x01"}',
    b'{"a":"\t"}',
    b'{"a":"\\x"}',
    b"{1:2}",
    b"\0",
    b"\0" * 8,
]
NOT_UTF8 = [
    b"\xff",
    b'{"a":"\xff"}',
    b'{"a":"\xc3"}',
    b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"\xf5":1}',
]
NOT_UTF8 += [
    '{"a":1}'.encode(codec) for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")
]


@pytest.mark.parametrize(
    "line",
    [*NOT_OBJECTS, *NOT_JSON, *NOT_UTF8, b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}"],
    ids=lambda line: repr(line[:12]),
)
def test_a_line_that_is_no_object_in_utf8_is_a_decode_error(line: bytes) -> None:
    """One error for all.

    Blank, another JSON value, half a one, no JSON at all, another encoding.
    """
    with pytest.raises(json.JSONDecodeError):
        decode_line(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{}", {}),
        (b' { "a" : [ 1 , 2.0 ] } \r\n', {"a": [1, 2.0]}),
        (b'{"a":"\\ud83d\\ude00\\u00e9\\/"}', {"a": "😀é/"}),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":1E400}', {"a": math.inf}),
        (b'{"a":' + b"9" * 30 + b"}", {"a": 10**30 - 1}),
    ],
)
def test_json_that_other_writers_wrote_is_read(line: bytes, expected: dict[str, Any]) -> None:
    """Blanks, escapes and large numbers are JSON, also where this library would write them otherwise."""
    assert decode_line(line) == expected
