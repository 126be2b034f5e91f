"""The mark on a line that a repair is overwriting.

For how long a reader believes that one is at work there.

The mark is durable before the line is touched, so that a line which was half overwritten when the
power went is no record; it is gone when the line is as it shall be. A reader takes no lock that
could tell a repair that is at work from one that was killed.
"""

from __future__ import annotations

import math
import time
from typing import Final

# A line's first byte meanwhile: no JSON begins with it, nor does what people write into such files
# (CAN, for what is to be disregarded).
MARK: Final = b"\x18"
# Longer than a repair's few syncs take. Who has waited in vain does not wait again for a while: a
# repair that was killed leaves many marks.
_LONGEST_SECONDS: Final = 2.0
_VAIN_SECONDS: Final = 60.0


class Repairs:
    """What one reader believes."""

    def __init__(self) -> None:
        """Begin with no marked line seen."""
        self._place = -1
        self._since = 0.0
        self._vain_until = -math.inf

    def may_be_at(self, line: bytes, place: int) -> bool:
        """Whether the line at a place is marked, and may be whole again in a moment."""
        if not line.startswith(MARK):
            return False
        now = time.monotonic()
        if place != self._place:
            self._place, self._since = place, now
        if now - self._since >= _LONGEST_SECONDS:
            self._vain_until = now + _VAIN_SECONDS
        return now >= self._vain_until
