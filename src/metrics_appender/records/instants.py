"""When a record is of, and which event it is: `timestamp_iso` and `event_id`."""

from __future__ import annotations

import functools
import itertools
import os
import time
from typing import Final

_MICROSECONDS: Final = 1_000_000


def iso_utc(timestamp: float) -> str:
    """Return an instant as ISO 8601 in UTC with its offset, just as `datetime.isoformat` writes it.

    Example:
        >>> iso_utc(1760970309.143542)
        '2025-10-20T14:25:09.143542+00:00'
        >>> iso_utc(1760970309)
        '2025-10-20T14:25:09+00:00'
    """
    second = int(timestamp)
    microseconds = round((timestamp - second) * _MICROSECONDS)
    if 0 < microseconds < _MICROSECONDS:
        return f"{_iso_second(second)}.{str(_MICROSECONDS + microseconds)[1:]}+00:00"
    return _iso_second(second + microseconds // _MICROSECONDS) + "+00:00"


@functools.lru_cache(maxsize=16)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class EventTokens:
    """Eight hex digits that differ from call to call, in every thread and every forked child.

    They are counted up from a random start: no two of one object are equal within four billion
    calls, and those of two processes are far less likely to meet than if each were drawn by itself.
    """

    __slots__ = ("_count", "_pid")

    def __init__(self) -> None:
        """Draw no start yet."""
        self._pid = -1
        self._count = itertools.count()

    def take(self) -> str:
        """Return the next token."""
        if self._pid != os.getpid():
            self._count = itertools.count(int.from_bytes(os.urandom(4)))
            self._pid = os.getpid()
        return f"{next(self._count) & 0xFFFFFFFF:08x}"
