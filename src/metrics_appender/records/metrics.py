"""What a record is: the five kinds, their fields in order, their checks, and their lines."""

# Annotations are not postponed here, as they are elsewhere: msgspec would evaluate their texts,
# which takes longer.

import functools
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from ..errors import Fault, InvalidRecordError, show
from . import naming, ndjson

LAST_SECOND: Final = (
    253402300799.0  # 9999-12-31T23:59:59Z, the last that ISO 8601 writes in four digits of year
)
_MICROSECONDS: Final = 1_000_000
_LARGEST: Final = 1.7976931348623157e308

# A NaN fails every bound, an infinity the upper one.
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0, le=_LARGEST)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Timestamp = Annotated[float, Meta(ge=0, le=LAST_SECOND)]

_REMEDIES: Final[dict[Any, str]] = {
    str: "pass text (str)",
    str | None: "pass text (str) or None",
    bool: "pass True or False",
    Count: "pass a whole number (int) of 0 or more",
    Amount | None: "pass a finite number of 0 or more, or None",
    Fraction: "pass a number from 0 to 1",
    Timestamp
    | None: "pass seconds since the epoch as a finite number of 0 or more, before the year 10000",
    dict[str, bool]: "pass a dict of text keys with True or False",
    dict[str, Any]: "pass a dict of text keys with values that JSON can hold",
}


# The fields stand in the order of the file. Who makes a record leaves out the time, for the
# present, and never fills in what is made of other fields: `timestamp_iso`, `event_id` and the
# marker.


class PerformanceMetric(Struct, frozen=True, kw_only=True):
    """How long one execution took and whether it failed."""

    execution_id: str
    timestamp: Timestamp | None = None
    timestamp_iso: str = ""
    skill_name: str
    agent: str
    execution_time_ms: Count
    exception_occurred: bool = False
    exception_type: str | None = None
    memory_usage_mb: Amount | None = None
    metric_type: str = "performance"


class OutcomeMetric(Struct, frozen=True, kw_only=True):
    """What one execution decided, and whether that was right."""

    execution_id: str
    timestamp: Timestamp | None = None
    timestamp_iso: str = ""
    skill_name: str
    agent: str
    decision: str
    expected_decision: str | None
    correct: bool
    confidence: Fraction
    reasoning: str
    metric_type: str = "outcome"


class FidelityMetric(Struct, frozen=True, kw_only=True):
    """How closely one execution followed its skill's patterns."""

    execution_id: str
    timestamp: Timestamp | None = None
    timestamp_iso: str = ""
    skill_name: str
    agent: str
    pattern_fidelity: Fraction
    patterns_followed: Count
    patterns_missed: Count
    patterns_detail: dict[str, bool]
    metric_type: str = "fidelity"


class PromotionEvent(Struct, frozen=True, kw_only=True):
    """A skill went up a state, approved by somebody."""

    event_id: str = ""
    timestamp: Timestamp | None = None
    timestamp_iso: str = ""
    skill_name: str
    from_state: str
    to_state: str
    approver: str
    approval_ticket: str
    reason: str
    automated_checks: dict[str, Any]
    event_type: str = "promotion"


class RollbackEvent(Struct, frozen=True, kw_only=True):
    """A skill went back a state, and why."""

    event_id: str = ""
    timestamp: Timestamp | None = None
    timestamp_iso: str = ""
    skill_name: str
    from_state: str
    to_state: str
    trigger_reason: str
    trigger_metric: str
    automated: bool = True
    event_type: str = "rollback"


Record = PerformanceMetric | OutcomeMetric | FidelityMetric | PromotionEvent | RollbackEvent

