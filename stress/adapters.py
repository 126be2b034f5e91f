"""The public classes of the library behind one method, `append(fields)`."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from metrics_appender import AppendLog, MetricsAppender
from metrics_appender.aio import AsyncAppendLog, AsyncMetricsAppender

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_appender import Rotation
    from metrics_appender.append_log import Durability

SKILL: Final = "Stress, Überlast & 負荷"
# All adapters write to this name, so that they can share one file.
FILE_NAME: Final = f"{SKILL}_promotion_log.json"


class Adapter(Protocol):
    """What a writer appends with; pickled, it opens the same file in another process."""

    def append(self, fields: dict[str, Any]) -> None:
        """Return when the line is acknowledged."""

    def close(self) -> None:
        """Accept no more."""


class LogAdapter:
    """The general class: the fields are the record."""

    def __init__(
        self,
        path: str,
        durability: Durability,
        lock_timeout: float | None,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file."""
        self.log = AppendLog(
            path, durability=durability, lock_timeout=lock_timeout, rotation=rotation
        )

    def append(self, fields: dict[str, Any]) -> None:
        """Append the fields as they are."""
        self.log.append(fields)

    def close(self) -> None:
        """Close the log."""
        self.log.close()


class MetricsAdapter:
    """The typed face: the fields are the automated checks of a promotion event."""

    def __init__(
        self,
        path: str,
        durability: Durability,
        lock_timeout: float | None,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file, which has to have the name of the skill's."""
        directory, name = os.path.split(path)
        assert name == FILE_NAME, f"the typed face writes {FILE_NAME}, not {name}"
        self.metrics = MetricsAppender(
            directory, durability=durability, lock_timeout=lock_timeout, rotation=rotation
        )

    def append(self, fields: dict[str, Any]) -> None:
        """Append an event around the fields."""
        self.metrics.append_promotion_event(
            SKILL, "staging", "production", "stress", "", "", fields
        )

    def close(self) -> None:
        """Close the appender."""
        self.metrics.close()


class LoopAdapter:
    """An asynchronous adapter for callers in threads.

    Its event loop runs in a thread of its own, which starts at the first append.
    """

    def __init__(
        self, opens: Callable[..., AsyncLogAdapter | AsyncMetricsAdapter], *arguments: Any
    ) -> None:
        """Take the class of the asynchronous adapter and its arguments."""
        self.adapter = opens(*arguments)
        self._made_of = (opens, *arguments)
        self._first = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def append(self, fields: dict[str, Any]) -> None:
        """Append in the loop, and wait for it in this thread."""
        asyncio.run_coroutine_threadsafe(self.adapter.append(fields), self._running_loop()).result()

    def close(self) -> None:
        """Close the asynchronous adapter, and end its loop."""
        asyncio.run_coroutine_threadsafe(self.adapter.aclose(), self._running_loop()).result()
        self._running_loop().call_soon_threadsafe(self._running_loop().stop)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the class and the arguments."""
        return LoopAdapter, self._made_of

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._first:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="stress-loop", daemon=True
                ).start()
            return self._loop


class AsyncLogAdapter:
    """The general class for asyncio."""

    def __init__(
        self,
        path: str,
        durability: Durability,
        lock_timeout: float | None,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file."""
        self.log = AsyncAppendLog(
            path, durability=durability, lock_timeout=lock_timeout, rotation=rotation
        )

    async def append(self, fields: dict[str, Any]) -> None:
        """Append the fields as they are."""
        await self.log.append(fields)

    async def aclose(self) -> None:
        """Close the log."""
        await self.log.aclose()


class AsyncMetricsAdapter:
    """The typed face for asyncio."""

    def __init__(
        self,
        path: str,
        durability: Durability,
        lock_timeout: float | None,
        rotation: Rotation | None = None,
    ) -> None:
        """Name the file, which has to have the name of the skill's."""
        directory, name = os.path.split(path)
        assert name == FILE_NAME, f"the typed face writes {FILE_NAME}, not {name}"
        self.metrics = AsyncMetricsAppender(
            directory, durability=durability, lock_timeout=lock_timeout, rotation=rotation
        )

    async def append(self, fields: dict[str, Any]) -> None:
        """Append an event around the fields."""
        await self.metrics.append_promotion_event(
            SKILL, "staging", "production", "stress", "", "", fields
        )

    async def aclose(self) -> None:
        """Close the appender."""
        await self.metrics.aclose()


ADAPTERS: Final[dict[str, Callable[..., Adapter]]] = {
    "log": LogAdapter,
    "metrics": MetricsAdapter,
    "async log": functools.partial(LoopAdapter, AsyncLogAdapter),
    "async metrics": functools.partial(LoopAdapter, AsyncMetricsAdapter),
}
