"""One JSON object and one line of a file: encode, decode, and what JSON can hold.

The format is NDJSON (https://github.com/ndjson/ndjson-spec): a JSON text (RFC 8259) a line, UTF-8,
each line ended by a newline. A newline within a text is written as `\\n`, so a line of the file is
always a record.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from ..errors import Fault, InvalidRecordError, show
from . import nested_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_T = TypeVar("_T")
_U = TypeVar("_U")

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode_into: Final = msgspec.json.Encoder().encode_into
_encode_lines: Final = msgspec.json.Encoder().encode_lines
# So many are encoded in one go, at the most: enough to pay.
_BATCH_RECORDS: Final = 256
_SCALARS: Final = frozenset({str, int, bool, NoneType})


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a JSON object as one line, its newline included.

    What is written is what will be read: keys are strings, numbers are finite, and nothing is
    turned into a string by guess. Beside JSON's own types it takes what has one plain meaning in
    JSON: see `plain`.

        >>> encode_line({"score": 0.5, "who": "Zoë"}).decode()
        '{"score":0.5,"who":"Zoë"}\\n'

    Raises `InvalidRecordError`, naming every wrong value by its place, for anything else.
    """
    try:
        if type(record) is dict and _is_plain_object(record):
            return _encode(record) + b"\n"
    except (ValueError, RecursionError):
        pass  # told apart and named below
    return _encode_closely(record) + b"\n"


class Block(NamedTuple):
    """Records as lines that are joined, and how many they are."""

    lines: bytes
    records: int

    def count_bytes(self) -> int:
        """Return the lines' length."""
        return len(self.lines)


def encode_blocks(records: Iterable[Mapping[str, Any]], most_bytes: int) -> Iterator[Block]:
    """Yield the lines of many records in blocks of so many bytes, or a little more.

    An error names the record by its place.

    Each is encoded before the next is asked for: a generator may fill one dict anew for every
    record.
    """
    if type(records) is list or type(records) is tuple:  # whose items are all there
        return _encode_batches(records, most_bytes)
    return _encode_one_by_one(records, most_bytes)


def _encode_batches(records: Iterable[Mapping[str, Any]], most_bytes: int) -> Iterator[Block]:
    source = iter(records)
    encoded: list[bytes] = []
    start = count = size = 0
    at_once = 1
    while batch := list(itertools.islice(source, at_once)):
        lines = _encode_batch(batch, start + count)
        encoded.append(lines)
        count += len(batch)
        size += len(lines)
        at_once = min(
            _BATCH_RECORDS, most_bytes * len(batch) // len(lines) or 1
        )  # fewer of large ones
        if size >= most_bytes:
            yield Block(b"".join(encoded), count)
            encoded, start, count, size = [], start + count, 0, 0
    if encoded:
        yield Block(b"".join(encoded), count)


def _encode_batch(records: list[Any], start: int) -> bytes:
    try:
        if all(type(record) is dict and _is_plain_object(record) for record in records):
            return _encode_lines(records)
    except (ValueError, RecursionError):
        pass  # told apart and named below
    return b"".join(encode_each(records, encode_line, start))


def _encode_one_by_one(records: Iterable[Mapping[str, Any]], most_bytes: int) -> Iterator[Block]:
    lines = bytearray()
    start = 0
    for number, record in enumerate(records):
        if not _add_plain_line(record, lines):
            lines += b"".join(encode_each((record,), encode_line, number))
        if len(lines) >= most_bytes:
            yield Block(bytes(lines), number + 1 - start)
            lines, start = bytearray(), number + 1
    if lines:
        yield Block(bytes(lines), number + 1 - start)


def _add_plain_line(record: Any, lines: bytearray) -> bool:
    """Add the record's line and return true, or leave the lines as they were where it is for `encode_line`."""
    size = len(lines)
    try:
        if type(record) is dict and _is_plain_object(record):
            _encode_into(record, lines, size)
            lines += b"\n"
            return True
    except (ValueError, RecursionError):
        del lines[size:]
    return False


