"""How lines come out of a log: readers and followers. No lock is taken, and no writer waits."""
