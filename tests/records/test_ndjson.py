"""One JSON object and one line: what is written is what is read."""

from __future__ import annotations

import functools
import json
import math
import sys
from typing import Any

import pytest
from conftest import deep_in_the_stack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metrics_appender import AppendLog, InvalidRecordError
from metrics_appender.records import ndjson
from metrics_appender.records.ndjson import decode_line, encode_line

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
    r"""UTF-8 without any `\uXXXX` for letters, signs and emoji, in keys and in values."""
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

    Whether it is JSON does not depend on its reader.
    """
    for depth in (300, 5000):
        line = b'{"in":' * depth + b"{}" + b"}" * depth
        for frames in (0, sys.getrecursionlimit() - 300):
            found, count = deep_in_the_stack(frames, functools.partial(decode_line, line)), 0
            while found:
                found, count = found["in"], count + 1
            assert count == depth


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
    """Blanks, escapes and large numbers are JSON, also where this library writes them otherwise."""
    assert decode_line(line) == expected
