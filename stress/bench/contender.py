"""What a contender is.

How it is configured, what it promises, how it appends, how it is read back.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .readback import lines_of_file

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from .results import Side

    Opener: TypeAlias = Callable[[str, dict[str, Any], Any], Callable[[], object]]
    AsyncOpener: TypeAlias = Callable[
        [str, dict[str, Any]], AbstractAsyncContextManager[Callable[[], Awaitable[object]]]
    ]


def share_nothing(path: str) -> None:
    """Prepare nothing before the processes start."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to append a record, in its best honest configuration, which `note` describes.

    `is_durable`: when an append returns, its record survives a power cut. `is_process_safe`: its
    makers say that several processes may append at once.

    `prepare(path)` is called once, before the processes are forked; `open(path, record, prepared)`
    in each process (`is_per_thread`: in each thread) and returns the append of one record. A task
    of an event loop appends through `open_async` instead, in the loop that `make_loop` returns,
    asyncio's own without it. `read_back(path)` returns what is there as lines.
    """

    name: str
    note: str
    is_durable: bool
    is_process_safe: bool
    open: Opener | None = None
    open_async: AsyncOpener | None = None
    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    prepare: Callable[[str], Any] = share_nothing
    read_back: Callable[[str], Iterable[bytes]] = lines_of_file
    is_per_thread: bool = False
    side: Side = "ours"
    records_per_call: int = 1
    package: str | None = None

    def is_installed(self) -> bool:
        """Whether what it needs is there."""
        return self.package is None or importlib.util.find_spec(self.package) is not None
