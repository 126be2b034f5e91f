"""What became of the record of a failed append: a fact on the error, and the note made from it.

Every error that leaves an append, an `OSError` of the system and an exception of a signal handler
included, gets two attributes: `outcome`, one of the texts below, and `outcomes`, the same for each
file that it concerns (an exception may leave the appends of two logs, one after the other). A
person reads the note `"{path}: {outcome}"` in the traceback; code reads the attributes, never the
note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from .errors import MAY_BE_WRITTEN, NOTHING_MORE_WRITTEN, NOTHING_WRITTEN, MetricsAppenderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "MAY_BE_WRITTEN",
    "NOTHING_MORE_WRITTEN",
    "NOTHING_WRITTEN",
    "add_detail",
    "add_outcome",
    "consequences_of",
    "copy_for_another_caller",
    "explain",
    "is_system_failure",
    "note_partly_written",
    "outcomes_of",
]

_NO_OUTCOMES: Final[Mapping[str, str]] = {}


def outcomes_of(error: BaseException) -> Mapping[str, str]:
    """Return what became of the record in each file that the error concerns."""
    return cast("Mapping[str, str]", vars(error).get("outcomes", _NO_OUTCOMES))


def add_outcome(error: BaseException, path: str, outcome: str) -> None:
    """Record what became of the line for `path`; the first outcome stands, as the most exact."""
    if path in outcomes_of(error):
        return
    attributes: dict[str, Any] = vars(error)
    attributes["outcomes"] = {**outcomes_of(error), path: outcome}
    attributes.setdefault("outcome", outcome)
    error.add_note(f"{path}: {outcome}")


def explain(error: OSError, path: str, outcome: str) -> OSError:
    """Add the file's name and what became of the record to a system error, and return it."""
    if error.filename is None and error.errno is not None:
        error.filename = path
    add_outcome(error, path, outcome)
    return error


def note_partly_written(error: BaseException, place: str, kept: str, paths: Iterable[str]) -> None:
    """Record on the error of an `append_many` which records stay (`kept`), and in which files.

    For those files "nothing was written" becomes "nothing more was written". `place` is the file or
    directory that the note names.
    """
    outcomes = dict(outcomes_of(error))
    for path in paths:
        if outcomes.get(path) == NOTHING_WRITTEN:
            outcomes[path] = NOTHING_MORE_WRITTEN
            error.__notes__.remove(f"{path}: {NOTHING_WRITTEN}")
            error.add_note(f"{path}: {NOTHING_MORE_WRITTEN}")
    if outcomes:
        vars(error).update(outcomes=outcomes, outcome=next(iter(outcomes.values())))
    elif isinstance(error, MetricsAppenderError) and error.outcome:
        error.outcome = NOTHING_MORE_WRITTEN
    add_detail(error, place, kept)


def add_detail(error: BaseException, place: str, detail: str) -> None:
    """Record another fact for people; the note begins with the file or stream that it concerns."""
    vars(error)["details"] = (*vars(error).get("details", ()), detail)
    error.add_note(f"{place}: {detail}")


def consequences_of(error: BaseException) -> tuple[str, ...]:
    """Return the outcomes and details that the error's own text lacks, each part of a sentence."""
    details: tuple[str, ...] = vars(error).get("details", ())
    return (*outcomes_of(error).values(), *details)


def copy_for_another_caller(error: OSError) -> OSError:
    """Return the same error as a new object: a traceback belongs to one thread."""
    copied = OSError(error.errno, error.strerror, error.filename)
    for path, outcome in outcomes_of(error).items():
        add_outcome(copied, path, outcome)
    return copied


def is_system_failure(error: BaseException, path: str) -> TypeGuard[OSError]:
    """Return whether the operating system failed at `path`, rather than a signal handler raised.

    A handler's own `TimeoutError("...")` has no errno, and what another log raised in the handler
    has an outcome of another file.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return False
    return all(concerned == path for concerned in outcomes_of(error))
