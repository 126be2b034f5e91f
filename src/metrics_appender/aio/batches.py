"""Long work in batches: the event loop's own, and that of an iterator that blocks in a thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ..append_log import CHUNK_BYTES
from ..records.batches import batched

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from .threads import LoopThreads

_T = TypeVar("_T")

# Encoding so many bytes of lines takes a few milliseconds, in which no other task runs.
_TURN_BYTES: Final = 1 << 18
# A thread takes so many items at once; fewer where they are so large that taking them lasts longer
# than this, since the interpreter's lock and the memory are kept meanwhile.
_BATCH_ITEMS: Final = 512
_BATCH_SECONDS: Final = 0.002


async def batched_in_turns(
    items: Iterable[_T], size_of: Callable[[_T], int]
) -> AsyncGenerator[list[_T], None]:
    """Yield lists of items to be written together; other tasks run while the items are made."""
    batch: list[_T] = []
    size = 0
    for taken in batched(items, _TURN_BYTES, size_of):
        grown = sum(map(size_of, taken))
        if batch and size + grown > CHUNK_BYTES:
            yield batch
            batch, size = [], 0
        batch += taken
        size += grown
        await asyncio.sleep(0)
    if batch:
        yield batch


async def iterate_in_threads(
    items: Generator[_T, None, None], threads: LoopThreads
) -> AsyncGenerator[_T, None]:
    """Yield the items of an iterator that blocks.

    `items` is closed however this ends: at the end, by an error, by `aclose()`, or by the event
    loop that finds it abandoned.
    """
    source = _BlockingSource(items)
    try:
        while batch := await threads.run(source.take):
            for item in batch:
                yield item
    finally:
        threads.start(source.close)


class _BlockingSource(Generic[_T]):
    """The iterator that blocks, used by one thread at a time."""

    def __init__(self, items: Generator[_T, None, None]) -> None:
        self._items = items
        self._error: Exception | None = None
        self._mutex = threading.Lock()

    def take(self) -> list[_T]:
        """Return the next items, none at the end.

        An error is raised by the call after the one that returned the items before it.
        """
        batch: list[_T] = []
        with self._mutex:
            if self._error is not None:
                raise self._error
            end = time.monotonic() + _BATCH_SECONDS
            try:
                for item in itertools.islice(self._items, _BATCH_ITEMS):
                    batch.append(item)
                    if time.monotonic() > end:
                        break
            except Exception as error:
                if not batch:
                    raise
                self._error = error
        return batch

    def close(self) -> None:
        """Close the iterator, after a `take` whose caller was cancelled."""
        with self._mutex:
            self._items.close()
