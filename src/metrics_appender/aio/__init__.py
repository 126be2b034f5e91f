"""The same verbs for asyncio: thousands of tasks append, and the event loop is never blocked."""

from ..fs.lock import load_flock
from .append_log import AsyncAppendLog
from .appender import AsyncMetricsAppender
from .follower import AsyncFollower

__all__ = ["AsyncAppendLog", "AsyncFollower", "AsyncMetricsAppender"]

load_flock()  # what a first append would import, and keep its event loop waiting for
