"""The state of a file's lock, without the library."""

from __future__ import annotations

import fcntl


def is_locked(path: str) -> bool:
    """Return whether the lock of the file is held; `False` where there is no file."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
