"""Python values as JSON values: what JSON can hold, and by which plain meaning."""

from __future__ import annotations

import math
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import Fault, show

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS: Final = frozenset({str, int, float, bool, NoneType})


def plain(value: Any, path: str, faults: list[Fault]) -> Any:
    """Return a value in JSON's own types; what JSON cannot hold is added to `faults` by its path.

    Taken beside `dict` with text keys, `list`, `str`, `int`, `float`, `bool` and `None`: tuples and
    other mappings, NumPy scalars, and what has one text form that is read back without guessing:
    `datetime`, `date` and `time` (ISO 8601), paths, UUIDs; enums (by value), dataclasses and
    msgspec structs (by their fields). Refused: NaN and infinities, text with lone surrogates,
    bytes, sets, decimals, arrays, any other object.
    """
    kind = type(value)
    if kind in _SCALARS:
        reason = _reason_against(value)
        return _refuse(value, path, reason, faults) if reason else value
    if kind is list:
        return [plain(item, f"{path}[{index}]", faults) for index, item in enumerate(value)]
    if kind is dict:
        return {
            _plain_key(key, path, faults): plain(item, f"{path}.{key}", faults)
            for key, item in value.items()
        }
    for convert in _CONVERSIONS:
        found = convert(value)
        if found is not None:
            return plain(found[0], path, faults)
    remedy = "JSON cannot hold it; convert it to text, a number, a list or a dict yourself"
    return _refuse(value, path, remedy, faults)


def unwrap_scalar(value: Any) -> Any:
    """Return the plain value of a NumPy scalar, or of an instance of a subclass of a scalar type.

    Any other value is returned as it is.
    """
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


def is_text(value: str) -> bool:
    """Return whether UTF-8 can hold the text, that is, whether it has no lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unwrap_numpy(value: Any) -> Any:
    if value.dtype.kind == "f":
        return float(value)  # the item() of a long double is a long double
    found = value.item()
    # Durations and instants that Python has no type for come as bare integers of their unit, "not a
    # time" as None.
    is_guess = value.dtype.kind in "mM" and (found is None or isinstance(found, int))
    return value if is_guess or value.dtype.kind == "c" else found


def _reason_against(scalar: Any) -> str:
    """Return why JSON in UTF-8 cannot hold a value of a scalar type, or an empty text."""
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


def _refuse(value: object, path: str, reason: str, faults: list[Fault]) -> None:
    faults.append(Fault(path, show(value), reason))


def _plain_key(key: object, path: str, faults: list[Fault]) -> str:
    key = unwrap_scalar(key)
    if type(key) is str and is_text(key):
        return key
    remedy = "the keys of a JSON object are text; convert it yourself"
    _refuse(key, f"a key of {path}", remedy, faults)
    return ""


# Each returns what stands for the value, in a tuple, or None where the value is not of its kind.


def _from_enum(value: Any) -> tuple[Any] | None:
    import enum

    return (value.value,) if isinstance(value, enum.Enum) else None


def _from_scalar(value: Any) -> tuple[Any] | None:
    found = unwrap_scalar(value)
    return None if found is value else (found,)


def _from_text_form(value: Any) -> tuple[Any] | None:
    import datetime as dt
    import os
    import uuid

    if isinstance(value, dt.datetime | dt.date | dt.time):
        # "Not a time" (pandas.NaT) does not equal itself.
        return (value.isoformat(),) if value == value else None  # noqa: PLR0124 - see above
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        return (path,) if isinstance(path, str) else None
    return (str(value),) if isinstance(value, uuid.UUID) else None


def _from_fields(value: Any) -> tuple[Any] | None:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ({field.name: getattr(value, field.name) for field in dataclasses.fields(value)},)
    if isinstance(value, msgspec.Struct):
        return (msgspec.structs.asdict(value),)
    return None


def _from_container(value: Any) -> tuple[Any] | None:
    from collections.abc import Mapping

    if isinstance(value, Mapping):
        return (dict(value),)
    return (list(value),) if isinstance(value, list | tuple) else None


_CONVERSIONS: Final[tuple[Callable[[Any], tuple[Any] | None], ...]] = (
    _from_enum,
    _from_scalar,
    _from_text_form,
    _from_fields,
    _from_container,
)
