"""The lock of a file, asked for from outside the library."""

from __future__ import annotations

import fcntl


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock of the file; `False` when there is no file."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
