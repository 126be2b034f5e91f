"""The few operating system calls an append is made of.

Nothing else in the engine calls the operating system, `file_lock`'s flock apart; a test that wants
a failing disk puts its own `os`, or its own call in place of one that is named at the end, here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# O_NOFOLLOW: a link planted in a shared directory must not lead the append elsewhere.
APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_OVERWRITE: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC
MODE: Final = 0o644
_COPY_BYTES: Final = 1 << 20
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800
# struct statx of <linux/stat.h>: the mask of what is told at its beginning, the birth time from
# byte 80 on.
_MASK: Final = struct.Struct("=I")
_BIRTH: Final = struct.Struct("=80xqI")
_STATX_BYTES: Final = 256
# _IOR('v', 1, long) of <linux/fs.h>
_FS_IOC_GETVERSION: Final = 0x80007601 | struct.calcsize("l") << 16


def open_append(path: str) -> int:
    """Open a file for reading and appending, made if it is not there (mode 0644 less the umask)."""
    return os.open(path, APPEND, MODE)


def open_read(path: str) -> int:
    """Open a regular file for reading; `OSError` at once for anything else."""
    try:
        fd = os.open(
            path, _READ | os.O_NONBLOCK
        )  # without it, that of a pipe would wait for its writer
    except (
        BlockingIOError
    ):  # a file server has a lease on it, and gives it up when asked (fcntl(2))
        fd = os.open(path, _READ)
    try:
        require_regular(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create(path: str) -> int:
    """Make a file that is not there yet, and open it for appending.

    For its owner alone, until it has the attributes of another.
    """
    return os.open(path, APPEND | os.O_EXCL, 0o600)


def copy_attributes(source: int, target: int) -> None:
    """Give one open file the owner, the mode and the times of another.

    The owner where this process may.
    """
    told = stat_open(source)
    with contextlib.suppress(PermissionError):
        os.fchown(target, told.st_uid, told.st_gid)
    os.fchmod(target, stat.S_IMODE(told.st_mode))
    set_times(target, told)


def set_times(fd: int, told: os.stat_result) -> None:
    """Give an open file the times that were told of one."""
    os.utime(fd, ns=(told.st_atime_ns, told.st_mtime_ns))


def open_overwrite(path: str) -> int:
    """Open a file to write into the middle of it.

    One that is opened to append Linux appends to, whatever the offset (pwrite(2), BUGS).
    """
    return os.open(path, _OVERWRITE)


def size_of(fd: int) -> int:
    """Return an open file's size in bytes."""
    return stat_open(fd).st_size


def require_regular(fd: int, path: str) -> None:
    """Raise `OSError` (EINVAL, EISDIR for a directory) unless the open file is a plain one."""
    mode = stat_open(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def is_there(path: str) -> bool:
    """Whether anything has this name, a link that leads nowhere included."""
    try:
        stat_named(path)
    except FileNotFoundError:
        return False
    return True


def write_all(fd: int, data: bytes | memoryview) -> int:
    """Append all of `data` and return its length.

    One `write` in the ordinary case, more after a short one.
    """
    written = write(fd, data)
    while written < len(data):
        # A write that takes nothing tells why at the next try; it is not tried for ever.
        more = write(fd, memoryview(data)[written:])
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more
    return written


def overwrite(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at a place of a file that was opened by `open_overwrite`."""
    written = 0
    while written < len(data):
        more = write_at(fd, memoryview(data)[written:], offset + written)
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def _sync_fully(fd: int) -> None:
    import fcntl

    fcntl.fcntl(
        fd, 51
    )  # F_FULLFSYNC of macOS's <sys/fcntl.h>: its fsync(2) leaves the drive's cache alone


def sync_directory(path: str) -> None:
    """Return once the names in a directory are on the disk (fsync(2).

    "an explicit fsync() on … the directory").
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # the file system has no such thing as syncing a directory (some of SMB and FUSE)
            error.filename = path
            raise


def _is_empty(path: str) -> bool:
    with os.scandir(path) as entries:
        return next(entries, None) is None


def make_directory(path: str) -> None:
    """Make a directory with all that are missing above it, each durable in its parent."""
    missing = []
    while True:
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            missing.append(path)
            path = os.path.dirname(path)
        else:
            break
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    # An empty one may be what another process made and, killed or slow, has not synced; where
    # anything is in it, somebody has.
    with contextlib.suppress(
        PermissionError
    ):  # who may not look into it, or not read the one above it, has not made it
        if _is_empty(path):
            sync_directory(os.path.dirname(path))
    for made in reversed(missing):
        try:
            os.mkdir(made)
        except FileExistsError:
            if not os.path.isdir(made):
                raise
        sync_directory(os.path.dirname(made))


def pieces(fd: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end`, a megabyte at a time."""
    while start < end:
        piece = os.pread(fd, min(_COPY_BYTES, end - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)


def generation_of(fd: int) -> int:
    """Return an open file's inode generation, 0 where the file system has none.

    An inode number is given out again after its file is gone, with another generation
    (ioctl_iflags(2) is its neighbour; ext4, xfs, btrfs and f2fs answer `FS_IOC_GETVERSION`, tmpfs
    and overlays may not).
    """
    if sys.platform != "linux":
        return 0
    import fcntl

    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETVERSION, bytes(8))
    except OSError:
        return 0
    return int.from_bytes(
        answer[:4], sys.byteorder
    )  # the kernel writes an int, whatever the request's number says


def born_at(fd: int) -> float | None:
    """Return when an open file was made, in seconds since the epoch.

    `None` where its file system does not keep that.

    By statx(2)'s `stx_btime`, or `st_birthtime`: neither time that every file has says it, for a
    write changes the one, and a link or a rename the other.
    """
    born: float | None = getattr(os.fstat(fd), "st_birthtime", None)
    return _ask_statx(fd) if born is None else born


def _ask_statx(fd: int) -> float | None:
    import ctypes

    statx = _load_statx()
    told = ctypes.create_string_buffer(_STATX_BYTES)
    if (
        statx is None
        or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, told)
        or not _MASK.unpack_from(told)[0] & _STATX_BTIME
    ):
        return None
    seconds, nanoseconds = _BIRTH.unpack_from(told)
    return float(seconds + nanoseconds / 1e9)


@functools.cache
def _load_statx() -> Any:
    import ctypes

    return getattr(ctypes.CDLL(None), "statx", None)  # of glibc since 2.28 and of musl since 1.2


open = os.open  # noqa: A001 - it is the operating system's open
close = os.close
write = os.write
write_at = os.pwrite
read_at = (
    os.pread
)  # (fd, length, offset): fewer bytes than asked for only where the file ends, or at 2 GiB
cut_back = os.ftruncate  # (fd, size)
# Returns once the file's bytes and size are on the disk itself (fsync(2)).
sync_file: Callable[[int], None] = _sync_fully if sys.platform == "darwin" else os.fsync
stat_open = os.fstat
list_names = os.listdir
rename = os.rename
unlink = os.unlink
stat_named = os.lstat
stat_followed = os.stat
# The same without what reading the bytes does not need, the times (fdatasync(2)).
sync_data: Callable[[int], None] = sync_file if sys.platform == "darwin" else os.fdatasync
