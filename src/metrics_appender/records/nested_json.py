"""JSON decoded to whatever depth its text has.

Where a recursive decoder comes to the end of the stack, without recursion.

How deep a decoder goes depends on who calls it, from how deep in its own stack, and under which
limit. Whether a line is JSON does not.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

_WHITE_SPACE: Final = frozenset(" \t\n\r")


def decode(text: str) -> Any:
    """Return the value that a text is.

    `json.JSONDecodeError` where it is no JSON, another `ValueError` as in `decode_at`.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        value, place = _decode_flat(text, 0)
    place = _skip_space(text, place)
    if place < len(text):
        raise json.JSONDecodeError("Extra data", text, place)
    return value


def decode_at(text: str, place: int) -> tuple[Any, int]:
    """Return the value that begins at a place of a text, and where it ends.

    Raises `json.JSONDecodeError` where none does, and another `ValueError` for a constant that only
    Python takes for JSON, and for an integer of more digits than it converts.
    """
    try:
        return _DECODER.raw_decode(text, place)
    except RecursionError:
        return _decode_flat(text, place)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode_flat(text: str, place: int) -> tuple[Any, int]:
    around: list[dict[str, Any] | list[Any]] = []  # what is open at the place, the innermost last
    keys: list[str] = []  # under which the next value goes into the dicts among them
    while True:
        value, place, is_open = _begin_value(text, place)
        if is_open:
            around.append(value)
        else:
            while (
                around
            ):  # the value goes into what it stands in, and so does that where it ends here
                outer = around[-1]
                if isinstance(outer, dict):
                    outer[keys.pop()] = value
                else:
                    outer.append(value)
                place = _skip_space(text, place)
                if text.startswith(",", place):
                    break
                if not text.startswith("}" if isinstance(outer, dict) else "]", place):
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
                value = around.pop()
                place += 1
            else:
                return value, place
            place += 1
        if isinstance(around[-1], dict):
            place = _take_key(text, place, keys)


def _begin_value(text: str, place: int) -> tuple[Any, int, bool]:
    """Return a value, the place behind what was read of it, and whether it is open.

    A dict or a list that is still to be filled.
    """
    place = _skip_space(text, place)
    value: Any
    if text.startswith("{", place):
        value, closing = {}, "}"
    elif text.startswith("[", place):
        value, closing = [], "]"
    else:
        return *_DECODER.raw_decode(text, place), False
    place = _skip_space(text, place + 1)
    if text.startswith(closing, place):
        return value, place + 1, False
    return value, place, True


def _take_key(text: str, place: int, keys: list[str]) -> int:
    """Add the key that stands next, and return the place of its value."""
    place = _skip_space(text, place)
    if not text.startswith('"', place):
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, place)
    key, place = _DECODER.raw_decode(text, place)
    keys.append(key)
    place = _skip_space(text, place)
    if not text.startswith(":", place):
        raise json.JSONDecodeError("Expecting ':' delimiter", text, place)
    return place + 1


def _skip_space(text: str, place: int) -> int:
    while text[place : place + 1] in _WHITE_SPACE:
        place += 1
    return place
