"""What a record is: its kinds, their checks, and their lines. It opens no file."""

from .metrics import FidelityMetric, OutcomeMetric, PerformanceMetric, PromotionEvent, RollbackEvent

__all__ = [
    "FidelityMetric",
    "OutcomeMetric",
    "PerformanceMetric",
    "PromotionEvent",
    "RollbackEvent",
]
