"""JSON of any depth.

The same verdict and the same value as the standard library's decoder, and no end to the depth.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metrics_appender.records import nested_json

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = st.text(st.sampled_from('a"\\/é😀\n\x00{}[]:, '), max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
FORMS: list[dict[str, Any]] = [
    {},
    {"indent": 1},
    {"separators": (",", ":")},
    {"separators": (" , \t", "\r : "), "ensure_ascii": False},
]


@given(value=VALUES, form=st.sampled_from(FORMS))
@settings(deadline=None, max_examples=200, database=None)
def test_a_value_is_what_its_text_says(value: Any, form: dict[str, Any]) -> None:
    """Without the recursive decoder, whatever the white space and the escapes."""
    text = json.dumps(value, **form)
    assert nested_json._decode_flat(text, 0) == (value, len(text))


@given(
    st.lists(
        st.sampled_from([*'{}[]:,"\\ x\n', "1", "-", '"a"', "null", "NaN", "\ufeff"]), max_size=9
    ).map("".join)
)
@example('{"a":1,}')
@example("[1,]")
@example("[,1]")
@example('{"a" 1}')
@example('{"a":1 "b":2}')
@example("{1:2}")
@example('{"a":[}')
@example('{"a":NaN}')
@example('{"a":1}}')
@settings(deadline=None, max_examples=500, database=None)
def test_what_is_no_json_is_refused(text: str) -> None:
    """Wherever the standard library refuses it, and nowhere else, with or without recursion."""
    refuse = nested_json._refuse_constant
    assert verdict(nested_json.decode, text) == verdict(
        lambda text: json.loads(text, parse_constant=refuse), text
    )
    text = text.lstrip()
    assert verdict(lambda text: nested_json._decode_flat(text, 0), text) == verdict(
        nested_json._DECODER.raw_decode, text
    )


def verdict(decode: Callable[[str], Any], text: str) -> str:
    """Return what a text is decoded to, or that it is refused."""
    try:
        return repr(decode(text))
    except ValueError:
        return "refused"


@pytest.mark.parametrize(
    ("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"b":2,"a":[0,', "]}]")]
)
def test_there_is_no_end_to_the_depth(opening: str, closing: str) -> None:
    """Far below any stack, and what is wrong down there."""
    depth = 30_000
    value = nested_json.decode(opening * depth + "1" + closing * depth + "\n")
    while value != 1:
        value = value["a"] if isinstance(value, dict) else value[-1]
    wrong = [("", 0), ("1", depth - 1), ("NaN", depth), ("1", depth + 1)]
    for text in (opening * depth + inner + closing * count for inner, count in wrong):
        with pytest.raises(ValueError, match=r"Expecting|NaN|Extra"):
            nested_json.decode(text)
