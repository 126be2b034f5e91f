"""What every test of asyncio has at hand: both kinds of loop, a slow disk, no thread left over."""

from event_loops import _no_thread_of_another_test, run, slow

__all__ = ["_no_thread_of_another_test", "run", "slow"]
