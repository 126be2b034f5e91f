"""The demo's worker: append five kinds of records, and tell over a pipe what returned.

What each record holds follows from its writer and its number, so that whoever checks the files
later needs nothing from the worker but how many of its appends returned.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from .. import logger
from ..appender import MetricsAppender

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

SKILL_NAME: Final = "YouTube Live Chat"
# A worker's records take turns in this order.
KINDS: Final = ("performance", "outcome", "fidelity", "promotion", "rollback")
LONG_KIND: Final = "outcome"
_REASON: Final = "Weil es die Leute so wollten: 人々がそれを望んだ. "

# "ready" and "long": about to start, about to append the long record. "acknowledged": the append
# returned.
Message = tuple[Literal["ready", "long", "acknowledged", "failed"], int | str]
GO: Final = "go"
# The signals that end the parent, blocked in a worker until it says what they are to do there.
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Task:
    """What one worker is to append, and where.

    Its records are numbered from 0; `long_characters` is the length of the last one's text where
    that is to take long to write, 0 where it is a record like the others.
    """

    directory: str
    writer: int
    records: int
    long_characters: int = 0


def kind_of(number: int) -> str:
    """Return the kind of a worker's record."""
    return KINDS[number % len(KINDS)]


def identity_of(writer: int, number: int) -> str:
    """Return the text by which a record is known: its execution, its ticket or its trigger."""
    return f"worker-{writer}-record-{number}"


def arguments_of(task: Task, number: int) -> dict[str, Any]:
    """Return what a record is appended with, the skill's name apart."""
    kind, identity = kind_of(number), identity_of(task.writer, number)
    metric = {"execution_id": identity, "agent": f"agent {task.writer}"}
    event = {"from_state": "prototype", "to_state": "staged"}
    if kind == "performance":
        fault = {
            "exception_occurred": number % 2 == 0,
            "exception_type": "TimeoutError" if number % 2 == 0 else None,
        }
        return metric | {"execution_time_ms": number, "memory_usage_mb": number / 8} | fault
    if kind == "outcome":
        is_long = task.long_characters > 0 and number == task.records - 1
        reasoning = long_text(task.long_characters) if is_long else _REASON + identity
        return metric | {
            "decision": "reply",
            "expected_decision": None,
            "correct": True,
            "confidence": 0.75,
            "reasoning": reasoning,
        }
    if kind == "fidelity":
        detail = {"greets": True, "thanks": number % 2 == 0}
        return metric | {
            "pattern_fidelity": 0.5,
            "patterns_followed": number,
            "patterns_missed": 1,
            "patterns_detail": detail,
        }
    if kind == "promotion":
        return event | {
            "approver": "Zoë",
            "approval_ticket": identity,
            "reason": _REASON,
            "automated_checks": {"tests": number},
        }
    return event | {
        "trigger_reason": _REASON,
        "trigger_metric": identity,
        "automated": number % 2 == 0,
    }


def long_text(length: int) -> str:
    """Return a text of so many characters, one byte each."""
    return ("to be sure, " * (length // 12 + 1))[:length]


def work(task: Task, pipe: Connection) -> None:
    """Append the task's records, telling each one's number after its append returned.

    The body of a process.

    Waits for the word once before the first record, and once more before its last five, which come
    after the kill: whatever is torn then is mended by one of them.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the parent's to answer: it ends its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    logging.getLogger(logger.LOGGER).addHandler(
        logging.NullHandler()
    )  # the demo shows on its screen what was mended
    try:
        _append_all(task, pipe)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        pass  # the parent is gone, and with it whoever would want to know
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shows it as this worker's failure
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
    finally:
        pipe.close()


def _append_all(task: Task, pipe: Connection) -> None:
    pipe.send(("ready", task.writer))
    pipe.recv()
    last = task.records - 1
    with MetricsAppender(task.directory) as metrics:
        for number in range(task.records):
            if task.long_characters and number == last:
                pipe.send(("long", number))
            elif not task.long_characters and number == task.records - len(KINDS):
                pipe.recv()
            append_record(metrics, task, number)
            pipe.send(("acknowledged", number))


def append_record(metrics: MetricsAppender, task: Task, number: int) -> None:
    """Append one of a worker's records, by the method of its kind."""
    methods: dict[str, Callable[..., None]] = {
        "performance": metrics.append_performance_metric,
        "outcome": metrics.append_outcome_metric,
        "fidelity": metrics.append_fidelity_metric,
        "promotion": metrics.append_promotion_event,
        "rollback": metrics.append_rollback_event,
    }
    methods[kind_of(number)](SKILL_NAME, **arguments_of(task, number))
