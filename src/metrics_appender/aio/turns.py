"""Work that the event loop does itself, in turns so short that other tasks have theirs in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from ..append_log import CHUNK_BYTES
from ..records.ndjson import chunked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

_T = TypeVar("_T")

# So many bytes of lines are a few milliseconds of work.
_TURN_BYTES: Final = 1 << 18


async def chunked_in_turns(
    items: Iterable[_T], size_of: Callable[[_T], int]
) -> AsyncGenerator[list[_T], None]:
    """Yield runs of items that are written together, as `ndjson.chunked` does with what is all or nothing."""
    chunk: list[_T] = []
    size = 0
    for taken in chunked(items, _TURN_BYTES, size_of):
        grown = sum(map(size_of, taken))
        if chunk and size + grown > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk += taken
        size += grown
        await asyncio.sleep(0)
    if chunk:
        yield chunk
