"""An iterator that blocks becomes an asynchronous one.

A thread takes a chunk of items at a time.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from .threads import LoopThreads

_T = TypeVar("_T")

# A chunk is so many items, fewer where they are so large that taking them lasts: neither memory nor
# the interpreter's lock is kept for long.
_CHUNK_ITEMS: Final = 512
_CHUNK_SECONDS: Final = 0.002


class _Source(Generic[_T]):
    """The blocking iterator, for one thread at a time."""

    def __init__(self, items: Generator[_T, None, None]) -> None:
        self._items = items
        self._error: Exception | None = None
        self._mutex = threading.Lock()

    def take(self) -> list[_T]:
        """Return the next chunk, nothing at the end.

        An error is raised after the items that came before it.
        """
        chunk: list[_T] = []
        with self._mutex:
            if self._error is not None:
                raise self._error
            until = time.monotonic() + _CHUNK_SECONDS
            try:
                for item in itertools.islice(self._items, _CHUNK_ITEMS):
                    chunk.append(item)
                    if time.monotonic() > until:
                        break
            except Exception as error:
                if not chunk:
                    raise
                self._error = error
        return chunk

    def close(self) -> None:
        """Close the iterator, after the chunk that is being taken for somebody who has gone."""
        with self._mutex:
            self._items.close()


async def iterate_in_chunks(
    items: Generator[_T, None, None], threads: LoopThreads
) -> AsyncGenerator[_T, None]:
    """Yield the items.

    However this ends, by its end, an error, `aclose()` or being forgotten, `items` is closed.
    """
    source = _Source(items)
    try:
        while chunk := await threads.run(source.take):
            for item in chunk:
                yield item
    finally:
        threads.start(source.close)
