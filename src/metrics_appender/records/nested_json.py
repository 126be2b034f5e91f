"""JSON decoded to any depth: without recursion where the recursive decoder overflows the stack.

How deep a recursive decoder goes depends on its caller's stack and on the recursion limit. Whether
a line is JSON must depend on neither.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

_WHITE_SPACE: Final = frozenset(" \t\n\r")


def decode(text: str) -> Any:
    """Return the value that a text is; raises as `decode_at` does."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        value, position = _decode_flat(text, 0)
    position = _skip_space(text, position)
    if position < len(text):
        raise json.JSONDecodeError("Extra data", text, position)
    return value


def decode_at(text: str, position: int) -> tuple[Any, int]:
    """Return the value that begins at a position of a text, and the position where it ends.

    Raises:
        json.JSONDecodeError: no value begins there.
        ValueError: a constant that only Python takes for JSON, or an integer of more digits than
            Python converts.
    """
    try:
        return _DECODER.raw_decode(text, position)
    except RecursionError:
        return _decode_flat(text, position)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode_flat(text: str, position: int) -> tuple[Any, int]:
    around: list[dict[str, Any] | list[Any]] = []  # the open containers, the innermost last
    keys: list[str] = []  # one for each open dict: the key of its next value
    while True:
        value, position, is_open = _begin_value(text, position)
        if is_open:
            around.append(value)
        else:
            while around:  # add the value to its container; a container that ends is a value too
                outer = around[-1]
                if isinstance(outer, dict):
                    outer[keys.pop()] = value
                else:
                    outer.append(value)
                position = _skip_space(text, position)
                if text.startswith(",", position):
                    break
                if not text.startswith("}" if isinstance(outer, dict) else "]", position):
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
                value = around.pop()
                position += 1
            else:
                return value, position
            position += 1
        if isinstance(around[-1], dict):
            position = _take_key(text, position, keys)


def _begin_value(text: str, position: int) -> tuple[Any, int, bool]:
    """Return a value, the position behind what was read, and whether it is to be filled."""
    position = _skip_space(text, position)
    value: Any
    if text.startswith("{", position):
        value, closing = {}, "}"
    elif text.startswith("[", position):
        value, closing = [], "]"
    else:
        return *_DECODER.raw_decode(text, position), False
    position = _skip_space(text, position + 1)
    if text.startswith(closing, position):
        return value, position + 1, False
    return value, position, True


def _take_key(text: str, position: int, keys: list[str]) -> int:
    """Add the next key to `keys`, and return the position of its value."""
    position = _skip_space(text, position)
    if not text.startswith('"', position):
        raise json.JSONDecodeError(
            "Expecting property name enclosed in double quotes", text, position
        )
    key, position = _DECODER.raw_decode(text, position)
    keys.append(key)
    position = _skip_space(text, position)
    if not text.startswith(":", position):
        raise json.JSONDecodeError("Expecting ':' delimiter", text, position)
    return position + 1


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in _WHITE_SPACE:
        position += 1
    return position
