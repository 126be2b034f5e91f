"""Mounts: what the system lists is parsed, and what each file system and option means is known."""

from __future__ import annotations

import os

import pytest

from metrics_appender.doctor.mounts import (
    UNKNOWN,
    Mount,
    meanings_of,
    mount_of,
    parse_mount_output,
    parse_mountinfo,
    read_mounts,
)

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:27 / /mnt rw,relatime shared:2 master:3 - ext4 /dev/vdb rw
31 30 0:28 /sub /mnt/a\040b\134c rw,noatime - btrfs /dev/vdc rw,noatime,ssd,subvol=/sub
32 27 0:29 / /mnt rw - xfs /dev/vdd rw
a line of another form
33 27 0:30
"""


def test_a_mountinfo_gives_type_source_mount_point_and_all_options() -> None:
    """Optional fields are skipped, escapes are replaced, and each option is there once."""
    mounts = parse_mountinfo(MOUNTINFO)
    assert [mount.file_system for mount in mounts] == ["proc", "ext4", "ext4", "btrfs", "xfs"]
    assert mounts[3] == Mount(
        "btrfs", "/dev/vdc", "/mnt/a b\\c", ("rw", "noatime", "ssd", "subvol=/sub"), 31
    )


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/", "/dev/vda"),
        ("/mnt-not", "/dev/vda"),
        ("/mnt", "/dev/vdd"),
        ("/mnt/x", "/dev/vdd"),
        ("/mnt/a b\\c/d", "/dev/vdc"),
    ],
)
def test_a_path_lies_on_the_innermost_mount_and_of_two_on_the_later(path: str, source: str) -> None:
    """Whole names are compared: /mnt-not is not below /mnt."""
    assert mount_of(path, parse_mountinfo(MOUNTINFO)).source == source


def test_the_mount_id_decides_where_it_is_known() -> None:
    """An open directory may be hidden by what was mounted over it since."""
    assert mount_of("/mnt/x", parse_mountinfo(MOUNTINFO), 30).source == "/dev/vdb"
    assert mount_of("/mnt/x", parse_mountinfo(MOUNTINFO), 99).source == "/dev/vdd"


def test_without_mounts_the_file_system_is_unknown_and_that_is_a_limit() -> None:
    """Nothing is claimed of an unknown file system."""
    assert mount_of("/x", []) is UNKNOWN
    assert meanings_of(UNKNOWN)[0].is_limit


def test_the_mounts_of_this_machine_hold_its_root() -> None:
    """The real list, as this process sees it."""
    assert mount_of(os.path.abspath("/"), read_mounts()).mount_point == "/"


def test_the_output_of_mount_on_macos_is_read() -> None:
    """Device, mount point with blanks, type and options."""
    text = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "//me@nas/my share on /Volumes/my share (smbfs, nodev)\n"
        "map auto\n"
    )
    assert parse_mount_output(text) == [
        Mount("apfs", "/dev/disk3s1s1", "/", ("sealed", "local", "read-only", "journaled")),
        Mount("smbfs", "//me@nas/my share", "/Volumes/my share", ("nodev",)),
    ]


FINE = {
    "ext4 /dev/sda1 rw,errors=remount-ro": "local disk",
    "ext4 /dev/sda1 rw,data=ordered": "local disk",
    "xfs /dev/sda1 rw,attr2,inode64,logbufs=8": "local disk",
    "btrfs /dev/sda1 rw,ssd,space_cache=v2": "copies on write",
    "overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w": "upper layer",
    "ceph 10.0.0.1:/ rw": "cluster",
}
LIMITS = {
    "nfs4 host:/x rw,vers=4.2,hard,local_lock=none": ["go to the server, as byte-range locks"],
    "nfs host:/x rw,vers=3,nolock,local_lock=all": [
        "network file system",
        "nolock: locks do not go to the server",
        "local_lock=all: ",
    ],
    "nfs host:/x rw,vers=3,soft,local_lock=flock": [
        "network file system",
        "soft: ",
        "local_lock=flock: ",
    ],
    "cifs //host/x rw,vers=3.1.1,nobrl": [
        "go to the server as mandatory ones",
        "nobrl: locks do not go to the server",
    ],
    "smb3 //host/x rw,nostrictsync": ["network file system", "nostrictsync: a sync does not"],
    "fuse.sshfs me@host: rw,user_id=1000": ["FUSE"],
    "fuseblk /dev/sdb1 rw,allow_other": ["FUSE"],
    "tmpfs tmpfs rw,size=1k": ["in memory"],
    "ramfs ramfs rw": ["in memory"],
    "9p share rw,trans=virtio": ["locks hold within this guest only"],
    "virtiofs share rw": ["locks hold within this guest only, unless virtiofsd"],
    "vfat /dev/sdb1 rw": ["no journal"],
    "mystery x rw": ["nothing is known"],
}
LIMITING_OPTIONS = {
    "overlay overlay rw,upperdir=/u,volatile": "volatile: no sync is done",
    "overlay overlay rw,upperdir=/u,fsync=volatile": "fsync=volatile: no sync is done",
    "ext4 /dev/sda1 rw,nobarrier": "nobarrier: the disk's cache is not flushed",
    "ext4 /dev/sda1 rw,barrier=0": "barrier=0: ",
    "ext4 /dev/sda1 rw,data=writeback": "data=writeback: ",
    "btrfs /dev/sda1 rw,nobarrier": "nobarrier: ",
    "f2fs /dev/sda1 rw,fsync_mode=nobarrier": "fsync_mode=nobarrier: ",
    "lustre host@tcp:/x rw,localflock": "localflock: ",
    "xfs /dev/sda1 ro": "ro: it is mounted read-only",
}


def mounted(tail: str) -> Mount:
    """Return the mount of a line of the mountinfo that ends so."""
    return parse_mountinfo(f"36 25 0:33 / /mnt rw,relatime - {tail}")[0]


@pytest.mark.parametrize("tail", FINE)
def test_a_file_system_that_keeps_the_promise_is_fine(tail: str) -> None:
    """One meaning, and no limit."""
    (meaning,) = meanings_of(mounted(tail))
    assert not meaning.is_limit
    assert FINE[tail] in meaning.text


@pytest.mark.parametrize("tail", LIMITS)
def test_a_file_system_that_limits_the_promise_says_how(tail: str) -> None:
    """The meaning of the file system first, then that of each option that matters."""
    meanings = meanings_of(mounted(tail))
    assert len(meanings) == len(LIMITS[tail])
    assert all(
        meaning.is_limit and text in meaning.text
        for meaning, text in zip(meanings, LIMITS[tail], strict=True)
    )


@pytest.mark.parametrize("tail", LIMITING_OPTIONS)
def test_an_option_that_limits_the_promise_says_how(tail: str) -> None:
    """Without the option, the file system would be fine."""
    meanings = meanings_of(mounted(tail))
    assert [meaning.is_limit for meaning in meanings] == [False, True]
    assert meanings[1].text.startswith(LIMITING_OPTIONS[tail])


def test_an_option_counts_only_for_the_file_systems_that_have_it() -> None:
    """`soft` and `volatile` mean nothing for another file system."""
    assert len(meanings_of(mounted("xfs x rw,soft,volatile,nolock"))) == 1
