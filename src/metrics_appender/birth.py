"""When a file was made, where its file system keeps it: statx(2)'s `stx_btime`, or `st_birthtime`.

Neither time that every file has says it: a write changes the one, and a link or a rename the other.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from typing import Any, Final

_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800
# struct statx of <linux/stat.h>: the mask of what is told at its beginning, the birth time from byte 80 on.
_MASK: Final = struct.Struct("=I")
_BIRTH: Final = struct.Struct("=80xqI")
_STATX_BYTES: Final = 256


def born_at(fd: int) -> float | None:
    """Return when an open file was made, in seconds since the epoch; `None` where that is not known."""
    born: float | None = getattr(os.fstat(fd), "st_birthtime", None)
    return _ask_statx(fd) if born is None else born


def _ask_statx(fd: int) -> float | None:
    statx = _load_statx()
    told = ctypes.create_string_buffer(_STATX_BYTES)
    if statx is None or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, told) or not _MASK.unpack_from(told)[0] & _STATX_BTIME:
        return None
    seconds, nanoseconds = _BIRTH.unpack_from(told)
    return float(seconds + nanoseconds / 1e9)


@functools.cache
def _load_statx() -> Any:
    return getattr(ctypes.CDLL(None), "statx", None)  # of glibc since 2.28 and of musl since 1.2
