"""One JSON object as one line of a file: encode and decode.

The format is NDJSON (https://github.com/ndjson/ndjson-spec): a JSON text (RFC 8259) a line, UTF-8,
each line ended by a newline. A newline within a text is written as `\\n`, so a line of the file is
always a record.
"""

from __future__ import annotations

import json
import math
import re
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import Fault, InvalidRecordError, show
from . import nested_json
from .convert import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_SCALARS: Final = frozenset({str, int, bool, NoneType})
# What only Python takes for JSON, in the first group; a text is matched whole, to be skipped.
_TEXT_OR_CONSTANT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a JSON object as one line, its newline included.

    What is written is what will be read: keys are strings, numbers are finite, and nothing is
    turned into a string by guess. Values that are not of JSON's own types are converted by
    `convert.plain`.

    Raises:
        InvalidRecordError: JSON cannot hold the record; every wrong value is named by its path.

    Example:
        >>> encode_line({"score": 0.5, "who": "Zoë"}).decode()
        '{"score":0.5,"who":"Zoë"}\\n'
    """
    try:
        if type(record) is dict and is_plain_object(record):
            return _encode(record) + b"\n"
    except (ValueError, RecursionError):
        pass  # found and named below
    return _convert_and_encode(record) + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Decode one line to a dict, with or without its newline.

    Raises:
        json.JSONDecodeError: the line is no JSON object in UTF-8.

    Example:
        >>> decode_line(b'{"score":0.5}')
        {'score': 0.5}
    """
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_slowly(line)


def is_plain_object(record: dict[Any, Any]) -> bool:
    """Return whether the encoder writes this dict as it stands.

    One loop without calls for scalars, since every append pays for it.
    """
    for key, value in record.items():
        if type(key) is not str:
            return False
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is float:
            if value - value != 0.0:  # NaN or an infinity
                return False
        elif not _is_plain_container(value, kind):
            return False
    return True


def _is_plain_container(value: Any, kind: type) -> bool:
    if kind is dict:
        return is_plain_object(value)
    return kind is list and all(
        type(item) in _SCALARS
        or (math.isfinite(item) if type(item) is float else _is_plain_container(item, type(item)))
        for item in value
    )


def _convert_and_encode(record: Mapping[str, Any]) -> bytes:
    """Encode a record in JSON's own types, or raise `InvalidRecordError` with every fault found."""
    faults: list[Fault] = []
    try:
        result = plain(record, "record", faults)
        if not faults and isinstance(result, dict):
            return _encode(result)
    except RecursionError:  # of `plain`, or of the encoder, which may not go as deep
        remedy = "nested too deeply, or in itself; pass a flatter object"
        faults = [Fault("record", type(record).__name__, remedy)]
    if not faults:
        remedy = "pass a JSON object, as a dict with text keys"
        faults = [Fault("record", show(record), remedy)]
    raise InvalidRecordError(tuple(faults))


def _decode_slowly(line: bytes) -> dict[str, Any]:
    """Decode a line that the fast decoder refused, or raise the error that says why.

    The fast decoder refuses some JSON too: 1e400, escaped lone surrogates, deep nesting.
    """
    text = line.decode(errors="replace")
    try:
        record = nested_json.decode(line.decode())
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError(f"Invalid UTF-8 ({error.reason})", text, error.start) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a constant, or an integer of more digits than Python converts
        raise json.JSONDecodeError(str(error), text, _position_of_constant(text)) from error
    if not isinstance(record, dict):
        raise json.JSONDecodeError(f"Expected a JSON object, got {type(record).__name__}", text, 0)
    return record


def _position_of_constant(text: str) -> int:
    """Return the position of the first NaN or infinity outside of texts, 0 where there is none."""
    found = (match.start() for match in _TEXT_OR_CONSTANT.finditer(text) if match[1])
    return next(found, 0)
