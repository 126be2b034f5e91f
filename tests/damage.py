"""Damaged files: good lines, damaged ones, and the fault that a check has to find in each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from metrics_appender.records.metric_lines import encode_event
from metrics_appender.records.metrics import PromotionEvent, RollbackEvent

SUFFIX = "_promotion_log.json"


@dataclass(frozen=True)
class Line:
    """A line without its newline, its fault, and the objects in it that a repair keeps."""

    data: bytes
    kind: str | None
    kept: tuple[bytes, ...] = ()


def event(number: int, text: str = "", *, is_compact: bool = True) -> bytes:
    """Return an event with a new id, encoded as this library does or as `json.dumps` does."""
    fields: dict[str, Any] = {
        "skill_name": "s",
        "from_state": text,
        "to_state": "b",
        "timestamp": number / 2,
    }
    if number % 2:
        fields |= {
            "approver": "p",
            "approval_ticket": "",
            "reason": "",
            "automated_checks": {"a": [1, {"b": text}]},
        }
        _, line = encode_event(PromotionEvent, fields, f"{number:08x}")
    else:
        fields |= {"trigger_reason": "", "trigger_metric": "m", "automated": True}
        _, line = encode_event(RollbackEvent, fields, f"{number:08x}")
    return line[:-1] if is_compact else json.dumps(json.loads(line)).encode()


def is_object(data: bytes) -> bool:
    """Return whether a line is a JSON object to Python's own parser."""
    try:
        return isinstance(json.loads(data.decode()), dict)
    except (ValueError, RecursionError):
        return False


garbage = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from(
        [b"[]", b"{", b"null", b'{"a":1,}', b"#", b"\t", b'"text"', b"{}{", b"{},{}", b'{"a":NaN}']
    ),
).filter(
    lambda data: (
        b"\n" not in data
        and b"\0" not in data
        and data.strip(b" ") != b""
        and not is_object(data)
        and data != b"{}{}"
    )
)


@st.composite
def damaged_lines(draw: st.DrawFn) -> list[Line]:
    """Draw the lines of a promotion log: good ones, with every kind of damage between them."""
    lines = []
    for number in range(draw(st.integers(0, 8))):
        good = event(number, draw(st.text(max_size=5)), is_compact=draw(st.booleans()))
        kind = draw(
            st.sampled_from(
                ["good", "good", "blank", "no_object", "nul_run", "glued", "schema", "duplicate_id"]
            )
        )
        if kind == "good":
            lines.append(Line(good, None, (good,)))
        elif kind == "blank":
            lines.append(Line(b" " * draw(st.integers(1, 9)), None))
        elif kind == "no_object":
            lines.append(Line(draw(st.one_of(st.just(b""), st.just(good[:-1]), garbage)), kind))
        elif kind == "nul_run":
            lines.append(
                Line(
                    draw(st.binary(max_size=9)).replace(b"\n", b"")
                    + b"\0" * draw(st.integers(1, 99))
                    + good,
                    kind,
                )
            )
        elif kind == "glued":
            lines.append(draw(glued_lines(number)))
        elif kind == "schema":
            lines.append(Line(good.replace(b'"from_state"', b'"from_stat"'), kind))
        elif any(line.kind is None and line.kept for line in lines):
            lines.append(
                Line(next(line.data for line in lines if line.kind is None and line.kept), kind)
            )
    return lines


@st.composite
def glued_lines(draw: st.DrawFn, number: int) -> Line:
    """Draw a line of two or three objects, one of which may be no record."""
    parts = [
        event(100 * (number + 1) + index, is_compact=draw(st.booleans()))
        for index in range(draw(st.integers(2, 3)))
    ]
    kept = tuple(parts)
    if draw(st.booleans()):
        place = draw(st.integers(0, len(parts) - 1))
        parts[place] = b'{"no": "record"}'
        kept = tuple(part for part in parts if part != parts[place])
    gaps = [draw(st.sampled_from([b"", b"", b" ", b"\t \r"])) for _ in parts]
    return Line(b"".join(part + gap for part, gap in zip(parts, gaps, strict=True)), "glued", kept)