_SUFFIXES: Final[dict[type[Struct], str]] = {
    PerformanceMetric: naming.PERFORMANCE,
    OutcomeMetric: naming.OUTCOMES,
    FidelityMetric: naming.FIDELITY,
    PromotionEvent: naming.PROMOTION_LOG,
    RollbackEvent: naming.PROMOTION_LOG,
}
_ID_PREFIXES: Final[dict[type[Struct], str]] = {PromotionEvent: "promo", RollbackEvent: "rollback"}
_MADE: Final = frozenset({"timestamp_iso", "event_id", "metric_type", "event_type"})

# msgspec builds what it knows of a struct at its first use, and crashes when two threads do so at
# once (seen with 0.22): the first use is here, while this module is imported.
for _kind in _SUFFIXES:
    try:
        msgspec.convert({}, _kind)
    except msgspec.ValidationError:
        pass
# msgspec works the types out anew at each call, and cannot while the interpreter ends.
_FIELDS: Final = {
    kind: [
        (field.name, field.type)
        for field in msgspec.structs.fields(kind)
        if field.name not in _MADE
    ]
    for kind in _SUFFIXES
}

_encode: Final = msgspec.json.Encoder().encode
_convert: Final = msgspec.convert
_PLAIN_NUMBERS: Final = frozenset({int, float})


def encode_metric(kind: type[Struct], suffix: str, fields: dict[str, Any]) -> bytes:
    """Check a metric's fields and return its line.

    `timestamp_iso` is filled in, and `timestamp` when it is None.

    Raises `InvalidRecordError`, naming every wrong field.
    """
    if fields["timestamp"] is None:
        fields["timestamp"] = time.time()
    if (
        type(fields["timestamp"]) in _PLAIN_NUMBERS
    ):  # a NumPy scalar would be reckoned with in its own precision, with warnings
        try:
            fields["timestamp_iso"] = iso_utc(fields["timestamp"])
            return _encode(_convert(fields, kind)) + b"\n"
        except (TypeError, ValueError, OverflowError):
            pass  # mended, or told apart and named below
    return _encode(_mended(kind, suffix, fields)) + b"\n"


def encode_event(
    kind: type[Struct], suffix: str, fields: dict[str, Any], prefix: str, token: str
) -> bytes:
    """Check an event's fields and return its line.

    The same as `encode_metric`, with an `event_id` made.
    """
    if fields["timestamp"] is None:
        fields["timestamp"] = time.time()
    fields["event_id"] = fields["timestamp_iso"] = ""
    mended = _mended(kind, suffix, fields)
    made = f"{prefix}_{fields['skill_name']}_{int(fields['timestamp'])}_{token}"
    return _encode(msgspec.structs.replace(mended, event_id=made)) + b"\n"


class FiledLine(NamedTuple):
    """A record's line, and the name of the file that it is for."""

    file_name: str
    line: bytes

    def count_bytes(self) -> int:
        """Return the line's length."""
        return len(self.line)


def encode_record(record: Record, tokens: "EventTokens") -> FiledLine:
    """Check a record of any kind.

    `timestamp_iso` and `event_id` are made, whatever it holds of them.

    Raises `InvalidRecordError`, naming every wrong field.
    """
    kind = type(record)
    suffix = _SUFFIXES.get(kind)
    if suffix is None:
        remedy = f"pass one of {', '.join(known.__name__ for known in _SUFFIXES)}"
        raise InvalidRecordError((Fault("record", show(record), remedy),))
    fields = {name: getattr(record, name) for name in kind.__struct_fields__ if name not in _MADE}
    prefix = _ID_PREFIXES.get(kind)
    line = (
        encode_event(kind, suffix, fields, prefix, tokens.take())
        if prefix
        else encode_metric(kind, suffix, fields)
    )
    return FiledLine(naming.file_name(fields["skill_name"], suffix), line)


def encode_records(records: Iterable[Record], tokens: "EventTokens") -> Iterator[FiledLine]:
    """Yield the line of each record; an error names the record by its place, from 0."""
    return ndjson.encode_each(records, lambda record: encode_record(record, tokens))


