"""The typed methods, one for each kind of record.

What is passed becomes a line for the skill's file.
"""

from __future__ import annotations

from typing import Any

from . import metrics, naming


class TypedMethods:
    """Checks what is passed, makes the line of it.

    Leaves what is done with the line to `_hand_in`.

    So the appender that returns when the line is durable and the one that is awaited share names,
    parameters, checks and docstrings.
    """

    def __init__(self) -> None:
        """Begin the numbering of events."""
        self.tokens = metrics.EventTokens()

    def _hand_in(self, skill_name: str, suffix: str, line: bytes) -> None:
        """Do with a line what the appender is for.

        It is for the file that is named by the skill and the suffix.
        """
        raise NotImplementedError

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
        """Append how long one execution took (milliseconds, 0 or more), and whether it failed.

        To `{skill_name}_performance.json`. `memory_usage_mb` is in megabytes, 0 or more.
        """
        line = metrics.encode_metric(
            metrics.PerformanceMetric,
            naming.PERFORMANCE,
            {
                "execution_id": execution_id,
                "timestamp": timestamp,
                "skill_name": skill_name,
                "agent": agent,
                "execution_time_ms": execution_time_ms,
                "exception_occurred": exception_occurred,
                "exception_type": exception_type,
                "memory_usage_mb": memory_usage_mb,
            },
        )
        self._hand_in(skill_name, naming.PERFORMANCE, line)

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
        """Append what one execution decided and whether that was right.

        `confidence` is from 0 to 1.

        To `{skill_name}_outcomes.json`.
        """
        line = metrics.encode_metric(
            metrics.OutcomeMetric,
            naming.OUTCOMES,
            {
                "execution_id": execution_id,
                "timestamp": timestamp,
                "skill_name": skill_name,
                "agent": agent,
                "decision": decision,
                "expected_decision": expected_decision,
                "correct": correct,
                "confidence": confidence,
                "reasoning": reasoning,
            },
        )
        self._hand_in(skill_name, naming.OUTCOMES, line)

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
        """Append how closely one execution kept to its skill's patterns.

        `pattern_fidelity` is from 0 to 1.

        To `{skill_name}_fidelity.json`. `patterns_detail` says of each pattern whether it was
        followed.
        """
        line = metrics.encode_metric(
            metrics.FidelityMetric,
            naming.FIDELITY,
            {
                "execution_id": execution_id,
                "timestamp": timestamp,
                "skill_name": skill_name,
                "agent": agent,
                "pattern_fidelity": pattern_fidelity,
                "patterns_followed": patterns_followed,
                "patterns_missed": patterns_missed,
                "patterns_detail": patterns_detail,
            },
        )
        self._hand_in(skill_name, naming.FIDELITY, line)

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
        """Append that a skill was promoted, by whom and why, with an `event_id` of its own.

        To `{skill_name}_promotion_log.json`. `automated_checks` may hold what JSON can, and
        datetimes, paths, UUIDs, enums, dataclasses and NumPy scalars.
        """
        line = metrics.encode_event(
            metrics.PromotionEvent,
            naming.PROMOTION_LOG,
            {
                "timestamp": timestamp,
                "skill_name": skill_name,
                "from_state": from_state,
                "to_state": to_state,
                "approver": approver,
                "approval_ticket": approval_ticket,
                "reason": reason,
                "automated_checks": automated_checks,
            },
            "promo",
            self.tokens.take(),
        )
        self._hand_in(skill_name, naming.PROMOTION_LOG, line)

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
        """Append that a skill was rolled back.

        Which metric triggered it, with an `event_id` of its own.

        To `{skill_name}_promotion_log.json`, the file of the promotions.
        """
        line = metrics.encode_event(
            metrics.RollbackEvent,
            naming.PROMOTION_LOG,
            {
                "timestamp": timestamp,
                "skill_name": skill_name,
                "from_state": from_state,
                "to_state": to_state,
                "trigger_reason": trigger_reason,
                "trigger_metric": trigger_metric,
                "automated": automated,
            },
            "rollback",
            self.tokens.take(),
        )
        self._hand_in(skill_name, naming.PROMOTION_LOG, line)
