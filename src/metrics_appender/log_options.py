"""The options of a log that every public class takes: durability, lock timeout, rotation."""

from __future__ import annotations

import functools
import math
import sys
from typing import Any, Final, NamedTuple

from .errors import Fault, InvalidRecordError, show
from .segment.rotation import Rotation
from .write.durability import Durability, check_durability

DEFAULT_LOCK_TIMEOUT: Final = 30.0


class LogOptions(NamedTuple):
    """The options of a log, checked; the names are those of the parameters."""

    durability: Durability
    lock_timeout: float | None
    rotation: Rotation | None

    def __str__(self) -> str:
        """Show them as the keyword arguments of a call; `rotation` only where there is one."""
        shown = f"durability={self.durability!r}, lock_timeout={self.lock_timeout!r}"
        return shown if self.rotation is None else f"{shown}, rotation={self.rotation!r}"


def check_options(
    durability: Durability, lock_timeout: float | None, rotation: Rotation | None
) -> LogOptions:
    """Return the checked options, and import the modules that the methods of such a log need.

    Raises `InvalidRecordError` for an option of a wrong type or value.
    """
    check_durability(durability)
    _check_lock_timeout(lock_timeout)
    _check_rotation(rotation)
    _import_the_rest(is_rotating=rotation is not None)
    return LogOptions(durability, lock_timeout, rotation)


def _check_lock_timeout(lock_timeout: Any) -> None:
    if lock_timeout is None:
        return
    is_number = isinstance(lock_timeout, int | float) and not isinstance(lock_timeout, bool)
    if not is_number or not _is_duration(lock_timeout):
        remedy = "pass seconds of 0 or more, or None to wait for ever"
        raise InvalidRecordError((Fault("lock_timeout", show(lock_timeout), remedy),))


def _check_rotation(rotation: Any) -> None:
    if rotation is not None and not isinstance(rotation, Rotation):
        remedy = "pass a Rotation(…), or None for a file that is never sealed"
        raise InvalidRecordError((Fault("rotation", show(rotation), remedy),))


def _is_duration(seconds: float) -> bool:
    # An int may be larger than any float, and then cannot be added to a time.
    return 0 <= seconds <= sys.float_info.max or seconds == math.inf


@functools.cache
def _import_the_rest(*, is_rotating: bool) -> None:
    """Import what a log's methods need and `import metrics_appender` leaves out.

    Not in the methods themselves: a child that another thread forks during such an import would
    find the module's import lock held for ever.
    """
    import portalocker.portalocker  # noqa: F401 - imported for the methods to find

    from .read import follower, reader, saved_cursors  # noqa: F401 - as above
    from .segment import sealing  # noqa: F401 - as above

    if is_rotating:
        import ctypes  # noqa: F401 - as above

        import filelock  # noqa: F401 - as above

        from .segment import cleaner  # noqa: F401 - as above
