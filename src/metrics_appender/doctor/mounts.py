"""Finding the mount of a directory, and what its type and its options mean for an append.

Sources: flock(2), nfs(5), mount.cifs(8), ext4(5), btrfs(5), mount.lustre(8), and the kernel's
Documentation/filesystems.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOUNTINFO: Final = "/proc/self/mountinfo"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_BSD_LINE: Final = re.compile(
    r"(?P<source>.*?) on (?P<point>.*) \((?P<kind>[^,)]+)(?:, )?(?P<options>[^)]*)\)"
)
_MOUNT_SECONDS: Final = 5.0
# How many fields a line has at least (proc_pid_mountinfo(5)), before and after the separator.
_MOUNT_FIELDS: Final = 6
_TYPE_FIELDS: Final = 2


@dataclass(frozen=True)
class Mount:
    """A mounted file system: its type, its source, where it is mounted, and its options."""

    file_system: str
    source: str
    mount_point: str
    options: tuple[str, ...]
    mount_id: int = -1


UNKNOWN: Final = Mount("unknown", "", "", ())


class Meaning(NamedTuple):
    """What a file system or a mount option means for an append: a limit, or just a note."""

    is_limit: bool
    text: str


def _limit(text: str) -> Meaning:
    return Meaning(is_limit=True, text=text)


def _fine(text: str) -> Meaning:
    return Meaning(is_limit=False, text=text)


_LOCAL_DISK: Final = _fine("a file system on a local disk")
_MEMORY: Final = _limit(
    "it is in memory: what is appended survives the end of a process, but no power cut and no "
    "restart"
)
_THIS_HOST: Final = "exclude each other on this host only: let no other host write here"
_NFS: Final = _limit(
    "a network file system: locks go to the server, as byte-range locks, and a host that loses "
    "touch with it can lose them; 'on disk' is what the server makes of it (export it with 'sync')"
)
_SMB: Final = _limit(
    "a network file system: locks go to the server as mandatory ones, so a reader on another host "
    "may be refused while a line is written; 'on disk' is what the server makes of it"
)
_FUSE: Final = _limit(
    "a file system in a process of its own (FUSE): what locks and syncs are worth is up to that "
    "program; where it does not pass on locks, they " + _THIS_HOST
)
_NO_JOURNAL: Final = _limit(
    "it has no journal: a power cut can damage the file system itself, and with it what was "
    "acknowledged"
)
_CLUSTER: Final = _fine("a cluster file system, whose locks hold between hosts")
_HOST_DIRECTORY: Final = "a directory of the host machine, whose locks hold within this guest only"

_FILE_SYSTEMS: Final[dict[str, Meaning]] = {
    **dict.fromkeys(("ext3", "ext4", "xfs", "f2fs", "jfs", "reiserfs", "apfs", "hfs"), _LOCAL_DISK),
    **dict.fromkeys(
        ("btrfs", "bcachefs", "zfs"),
        _fine("a file system on a local disk, one that copies on write"),
    ),
    **dict.fromkeys(("tmpfs", "ramfs", "devtmpfs"), _MEMORY),
    **dict.fromkeys(("nfs", "nfs4"), _NFS),
    **dict.fromkeys(("cifs", "smb3", "smbfs"), _SMB),
    **dict.fromkeys(("fuse", "fuseblk", "macfuse", "osxfuse"), _FUSE),
    **dict.fromkeys(("vfat", "msdos", "exfat", "ext2"), _NO_JOURNAL),
    **dict.fromkeys(("gfs2", "ocfs2", "ceph", "gpfs", "lustre"), _CLUSTER),
    "overlay": _fine(
        "layers, as in a container: new lines are in its upper layer, and go when the container is "
        "removed"
    ),
    "9p": _limit(f"{_HOST_DIRECTORY}; what a sync is worth is up to the program that shares it"),
    "virtiofs": _limit(
        f"{_HOST_DIRECTORY}, unless virtiofsd passes them on; what a sync is worth is up to it"
    ),
    "vboxsf": _limit(f"{_HOST_DIRECTORY}; what a sync is worth is up to the host"),
}
_STRANGER: Final = _limit("nothing is known of this file system but what is tried below")

_NO_BARRIER: Final = _limit(
    "the disk's cache is not flushed: a power cut can lose acknowledged lines unless that cache "
    "has a battery"
)
_LOCAL_LOCKS: Final = _limit("locks do not go to the server; they " + _THIS_HOST)
_NO_SYNC: Final = _limit(
    "no sync is done at all: a power cut can lose acknowledged lines, and leaves the layer unusable"
)
_READ_ONLY: Final = _limit("it is mounted read-only")
_BARRIERS: Final = ("ext3", "ext4", "reiserfs", "jfs", "xfs", "btrfs")

# Each option with the file systems that have it (none listed: all of them), and its meaning.
_OPTIONS: Final[dict[str, tuple[tuple[str, ...], Meaning]]] = {
    "ro": ((), _READ_ONLY),
    "read-only": ((), _READ_ONLY),
    "nolock": (("nfs", "nfs4"), _LOCAL_LOCKS),
    "local_lock=all": (("nfs", "nfs4"), _LOCAL_LOCKS),
    "local_lock=flock": (("nfs", "nfs4"), _LOCAL_LOCKS),
    "soft": (
        ("nfs", "nfs4"),
        _limit(
            "a server that is slow fails a write or a sync with an error, and the line may be "
            "there or not"
        ),
    ),
    "nobrl": (("cifs", "smb3"), _LOCAL_LOCKS),
    "nostrictsync": (
        ("cifs", "smb3"),
        _limit("a sync does not have the server flush: its power cut can lose acknowledged lines"),
    ),
    "volatile": (("overlay",), _NO_SYNC),
    "fsync=volatile": (("overlay",), _NO_SYNC),  # newer kernels show `volatile` so
    "nobarrier": (_BARRIERS, _NO_BARRIER),
    "barrier=0": (_BARRIERS, _NO_BARRIER),
    "barrier=none": (_BARRIERS, _NO_BARRIER),
    "fsync_mode=nobarrier": (("f2fs",), _NO_BARRIER),
    "data=writeback": (
        ("ext3", "ext4"),
        _limit(
            "after a power cut, a line that was not acknowledged can hold old bytes of the disk; "
            "acknowledged lines are kept"
        ),
    ),
    "localflock": (("lustre",), _limit("locks " + _THIS_HOST)),
    "noflock": (("lustre",), _limit("there are no locks: mount it with 'flock'")),
    "localflocks": (("gfs2", "ocfs2"), _limit("locks " + _THIS_HOST)),
}


def parse_mountinfo(text: str) -> list[Mount]:
    r"""Return the mounts that a /proc/self/mountinfo lists (proc_pid_mountinfo(5)), in its order.

    The options are those of the mount, then those that only the file system has. Lines of another
    form are skipped.

        >>> line = "36 25 0:33 / /mnt/a\\040b rw,noatime shared:1 - nfs4 host:/x rw,vers=4.2"
        >>> parse_mountinfo(line)[0].options
        ('rw', 'noatime', 'vers=4.2')
    """
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, more = head.split(" "), tail.split(" ")
        if len(fields) < _MOUNT_FIELDS or len(more) < _TYPE_FIELDS or not fields[0].isdecimal():
            continue
        of_file_system = more[_TYPE_FIELDS].split(",") if len(more) > _TYPE_FIELDS else ()
        options = dict.fromkeys((*fields[5].split(","), *of_file_system))
        mounts.append(
            Mount(
                more[0],
                _unescape(more[1]),
                _unescape(fields[4]),
                tuple(map(_unescape, options)),
                int(fields[0]),
            )
        )
    return mounts


def parse_mount_output(text: str) -> list[Mount]:
    """Return the mounts that mount(8) of macOS and the BSDs lists.

    >>> text = "/dev/disk3s1 on /System/Volumes/Data (apfs, local, journaled)"
    >>> parse_mount_output(text)[0].file_system
    'apfs'
    """
    found = filter(None, map(_BSD_LINE.fullmatch, text.splitlines()))
    return [
        Mount(m["kind"], m["source"], m["point"], tuple(filter(None, m["options"].split(", "))))
        for m in found
    ]


def read_mounts() -> list[Mount]:
    """Return the mounts that this process sees, none where the system does not list them."""
    if sys.platform == "linux":
        try:
            with open(_MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
                return parse_mountinfo(file.read())
        except OSError:
            return []
    try:
        done = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, check=True, timeout=_MOUNT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_mount_output(done.stdout)


def mount_of(path: str, mounts: Iterable[Mount], mount_id: int = -1) -> Mount:
    """Return the mount of an absolute path without symbolic links, `UNKNOWN` without any.

    It is the mount with `mount_id`, else the innermost by name, and the last one of several at the
    same mount point, which hides the others.
    """
    best = UNKNOWN
    for mount in mounts:
        if mount.mount_id == mount_id != -1:
            return mount
        inside = os.path.join(mount.mount_point, "")
        if os.path.join(path, "").startswith(inside) and len(mount.mount_point) >= len(
            best.mount_point
        ):
            best = mount
    return best


def meanings_of(mount: Mount) -> list[Meaning]:
    """Return the meaning of the file system, then that of each option that matters here."""
    kind = mount.file_system
    found = [_FILE_SYSTEMS.get(kind) or _FILE_SYSTEMS.get(kind.partition(".")[0]) or _STRANGER]
    for option in mount.options:
        kinds, meaning = _OPTIONS.get(option, ((), None))
        if meaning is not None and (not kinds or kind in kinds):
            found.append(Meaning(meaning.is_limit, f"{option}: {meaning.text}"))
    return found


def _unescape(text: str) -> str:
    r"""Replace octal escapes: a mountinfo has `\040` for a blank."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
