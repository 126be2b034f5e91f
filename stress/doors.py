"""The doors of the library that a writer may append through, all alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from metrics_appender import AppendLog, MetricsAppender

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_appender.append_log import Durability

SKILL: Final = "Stress, Überlast & 負荷"
# The name both doors write to, so that they can meet in one file.
FILE_NAME: Final = f"{SKILL}_promotion_log.json"


class Door(Protocol):
    """What a writer appends with; pickled, it opens the same file in another process."""

    def append(self, fields: dict[str, Any]) -> None:
        """Return when the line is acknowledged."""

    def close(self) -> None:
        """Accept no more."""


class LogDoor:
    """The general class: the fields are the record."""

    def __init__(self, path: str, durability: Durability, lock_timeout: float | None) -> None:
        """Name the file."""
        self.log = AppendLog(path, durability=durability, lock_timeout=lock_timeout)

    def append(self, fields: dict[str, Any]) -> None:
        """Append the fields as they are."""
        self.log.append(fields)

    def close(self) -> None:
        """Close the log."""
        self.log.close()


class MetricsDoor:
    """The typed face: the fields are the automated checks of a promotion event."""

    def __init__(self, path: str, durability: Durability, lock_timeout: float | None) -> None:
        """Name the file, which has to have the name of the skill's."""
        directory, name = os.path.split(path)
        assert name == FILE_NAME, f"the typed face writes {FILE_NAME}, not {name}"
        self.metrics = MetricsAppender(directory, durability=durability, lock_timeout=lock_timeout)

    def append(self, fields: dict[str, Any]) -> None:
        """Append an event around the fields."""
        self.metrics.append_promotion_event(SKILL, "staging", "production", "stress", "", "", fields)

    def close(self) -> None:
        """Close the appender."""
        self.metrics.close()


DOORS: Final[dict[str, Callable[[str, Durability, float | None], Door]]] = {"log": LogDoor, "metrics": MetricsDoor}
