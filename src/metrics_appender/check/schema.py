"""The schema of a file, by its name: a fast decoder, and a slow one that says what is wrong."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Union

import msgspec

from ..records import metrics, naming
from ..records.ndjson import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OTHER: Final = "other"
_MARKERS: Final = ("metric_type", "event_type")


class Schema(Protocol):
    """What a line of a file has to hold; records are of the types that `decode` returns."""

    def decode(self, line: bytes, /) -> Any:
        """Return the record of a line; raise an exception where it has to be classified."""

    def conform(self, record: dict[str, Any]) -> Any:
        """Return the record of an object; `msgspec.ValidationError` says why it does not fit."""

    def count_kinds(self, records: Sequence[Any]) -> Counter[str]:
        """Count the records by kind."""

    def times_of(self, records: Iterable[Any]) -> list[float]:
        """Return the timestamps of the records."""

    def ids_of(self, records: Iterable[Any]) -> list[str]:
        """Return the event ids of the records; none in a file of metrics."""


def schema_for(path: str) -> Schema:
    """Return the schema of a file by its suffix: one of a skill's four, or any JSON object."""
    return next((schema for suffix, schema in _SCHEMAS.items() if path.endswith(suffix)), _ANY)


class _AnyObject:
    """The schema of any other log: every JSON object is a record."""

    decode = staticmethod(decode_line)

    def conform(self, record: dict[str, Any]) -> Any:
        return record

    def count_kinds(self, records: Sequence[Any]) -> Counter[str]:
        return Counter({OTHER: len(records)})

    def times_of(self, records: Iterable[Any]) -> list[float]:
        times = (record.get("timestamp") for record in records)
        return [
            time
            for time in times
            if type(time) in {int, float} and 0 <= time <= metrics.LAST_SECOND
        ]

    def ids_of(self, records: Iterable[Any]) -> list[str]:  # noqa: ARG002 - the protocol's argument
        return []


class _Records:
    """The schema of one of a skill's files.

    Unknown fields are accepted: a later version of the library may have written them.
    """

    _times = staticmethod(attrgetter("timestamp"))
    _ids = staticmethod(attrgetter("event_id"))

    def __init__(self, *kinds: type[msgspec.Struct]) -> None:
        """Accept these kinds of records, all metrics or all events."""
        # msgspec skips an unknown field without validating its text (invalid UTF-8 passes), so a
        # line with such a field has to leave the fast path.
        exact = {_shape(kind, forbid_unknown_fields=True): _marker(kind)[1] for kind in kinds}
        lenient = {_shape(kind, forbid_unknown_fields=False): _marker(kind)[1] for kind in kinds}
        self._has_ids = "event_id" in kinds[0].__struct_fields__
        self._names = exact | lenient
        self._lenient: Any = Union[tuple(lenient)]  # noqa: UP007 - the types are values here
        self.decode = msgspec.json.Decoder(Union[tuple(exact)]).decode  # noqa: UP007 - as above
        try:
            self.conform({})  # the types are first used during the import: see `records.metrics`
        except msgspec.ValidationError:
            pass

    def conform(self, record: dict[str, Any]) -> Any:
        return msgspec.convert(record, self._lenient)

    def count_kinds(self, records: Sequence[Any]) -> Counter[str]:
        return Counter(
            {self._names[kind]: count for kind, count in Counter(map(type, records)).items()}
        )

    def times_of(self, records: Iterable[Any]) -> list[float]:
        return list(map(self._times, records))

    def ids_of(self, records: Iterable[Any]) -> list[str]:
        return list(map(self._ids, records)) if self._has_ids else []


def _marker(kind: type[msgspec.Struct]) -> tuple[str, str]:
    """Return the name and the value of the marker field of a kind."""
    return next(
        (field.name, field.default)
        for field in msgspec.structs.fields(kind)
        if field.name in _MARKERS
    )


def _shape(kind: type[msgspec.Struct], *, forbid_unknown_fields: bool) -> type[msgspec.Struct]:
    """Return a struct with the fields of a kind, in which the marker field is required."""
    marker, value = _marker(kind)
    fields: list[tuple[str, Any]] = [
        (field.name, field.type) for field in msgspec.structs.fields(kind) if field.name != marker
    ]
    name = kind.__name__
    if marker == "event_type":  # two kinds share a file, and msgspec needs a tag to choose
        return msgspec.defstruct(
            name,
            fields,
            frozen=True,
            gc=False,
            tag_field=marker,
            tag=value,
            forbid_unknown_fields=forbid_unknown_fields,
        )
    fields.append((marker, Literal[value]))
    return msgspec.defstruct(
        name, fields, frozen=True, gc=False, forbid_unknown_fields=forbid_unknown_fields
    )


_ANY: Final = _AnyObject()
_SCHEMAS: Final[dict[str, Schema]] = {
    naming.PERFORMANCE: _Records(metrics.PerformanceMetric),
    naming.OUTCOMES: _Records(metrics.OutcomeMetric),
    naming.FIDELITY: _Records(metrics.FidelityMetric),
    naming.PROMOTION_LOG: _Records(metrics.PromotionEvent, metrics.RollbackEvent),
}