def by_file(lines: Iterable[FiledLine]) -> dict[str, list[bytes]]:
    """Return the lines of each file, in order."""
    files: dict[str, list[bytes]] = {}
    for name, line in lines:
        files.setdefault(name, []).append(line)
    return files


def _mended(kind: type[Struct], suffix: str, fields: dict[str, Any]) -> Struct:
    """Return the checked record with every value in its own plain type.

    Raise with every fault there is.
    """
    faults: list[Fault] = []
    for name, expected in _FIELDS[kind]:
        fields[name] = _checked(name, expected, fields[name], faults)
        if name == "skill_name" and not (faults and faults[-1].field == "skill_name"):
            name_fault = naming.name_fault("skill_name", fields["skill_name"], suffix)
            faults.extend([name_fault] if name_fault else [])
    if faults:
        raise InvalidRecordError(tuple(faults))
    fields["timestamp_iso"] = iso_utc(fields["timestamp"])
    return _convert(fields, kind)


def _checked(name: str, kind: Any, value: Any, faults: list[Fault]) -> Any:
    """Return one value in the plain type of its field, or add to the faults."""
    if kind == dict[str, Any]:
        return _checked_object(name, value, faults)
    value = _unwrapped(value)
    try:
        if (
            kind == Count
            and isinstance(value, float | Decimal)
            and float(value).is_integer()
            and value == int(value)
        ):
            value = int(value)
        value = _convert(value, kind)
        _encode(value)  # refuses lone surrogates
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError) as error:
        remedy = _REMEDIES[kind]
        if isinstance(error, UnicodeEncodeError):
            remedy = "it holds lone surrogates, which UTF-8 cannot; pass whole characters"
        faults.append(Fault(name, show(value), remedy))
    return value


def _checked_object(name: str, value: Any, faults: list[Fault]) -> Any:
    count = len(faults)
    try:
        value = ndjson.plain(value, name, faults)
        if len(faults) == count:
            _encode(value)
    except RecursionError:
        faults.append(
            Fault(
                name, type(value).__name__, "nested too deeply, or in itself; pass a flatter dict"
            )
        )
    if len(faults) == count and not isinstance(value, dict):
        faults.append(Fault(name, show(value), _REMEDIES[dict[str, Any]]))
    return value


def _unwrapped(value: Any) -> Any:
    """Unwrap NumPy scalars, within a dict too."""
    if isinstance(value, Mapping):
        return {
            ndjson.unwrap_scalar(key): ndjson.unwrap_scalar(item) for key, item in value.items()
        }
    return ndjson.unwrap_scalar(value)


def iso_utc(timestamp: float) -> str:
    """Return an instant as ISO 8601 in UTC with its offset, just as `datetime.isoformat` writes it.

    >>> iso_utc(1760970309.143542)
    '2025-10-20T14:25:09.143542+00:00'
    >>> iso_utc(1760970309)
    '2025-10-20T14:25:09+00:00'
    """
    second = int(timestamp)
    microseconds = round((timestamp - second) * _MICROSECONDS)
    if 0 < microseconds < _MICROSECONDS:
        return f"{_iso_second(second)}.{str(_MICROSECONDS + microseconds)[1:]}+00:00"
    return _iso_second(second + microseconds // _MICROSECONDS) + "+00:00"


@functools.lru_cache(maxsize=16)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class EventTokens:
    """Eight hex digits that differ from call to call, in every thread and in every child of fork.

    Counted on from a random start: within a process no two are equal, and two processes are a
    thousand times less likely to meet than if each token were drawn by itself.
    """

    __slots__ = ("_count", "_pid")

    def __init__(self) -> None:
        """Draw a start."""
        self._pid = -1
        self._count = itertools.count()

    def take(self) -> str:
        """Return the next token."""
        if self._pid != os.getpid():
            self._count = itertools.count(int.from_bytes(os.urandom(4)))
            self._pid = os.getpid()
        return f"{next(self._count) & 0xFFFFFFFF:08x}"
