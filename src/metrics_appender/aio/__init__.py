"""The same verbs for asyncio: thousands of tasks append, and the event loop is never blocked."""

from ..file_lock import load_flock
from .append_log import AsyncAppendLog
from .appender import AsyncMetricsAppender

__all__ = ["AsyncAppendLog", "AsyncMetricsAppender"]

load_flock()  # what a first append would import, and keep its event loop waiting for
