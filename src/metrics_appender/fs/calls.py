"""The calls of the operating system that the engine makes.

The engine makes its system calls on files here, except for flock(2) in `fs.lock`. A test that needs
a failing disk replaces the `os` of this module, or one of the names at its end.
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

# O_NOFOLLOW: a symbolic link planted in a shared directory must not redirect an append.
APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_OVERWRITE: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC
MODE: Final = 0o644
_COPY_BYTES: Final = 1 << 20
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800
# struct statx of <linux/stat.h>: the mask of valid fields at byte 0, the birth time at byte 80.
_MASK: Final = struct.Struct("=I")
_BIRTH: Final = struct.Struct("=80xqI")
_STATX_BYTES: Final = 256
# _IOR('v', 1, long) of <linux/fs.h>
_FS_IOC_GETVERSION: Final = 0x80007601 | struct.calcsize("l") << 16


def open_append(path: str) -> int:
    """Open a file to read and append, made with mode 0644 less the umask if it is missing."""
    return os.open(path, APPEND, MODE)


def open_read(path: str) -> int:
    """Open a regular file for reading; raise `OSError` at once for anything else."""
    try:
        # Without O_NONBLOCK, the open of a pipe would wait for its writer.
        fd = os.open(path, _READ | os.O_NONBLOCK)
    except BlockingIOError:
        # Another process has a lease on the file; a blocking open breaks it (fcntl(2)).
        fd = os.open(path, _READ)
    try:
        require_regular(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create(path: str) -> int:
    """Make a new file, readable by its owner only, and open it for appending."""
    return os.open(path, APPEND | os.O_EXCL, 0o600)


def copy_attributes(source: int, target: int) -> None:
    """Give one open file the mode and the times of another, and its owner where that is allowed."""
    attributes = stat_open(source)
    with contextlib.suppress(PermissionError):
        os.fchown(target, attributes.st_uid, attributes.st_gid)
    os.fchmod(target, stat.S_IMODE(attributes.st_mode))
    set_times(target, attributes)


def set_times(fd: int, times: os.stat_result) -> None:
    """Set the times of access and modification of an open file."""
    os.utime(fd, ns=(times.st_atime_ns, times.st_mtime_ns))


def open_overwrite(path: str) -> int:
    """Open a file to write into its middle.

    With O_APPEND, Linux would append whatever the offset is (pwrite(2), BUGS).
    """
    return os.open(path, _OVERWRITE)


def size_of(fd: int) -> int:
    """Return an open file's size in bytes."""
    return stat_open(fd).st_size


def require_regular(fd: int, path: str) -> None:
    """Raise `OSError` (EINVAL, EISDIR for a directory) unless the open file is a regular one."""
    mode = stat_open(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def is_there(path: str) -> bool:
    """Return whether anything has this name, a dangling symbolic link included."""
    try:
        stat_named(path)
    except FileNotFoundError:
        return False
    return True


def write_all(fd: int, data: bytes | memoryview) -> int:
    """Append all of `data`, by one `write` and more after a short one; return its length."""
    written = write(fd, data)
    while written < len(data):
        # write(2) gives the reason for a short write with the next one; 0 bytes are no progress.
        more = write(fd, memoryview(data)[written:])
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more
    return written


def overwrite(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at an offset of a file that was opened by `open_overwrite`."""
    written = 0
    while written < len(data):
        more = write_at(fd, memoryview(data)[written:], offset + written)
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def _sync_fully(fd: int) -> None:
    import fcntl

    # F_FULLFSYNC of macOS's <sys/fcntl.h>: fsync(2) does not flush the drive's cache there.
    fcntl.fcntl(fd, 51)


def sync_directory(path: str) -> None:
    """Return once the names in a directory are on the disk.

    fsync(2) of a file does not sync its directory entry; see its NOTES.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some SMB and FUSE file systems cannot sync a directory
            error.filename = path
            raise


def _is_empty(path: str) -> bool:
    with os.scandir(path) as entries:
        return next(entries, None) is None


def make_directory(path: str) -> None:
    """Make a directory and its missing parents, each synced into its parent."""
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
    # Another process may have made an empty directory without having synced it yet; a file in it
    # means that it was synced. Without the permission to read it, this user did not make it.
    with contextlib.suppress(PermissionError):
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
    """Return the inode generation of an open file, 0 where the file system has none.

    The number of an inode is reused after its file was deleted, with another generation. It is what
    `FS_IOC_GETVERSION` returns on ext4, xfs, btrfs and f2fs; tmpfs and overlays may lack it.
    """
    if sys.platform != "linux":
        return 0
    import fcntl

    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETVERSION, bytes(8))
    except OSError:
        return 0
    # The kernel writes an int, although the request's number says long.
    return int.from_bytes(answer[:4], sys.byteorder)


def born_at(fd: int) -> float | None:
    """Return the birth time of an open file in seconds since the epoch, `None` if it has none.

    This is `stx_btime` of statx(2), or `st_birthtime`. The other times of a file do not tell its
    age: a write changes the one, and a link or a rename the other.
    """
    born: float | None = getattr(os.fstat(fd), "st_birthtime", None)
    return _ask_statx(fd) if born is None else born


def _ask_statx(fd: int) -> float | None:
    import ctypes

    statx = _load_statx()
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if (
        statx is None
        or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer)
        or not _MASK.unpack_from(buffer)[0] & _STATX_BTIME
    ):
        return None
    seconds, nanoseconds = _BIRTH.unpack_from(buffer)
    return float(seconds + nanoseconds / 1e9)


@functools.cache
def _load_statx() -> Any:
    import ctypes

    return getattr(ctypes.CDLL(None), "statx", None)  # of glibc since 2.28 and of musl since 1.2


open = os.open  # noqa: A001 - it is the operating system's open
close = os.close
write = os.write
write_at = os.pwrite
# (fd, length, offset); fewer bytes than asked for only at the end of the file, or at 2 GiB.
read_at = os.pread
cut_back = os.ftruncate  # (fd, size)
# Returns once the bytes and the size of the file are on the disk itself (fsync(2)).
sync_file: Callable[[int], None] = _sync_fully if sys.platform == "darwin" else os.fsync
stat_open = os.fstat
list_names = os.listdir
rename = os.rename
unlink = os.unlink
stat_named = os.lstat
stat_followed = os.stat
# The same without what reading the bytes does not need, the times (fdatasync(2)).
sync_data: Callable[[int], None] = sync_file if sys.platform == "darwin" else os.fdatasync
