"""The system calls: short writes, leases, new directories, and what a file system lacks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender.fs import calls as fs_calls

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("step", [1, 3, 7])
def test_a_short_write_is_continued(path: str, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """However little the system writes at a time, every byte is written once."""
    real = os.write
    monkeypatch.setattr(fs_calls, "write", lambda fd, data: real(fd, data[:step]))
    fd = fs_calls.open_append(path)
    assert fs_calls.write_all(fd, b"0123456789") == 10
    fs_calls.close(fd)
    with open(path, "rb") as file:
        assert file.read() == b"0123456789"


def test_a_write_of_no_bytes_without_an_error_means_a_full_disk(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not repeated for ever."""
    real = os.write
    monkeypatch.setattr(
        fs_calls, "write", lambda fd, data: real(fd, data[:4]) if len(data) == 10 else 0
    )
    fd = fs_calls.open_append(path)
    with pytest.raises(OSError, match="No space") as caught:
        fs_calls.write_all(fd, b"0123456789")
    assert caught.value.errno == errno.ENOSPC
    fs_calls.close(fd)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="no leases on this system")
def test_a_lease_on_a_file_is_waited_for(path: str) -> None:
    """A file server may hold one; the kernel asks it to give the lease up."""
    holder = fs_calls.open_append(path)
    before = signal.signal(
        signal.SIGIO, lambda *_: fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    )
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with ThreadPoolExecutor() as pool:  # because this thread has to handle the signal
            fs_calls.close(pool.submit(fs_calls.open_read, path).result())
    finally:
        signal.signal(signal.SIGIO, before)
        fs_calls.close(holder)


def test_directories_are_made_with_their_parents_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new directory, and an empty one that may be new, is synced into its parent."""
    synced: list[str] = []
    monkeypatch.setattr(fs_calls, "sync_directory", synced.append)
    (tmp_path / "file").touch()
    fs_calls.make_directory(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    fs_calls.make_directory(str(tmp_path / "a" / "b"))
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a")]
    fs_calls.make_directory(str(tmp_path / "a"))
    assert len(synced) == 3


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    """It is neither replaced nor taken for a directory."""
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        with pytest.raises(NotADirectoryError) as caught:
            fs_calls.make_directory(str(tmp_path / name))
        assert caught.value.filename == str(tmp_path / name)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_cannot_sync_directories_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It returns EINVAL; any other error is raised."""

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, fd: int) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fs_calls, "os", Refusing())
    if number == errno.EINVAL:
        fs_calls.sync_directory(str(tmp_path))
    else:
        with pytest.raises(OSError, match="Input/output error"):
            fs_calls.sync_directory(str(tmp_path))
