"""The five kinds of record as msgspec structs: their fields in order, their types and bounds."""

# Annotations are not postponed here, as they are elsewhere: msgspec would evaluate their texts,
# which takes longer.

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from . import naming

# 9999-12-31T23:59:59Z, the last that ISO 8601 writes in four digits of year.
LAST_SECOND: Final = 253402300799.0
_LARGEST: Final = 1.7976931348623157e308

# A NaN fails every bound, an infinity the upper one.
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0, le=_LARGEST)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Timestamp = Annotated[float, Meta(ge=0, le=LAST_SECOND)]

# The fields stand in the order of the file. A caller may leave out `timestamp`, which is then the
# time of the append, and never passes the fields in `MADE_FIELDS`.


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
    """A skill was promoted to a higher state: by whom and why."""

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
    """A skill was rolled back to a lower state: why, and by which metric."""

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

SUFFIXES: Final[dict[type[Struct], str]] = {
    PerformanceMetric: naming.PERFORMANCE,
    OutcomeMetric: naming.OUTCOMES,
    FidelityMetric: naming.FIDELITY,
    PromotionEvent: naming.PROMOTION_LOG,
    RollbackEvent: naming.PROMOTION_LOG,
}
EVENT_ID_PREFIXES: Final[dict[type[Struct], str]] = {
    PromotionEvent: "promo",
    RollbackEvent: "rollback",
}
# The fields that the library makes of the others.
MADE_FIELDS: Final = frozenset({"timestamp_iso", "event_id", "metric_type", "event_type"})

# msgspec builds what it knows of a struct at its first use, and crashes when two threads do so at
# once (seen with 0.22): the first use is here, while this module is imported.
for _kind in SUFFIXES:
    try:
        msgspec.convert({}, _kind)
    except msgspec.ValidationError:
        pass
