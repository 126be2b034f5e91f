"""The checks of a record's fields: every wrong one is named, every right one is made plain."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import Fault, InvalidRecordError, show
from . import metrics, naming
from .convert import plain, unwrap_scalar

if TYPE_CHECKING:
    from msgspec import Struct

_REMEDIES: Final[dict[Any, str]] = {
    str: "pass text (str)",
    str | None: "pass text (str) or None",
    bool: "pass True or False",
    metrics.Count: "pass a whole number (int) of 0 or more",
    metrics.Amount | None: "pass a finite number of 0 or more, or None",
    metrics.Fraction: "pass a number from 0 to 1",
    metrics.Timestamp | None: (
        "pass seconds since the epoch as a finite number of 0 or more, before the year 10000"
    ),
    dict[str, bool]: "pass a dict of text keys with True or False",
    dict[str, Any]: "pass a dict of text keys with values that JSON can hold",
}
# msgspec works the types out anew at each call, and cannot while the interpreter ends.
_FIELDS: Final = {
    kind: [
        (field.name, field.type)
        for field in msgspec.structs.fields(kind)
        if field.name not in metrics.MADE_FIELDS
    ]
    for kind in metrics.SUFFIXES
}

_encode: Final = msgspec.json.Encoder().encode
_convert: Final = msgspec.convert


def check_fields(kind: type[Struct], fields: dict[str, Any]) -> None:
    """Replace every value in `fields` by its plain form: a NumPy scalar, say, by its number.

    Raises `InvalidRecordError` with every fault, where there is any.
    """
    faults: list[Fault] = []
    for name, expected in _FIELDS[kind]:
        count = len(faults)
        fields[name] = _plain_field(name, expected, fields[name], faults)
        if name == "skill_name" and len(faults) == count:
            fault = naming.name_fault(name, fields[name], metrics.SUFFIXES[kind])
            faults.extend([fault] if fault else [])
    if faults:
        raise InvalidRecordError(tuple(faults))


def _plain_field(name: str, kind: Any, value: Any, faults: list[Fault]) -> Any:
    """Return a value in the plain type of its field, or add what is wrong with it to `faults`."""
    if kind == dict[str, Any]:
        return _plain_object(name, value, faults)
    value = _unwrapped(value)
    try:
        if kind == metrics.Count and isinstance(value, float | Decimal) and _is_whole(value):
            value = int(value)
        value = _convert(value, kind)
        _encode(value)  # refuses lone surrogates
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError) as error:
        remedy = _REMEDIES[kind]
        if isinstance(error, UnicodeEncodeError):
            remedy = "it holds lone surrogates, which UTF-8 cannot; pass whole characters"
        faults.append(Fault(name, show(value), remedy))
    return value


def _plain_object(name: str, value: Any, faults: list[Fault]) -> Any:
    count = len(faults)
    try:
        value = plain(value, name, faults)
        if len(faults) == count:
            _encode(value)
    except RecursionError:
        remedy = "nested too deeply, or in itself; pass a flatter dict"
        faults.append(Fault(name, type(value).__name__, remedy))
    if len(faults) == count and not isinstance(value, dict):
        faults.append(Fault(name, show(value), _REMEDIES[dict[str, Any]]))
    return value


def _is_whole(number: float | Decimal) -> bool:
    # The float first: int() of the decimal 1e999999 would build a million digits.
    return float(number).is_integer() and number == int(number)


def _unwrapped(value: Any) -> Any:
    """Unwrap NumPy scalars and subclasses of scalar types, also within a dict."""
    if isinstance(value, Mapping):
        return {unwrap_scalar(key): unwrap_scalar(item) for key, item in value.items()}
    return unwrap_scalar(value)
