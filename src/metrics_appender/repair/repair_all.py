"""Repairing a log or a directory: each log by itself, one after the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ..check.files import byte_counter, find_logs
from ..check.report import KINDS
from ..errors import Fault, InvalidRecordError, show
from ..fs import calls
from ..outcome import consequences_of
from .repair_log import repair_log
from .report import Failure, RepairReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..check.report import FaultKind
    from .report import Change

# Not a torn tail: the next append cuts it off in any case.
KEEPABLE: Final[tuple[FaultKind, ...]] = tuple(kind for kind in KINDS if kind != "torn_tail")


def repair_all(
    path: str,
    *,
    is_dry_run: bool,
    keep: Collection[FaultKind],
    lock_timeout: float | None,
    progress: Callable[[int, int], None] | None,
) -> RepairReport:
    """Repair what is at `path`; see `repair`."""
    _check_keep(keep)
    logs = find_logs(path)
    count = byte_counter(logs, progress)
    changes: list[Change] = []
    errors: list[Failure] = []
    for log in logs:
        try:
            changes += repair_log(
                log, is_dry_run=is_dry_run, keep=keep, lock_timeout=lock_timeout, progress=count
            )
        except (OSError, ImportError) as error:
            if log == path:
                raise
            # A log that was removed after it was listed is no failure.
            if not isinstance(error, FileNotFoundError) or calls.is_there(log):
                errors.append(_failure_of(log, error))
    return RepairReport(path, is_dry_run, tuple(changes), tuple(errors))


def _failure_of(log: str, error: OSError | ImportError) -> Failure:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.filename not in {None, log}:  # its `.torn`, say
        reason = f"{os.fsdecode(error.filename)}: {reason}"
    consequences = [f" ({text})" for text in consequences_of(error) if text not in reason]
    return Failure(log, reason + "".join(consequences))


def _check_keep(keep: Any) -> None:
    wrong = [kind for kind in keep if kind not in KEEPABLE]
    if isinstance(keep, str) or wrong:
        raise InvalidRecordError(
            (Fault("keep", show(keep), f"pass a collection of {', '.join(KEEPABLE)}"),), outcome=""
        )
