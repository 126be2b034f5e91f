"""The interface of `MetricsAppender` on which existing callers rely stays as it is."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any, Protocol, get_origin, get_type_hints

import pytest

from metrics_appender import AppendLog, MetricsAppender, Rotation
from metrics_appender.aio import AsyncAppendLog, AsyncMetricsAppender
from metrics_appender.read.skipped import OnError
from metrics_appender.records import metric_lines


class Contract(Protocol):
    """The interface on which existing callers rely: names, order, defaults and types."""

    def __init__(self, metrics_dir: Path | str | None = None) -> None:
        """Make an appender."""

    def append_performance_metric(
        self,
        skill_name: str,
        execution_id: str,
        execution_time_ms: int,
        agent: str,
        exception_occurred: bool = False,
        exception_type: str | None = None,
        memory_usage_mb: float | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Append to `{skill_name}_performance.json`."""

    def append_outcome_metric(
        self,
        skill_name: str,
        execution_id: str,
        decision: str,
        expected_decision: str | None,
        correct: bool,
        confidence: float,
        reasoning: str,
        agent: str,
        timestamp: float | None = None,
    ) -> None:
        """Append to `{skill_name}_outcomes.json`."""

    def append_fidelity_metric(
        self,
        skill_name: str,
        execution_id: str,
        pattern_fidelity: float,
        patterns_followed: int,
        patterns_missed: int,
        patterns_detail: dict[str, bool],
        agent: str,
        timestamp: float | None = None,
    ) -> None:
        """Append to `{skill_name}_fidelity.json`."""

    def append_promotion_event(
        self,
        skill_name: str,
        from_state: str,
        to_state: str,
        approver: str,
        approval_ticket: str,
        reason: str,
        automated_checks: dict[str, Any],
        timestamp: float | None = None,
    ) -> None:
        """Append to `{skill_name}_promotion_log.json`."""

    def append_rollback_event(
        self,
        skill_name: str,
        from_state: str,
        to_state: str,
        trigger_reason: str,
        trigger_metric: str,
        automated: bool = True,
        timestamp: float | None = None,
    ) -> None:
        """Append to `{skill_name}_promotion_log.json`."""

    def read_metrics(self, filename: str, limit: int | None = None) -> list[Any]:
        """Return the most recent records, oldest first."""
        raise NotImplementedError


METHODS = [
    name
    for name, part in vars(Contract).items()
    if inspect.isfunction(part) and not name.startswith("_")
]


@pytest.mark.parametrize("name", ["__init__", *METHODS])
def test_every_method_has_the_parameters_that_callers_use(name: str) -> None:
    """Names, order, defaults and types are these; further parameters are optional keywords."""
    expected = list(inspect.signature(getattr(Contract, name)).parameters.values())
    found = list(inspect.signature(getattr(MetricsAppender, name)).parameters.values())
    assert [str(parameter) for parameter in found[: len(expected)]] == [
        str(parameter) for parameter in expected
    ]
    for parameter in found[len(expected) :]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty


def test_the_constructor_is_durable_and_patient_by_default() -> None:
    """`durability` is "fsync", `lock_timeout` is thirty seconds."""
    parameters = inspect.signature(MetricsAppender).parameters
    assert parameters["durability"].default == "fsync"
    assert parameters["lock_timeout"].default == 30.0


@pytest.mark.parametrize("name", METHODS)
def test_every_method_returns_what_callers_expect(name: str) -> None:
    """Appends return `None`, reading returns a list."""
    scope = {"Path": Path, "Any": Any, "OnError": OnError}
    returned = get_type_hints(getattr(MetricsAppender, name), localns=scope)["return"]
    assert (get_origin(returned) or returned) is (list if name == "read_metrics" else type(None))


def test_the_type_checker_takes_an_appender_for_the_contract(tmp_path: Path) -> None:
    """The assignment is checked by mypy, over the whole interface at once."""
    contract: Contract = MetricsAppender(tmp_path)
    assert contract.read_metrics("none.json") == []


@pytest.mark.parametrize(
    ("name", "make_line"),
    [
        ("append_performance_metric", metric_lines.performance_line),
        ("append_outcome_metric", metric_lines.outcome_line),
        ("append_fidelity_metric", metric_lines.fidelity_line),
        ("append_promotion_event", metric_lines.promotion_line),
        ("append_rollback_event", metric_lines.rollback_line),
    ],
)
def test_a_line_is_made_of_the_parameters_of_its_method(name: str, make_line: Any) -> None:
    """Defaults too, which the type checker does not compare."""
    _, *expected = inspect.signature(getattr(MetricsAppender, name)).parameters.values()
    assert list(inspect.signature(make_line).parameters.values()) == expected


class Log(AppendLog):
    """A subclass of a caller's own."""


class Metrics(MetricsAppender):
    """A subclass of a caller's own."""


class AsyncLog(AsyncAppendLog):
    """A subclass of a caller's own."""


class AsyncMetrics(AsyncMetricsAppender):
    """A subclass of a caller's own."""


@pytest.mark.parametrize("kind", [Log, Metrics, AsyncLog, AsyncMetrics])
def test_a_subclass_stays_one_over_pickle_and_copy(tmp_path: Path, kind: Any) -> None:
    """A copy has the subclass and the arguments of the original."""
    made = kind(tmp_path / "any", durability="os", lock_timeout=2.5, rotation=Rotation(max_bytes=5))
    for again in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert type(again) is kind
        assert repr(again) == repr(made)
