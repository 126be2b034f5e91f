"""Which records a file is for, by its name.

A fast decoder that takes them, and a slow one that says what is wrong.
"""

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
    """What a line of a file has to be. Records are whatever `decode` makes of lines."""

    def decode(self, line: bytes, /) -> Any:
        """Return a line's record, quickly.

        Raise an exception for one that is to be looked at more closely.
        """

    def conform(self, record: dict[str, Any]) -> Any:
        """Return the record of an object, or raise `msgspec.ValidationError`.

        Which says what is wrong.
        """

    def count_kinds(self, found: Sequence[Any]) -> Counter[str]:
        """Count records by kind."""

    def times_of(self, found: Iterable[Any]) -> list[float]:
        """Return the records' timestamps."""

    def ids_of(self, found: Iterable[Any]) -> list[str]:
        """Return the records' event ids, if the file is for events."""


def schema_for(path: str) -> Schema:
    """Return the schema of a file by its suffix: one of a skill's four, or any JSON object."""
    return next((schema for suffix, schema in _SCHEMAS.items() if path.endswith(suffix)), _ANY)


class _AnyObject:
    """The schema of a file that is nobody's in particular: every JSON object is a record."""

    decode = staticmethod(decode_line)

    def conform(self, record: dict[str, Any]) -> Any:
        return record

    def count_kinds(self, found: Sequence[Any]) -> Counter[str]:
        return Counter({OTHER: len(found)})

    def times_of(self, found: Iterable[Any]) -> list[float]:
        times = (record.get("timestamp") for record in found)
        return [
            time
            for time in times
            if type(time) in {int, float} and 0 <= time <= metrics.LAST_SECOND
        ]

    def ids_of(self, found: Iterable[Any]) -> list[str]:  # noqa: ARG002 - the other schema looks at them
        return []


class _Records:
    """The schema of one of a skill's files.

    Fields beyond the known ones are let pass: a later version may have written them.
    """

    _times = staticmethod(attrgetter("timestamp"))
    _ids = staticmethod(attrgetter("event_id"))

    def __init__(self, *kinds: type[msgspec.Struct]) -> None:
        """Take the kinds of records, all metrics or all events."""
        # What msgspec skips it does not look at closely, so a field that it does not know leaves
        # the fast path.
        exact = {_shape(kind, forbid_unknown_fields=True): _marker(kind)[1] for kind in kinds}
        lenient = {_shape(kind, forbid_unknown_fields=False): _marker(kind)[1] for kind in kinds}
        self._has_ids = "event_id" in kinds[0].__struct_fields__
        self._names = exact | lenient
        self._lenient: Any = Union[tuple(lenient)]  # noqa: UP007 - the types are values here
        self.decode = msgspec.json.Decoder(Union[tuple(exact)]).decode  # noqa: UP007 - as above
        try:
            self.conform(
                {}
            )  # the first use of a type is here, while this module is imported: see `records`
        except msgspec.ValidationError:
            pass

    def conform(self, record: dict[str, Any]) -> Any:
        return msgspec.convert(record, self._lenient)

    def count_kinds(self, found: Sequence[Any]) -> Counter[str]:
        return Counter(
            {self._names[kind]: count for kind, count in Counter(map(type, found)).items()}
        )

    def times_of(self, found: Iterable[Any]) -> list[float]:
        return list(map(self._times, found))

    def ids_of(self, found: Iterable[Any]) -> list[str]:
        return list(map(self._ids, found)) if self._has_ids else []


def _marker(kind: type[msgspec.Struct]) -> tuple[str, str]:
    """Return the name and the value of the field by which a kind is known."""
    return next(
        (field.name, field.default)
        for field in msgspec.structs.fields(kind)
        if field.name in _MARKERS
    )


def _shape(kind: type[msgspec.Struct], *, forbid_unknown_fields: bool) -> type[msgspec.Struct]:
    """Return a kind's fields as a type whose marker has to be there, with its one value."""
    marker, value = _marker(kind)
    fields: list[tuple[str, Any]] = [
        (field.name, field.type) for field in msgspec.structs.fields(kind) if field.name != marker
    ]
    name = kind.__name__
    if marker == "event_type":  # two kinds in one file are told apart by a tag
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