def encode_each(records: Iterable[_T], encode: Callable[[_T], _U], start: int = 0) -> Iterator[_U]:
    """Yield each record encoded; an error names the record by its place, counted from `start`."""
    for number, record in enumerate(records, start):
        try:
            encoded = encode(record)
        except InvalidRecordError as error:
            faults = tuple(
                fault._replace(field=f"records[{number}]: {fault.field}") for fault in error.faults
            )
            raise InvalidRecordError(faults) from None
        yield encoded


def chunked(
    items: Iterable[_T], most_bytes: int, size_of: Callable[[_T], int]
) -> Iterator[list[_T]]:
    """Yield runs of items that hold up to so many bytes, or one item that holds more."""
    chunk: list[_T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if chunk and total + size > most_bytes:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk


def decode_line(line: bytes) -> dict[str, Any]:
    """Decode one line to a dict, with or without its newline.

    Raises `json.JSONDecodeError` when it is no JSON object.

        >>> decode_line(b'{"score":0.5}')
        {'score': 0.5}
    """
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_by_the_book(line)


def _decode_by_the_book(line: bytes) -> dict[str, Any]:
    """Judge a line that the fast decoder refused.

    It refuses some JSON too (1e400, escaped lone surrogates, what is nested deeply).
    """
    text = line.decode(errors="replace")
    try:
        record = nested_json.decode(line.decode())
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError(f"Invalid UTF-8 ({error.reason})", text, error.start) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a constant, or an integer of more digits than Python converts
        raise json.JSONDecodeError(str(error), text, _place_of_constant(text)) from error
    if not isinstance(record, dict):
        raise json.JSONDecodeError(f"Expected a JSON object, got {type(record).__name__}", text, 0)
    return record


def _place_of_constant(text: str) -> int:
    """Return where the first of what only Python takes for JSON stands, 0 where none does."""
    return next(
        (
            found.start()
            for found in re.finditer(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)', text)
            if found[1]
        ),
        0,
    )


def _is_plain_object(record: dict[Any, Any]) -> bool:
    """Whether the encoder will write this dict as it stands.

    One loop, for it is on the way of every append.
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
        return _is_plain_object(value)
    return kind is list and all(
        type(item) in _SCALARS
        or (math.isfinite(item) if type(item) is float else _is_plain_container(item, type(item)))
        for item in value
    )


def _encode_closely(record: Mapping[str, Any]) -> bytes:
    """Encode a record in JSON's own types, or raise `InvalidRecordError` with every fault found."""
    faults: list[Fault] = []
    try:
        result = plain(record, "record", faults)
        if not faults and isinstance(result, dict):
            return _encode(result)
    except RecursionError:  # of `plain`, or of the encoder, which may not go as deep
        faults = [
            Fault(
                "record",
                type(record).__name__,
                "nested too deeply, or in itself; pass a flatter object",
            )
        ]
    raise InvalidRecordError(
        tuple(
            faults
            or [Fault("record", show(record), "pass a JSON object, as a dict with text keys")]
        )
    )


def plain(value: Any, place: str, faults: list[Fault]) -> Any:
    """Return a value in JSON's own types; what cannot be is added to `faults` with its place.

    Taken beside `dict` with text keys, `list`, `str`, `int`, `float`, `bool` and `None`: tuples and
    other mappings, NumPy scalars, and what has one text form that is read back without guessing:
    `datetime`, `date` and `time` (ISO 8601), paths, UUIDs; enums (by value), dataclasses and
    msgspec structs (by their fields). Refused: NaN and infinities, text with lone surrogates,
    bytes, sets, decimals, arrays, any other object.
    """
    kind = type(value)
    if kind in _SCALARS or kind is float:
        reason = _reason_against(value)
        return _refuse(value, place, reason, faults) if reason else value
    if kind is list:
        return [plain(item, f"{place}[{index}]", faults) for index, item in enumerate(value)]
    if kind is dict:
        return {
            _plain_key(key, place, faults): plain(item, f"{place}.{key}", faults)
            for key, item in value.items()
        }
    for meaning in _MEANINGS:
        found = meaning(value)
        if found is not None:
            return plain(found[0], place, faults)
    return _refuse(
        value,
        place,
        "JSON cannot hold it; convert it to text, a number, a list or a dict yourself",
        faults,
    )


def _reason_against(scalar: Any) -> str:
    """Return why JSON in UTF-8 cannot hold a `str`, `int`, `float`, `bool` or `None`.

    Nothing when it can.
    """
    if type(scalar) is str and not is_text(scalar):
        return "it holds lone surrogates, which UTF-8 cannot; pass whole characters"
    if type(scalar) is float and not math.isfinite(scalar):
        return "JSON has no such number; pass a finite one or None"
    if type(scalar) is int and not _is_readable(scalar):
        return "it has more digits than Python reads; pass it as text"
    return ""


def _is_readable(number: int) -> bool:
    try:
        str(number)
    except ValueError:  # sys.get_int_max_str_digits()
        return False
    return True


def unwrap_scalar(value: Any) -> Any:
    """Return the plain value inside a NumPy scalar, or inside a subclass of `str`, `int` or `float`; else as it is."""
    if any(
        base.__name__ == "generic" and base.__module__ == "numpy" for base in type(value).__mro__
    ):
        return _unwrap_numpy(value)
    # The value itself, past any __str__ or __int__ of a subclass.
    if isinstance(value, str):
        return value if type(value) is str else str.__getnewargs__(value)[0]
    if isinstance(value, int):
        return value if type(value) in _SCALARS else int.__getnewargs__(value)[0]
    if isinstance(value, float):
        return value if type(value) is float else float.__getnewargs__(value)[0]
    return value


def _unwrap_numpy(value: Any) -> Any:
    if value.dtype.kind == "f":
        return float(value)  # the item() of a long double is a long double
    found = value.item()
    # Spans and instants that Python has no type for come as bare integers of their unit, "not a
    # time" as None.
    is_guess = value.dtype.kind in "mM" and (found is None or isinstance(found, int))
    return value if is_guess or value.dtype.kind == "c" else found


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold the text: not where it has lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(value: object, place: str, reason: str, faults: list[Fault]) -> None:
    faults.append(Fault(place, show(value), reason))


def _plain_key(key: object, place: str, faults: list[Fault]) -> str:
    key = unwrap_scalar(key)
    if type(key) is str and is_text(key):
        return key
    faults.append(
        Fault(
            f"a key of {place}",
            show(key),
            "the keys of a JSON object are text; convert it yourself",
        )
    )
    return ""


def _of_enum(value: Any) -> tuple[Any] | None:
    import enum

    return (value.value,) if isinstance(value, enum.Enum) else None


def _of_scalar(value: Any) -> tuple[Any] | None:
    found = unwrap_scalar(value)
    return None if found is value else (found,)


def _of_text(value: Any) -> tuple[Any] | None:
    import datetime as dt
    import os
    import uuid

    if isinstance(value, dt.datetime | dt.date | dt.time):
        return (value.isoformat(),) if value == value else None  # noqa: PLR0124 - "not a time" (pandas.NaT) does not equal itself
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        return (path,) if isinstance(path, str) else None
    return (str(value),) if isinstance(value, uuid.UUID) else None


def _of_fields(value: Any) -> tuple[Any] | None:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ({field.name: getattr(value, field.name) for field in dataclasses.fields(value)},)
    if isinstance(value, msgspec.Struct):
        return (msgspec.structs.asdict(value),)
    return None


def _of_container(value: Any) -> tuple[Any] | None:
    from collections.abc import Mapping

    if isinstance(value, Mapping):
        return (dict(value),)
    return (list(value),) if isinstance(value, list | tuple) else None


_MEANINGS: Final[tuple[Callable[[Any], tuple[Any] | None], ...]] = (
    _of_enum,
    _of_scalar,
    _of_text,
    _of_fields,
    _of_container,
)
