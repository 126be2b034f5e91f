"""Threads that wait on for a lock which nobody wants from them any more.

A few for each file, and no more.

A thread that waits in the kernel's queue cannot be called off (flock(2)): it ends when it gets the
lock. Where the holder stands still, every log that gives up would leave one, with an open file.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from ..fs import fork

_MANY: Final = 4

# The device and the inode of what is waited for.
FileId = tuple[int, int]


class _Adrift:
    """How many such threads there are of this process."""

    def __init__(self) -> None:
        self.reset_after_fork()
        fork.register(self)

    def reset_after_fork(self) -> None:
        """In a forked child: they are not there."""
        self._mutex = threading.RLock()
        self._counts: Counter[FileId] = Counter()

    def are_many(self, file: FileId) -> bool:
        """Whether there are so many for a file that no log is to risk another one."""
        return self._counts[file] >= _MANY

    def add(self, file: FileId, count: int) -> None:
        """Count a thread more (1), or one less (-1) that has ended."""
        with self._mutex:
            self._counts[file] += count
            if not self._counts[file]:
                del self._counts[file]


threads: Final = _Adrift()
