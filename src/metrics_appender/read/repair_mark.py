"""The mark on a line that a repair is overwriting, by which it is not taken for a corrupt line.

The mark is durable before the line is touched, so that a line which was half overwritten when the
power went is no record; it is gone when the line is as it shall be. A reader takes no lock that
could tell a repair that is at work from one that was killed, so it believes in one for a while.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..segment.source import Source

# A line's first byte meanwhile: no JSON begins with it, nor does what people write into such files
# (CAN, for what is to be disregarded).
MARK: Final = b"\x18"
# Longer than a repair's few syncs take. A reader that has waited in vain does not wait again for a
# while: a repair that was killed leaves many marks.
_LONGEST_SECONDS: Final = 2.0
_VAIN_SECONDS: Final = 60.0


class Repairs:
    """The repairs that one reader believes to be at work."""

    def __init__(self) -> None:
        """Begin with no marked line seen."""
        self._position = -1
        self._since = 0.0
        self._vain_until = -math.inf

    def may_be_at(self, line: bytes, position: int) -> bool:
        """Return whether the line at a position is marked, and may be whole again in a moment."""
        if not line.startswith(MARK):
            return False
        now = time.monotonic()
        if position != self._position:
            self._position, self._since = position, now
        if now - self._since >= _LONGEST_SECONDS:
            self._vain_until = now + _VAIN_SECONDS
        return now >= self._vain_until

    def is_corrupt(
        self,
        line: bytes,
        source: Source,
        offset: int,
        position: int,
        wait: Callable[[], bool],
    ) -> bool:
        """Look once more at a line that is no object: is it corrupt, or to be read again.

        It is to be read again where other bytes stand at its offset by now, for a writer may have
        taken it back under the reader, and where a repair may be at work on it. That is waited for
        with `wait`, as long as it returns true.
        """
        now = line
        while self.may_be_at(now, position):
            if not wait():
                return False
            now = source.read_at(len(line), offset)
        return source.read_at(len(line), offset) == line
