"""The worker of the demo: append five kinds of records, and report each append that returned.

The content of a record follows from its writer and its number, so a check of the files only has to
know how many appends of each worker returned.
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
# A worker appends the kinds in this order, again and again.
KINDS: Final = ("performance", "outcome", "fidelity", "promotion", "rollback")
LONG_KIND: Final = "outcome"
_REASON: Final = "Weil es die Leute so wollten: 人々がそれを望んだ. "

# "ready": about to start. "long": about to append the long record. "acknowledged": an append
# returned.
Message = tuple[Literal["ready", "long", "acknowledged", "failed"], int | str]
GO: Final = "go"
# The signals that end the parent; they are blocked in a worker until it has set its handlers.
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Task:
    """What one worker appends, and where.

    Its records are numbered from 0. `long_characters` is the length of the text in the last one, so
    that its write takes long; 0 for a record like the others.
    """

    directory: str
    writer: int
    records: int
    long_characters: int = 0


def kind_of(number: int) -> str:
    """Return the kind of the record with this number."""
    return KINDS[number % len(KINDS)]


def identity_of(writer: int, number: int) -> str:
    """Return the text that identifies a record: its execution, its ticket or its trigger."""
    return f"worker-{writer}-record-{number}"


def arguments_of(task: Task, number: int) -> dict[str, Any]:
    """Return the arguments with which a record is appended, except for the skill's name."""
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
    """Return a text of `length` characters, one byte each."""
    return ("to be sure, " * (length // 12 + 1))[:length]


def work(task: Task, pipe: Connection) -> None:
    """Append the records of a task, and send the number of each after its append returned.

    This is the main function of the process. It waits for a message before the first record, and
    again before the last five, which follow the kill and recover the torn tail.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the parent ends its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    # The warning about the torn tail is not printed: the demo itself shows what was recovered.
    logging.getLogger(logger.LOGGER).addHandler(logging.NullHandler())
    try:
        _append_all(task, pipe)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        pass  # the parent has ended
    except Exception as error:  # noqa: BLE001 - the parent shows whatever it is
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
