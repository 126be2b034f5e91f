"""Torn tails of every kind: quarantined byte for byte, and appends continue."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from metrics_appender import AppendLog
from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs import filename

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = b'{"n":1}\n{"n":2}\n'
TORN = {
    "half a line": b'{"n":3,"text":"hal',
    "a whole record without its newline": b'{"n":3}',
    "half a character": '{"who":"Zoë'.encode()[:-1],
    "a run of NULs": b"\0" * 4096,
    "a line and NULs": b'{"n":3' + b"\0" * 700,
    "megabytes without a newline": b"x" * (3 << 20),
    "one byte": b"{",
}


def read(path: str) -> bytes:
    """Return a file's bytes."""
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize("before", [WHOLE, b""], ids=["after lines", "the whole file"])
@pytest.mark.parametrize("torn", TORN.values(), ids=TORN.keys())
def test_an_append_after_a_torn_line_keeps_both(path: str, before: bytes, torn: bytes) -> None:
    """Write, break, recover, append more, read all; the torn bytes are in `.torn`."""
    with open(path, "wb") as file:
        file.write(before + torn)
    log = AppendLog(path)
    log.append({"n": "after"})
    log.append({"n": "more"})
    assert read(path) == before + b'{"n":"after"}\n{"n":"more"}\n'
    assert read(path + ".torn") == torn
    assert AppendLog(path).read(limit=2) == [{"n": "after"}, {"n": "more"}]


@pytest.mark.parametrize("content", [b"", WHOLE])
def test_a_whole_file_is_left_as_it_is(path: str, content: bytes) -> None:
    """Where nothing is torn, nothing is quarantined."""
    with open(path, "wb") as file:
        file.write(content)
    AppendLog(path).append({"n": 3})
    assert read(path) == content + b'{"n":3}\n'
    assert not os.path.exists(path + ".torn")


def test_later_torn_bytes_are_appended(path: str) -> None:
    """`.torn` is never overwritten, and the same log notices what others wrote since its append."""
    log = AppendLog(path)
    for torn in (b"first", b"second"):
        log.append({})
        with open(path, "ab") as file:
            file.write(torn)
    log.append({})
    assert read(path) == b"{}\n" * 3
    assert read(path + ".torn") == b"firstsecond"


def test_the_tail_of_another_file_of_the_same_length_is_checked(path: str) -> None:
    """A file that was replaced is checked again."""
    log = AppendLog(path)
    log.append({"n": 1})
    os.rename(path, path + ".1")
    with open(path, "wb") as file:
        file.write(b'{"n":1} ')
    log.append({"n": 2})
    assert read(path) == b'{"n":2}\n'
    assert read(path + ".torn") == b'{"n":1} '


def test_a_name_of_255_bytes_has_a_torn_file_too(tmp_path: Path) -> None:
    """Where `.torn` does not fit, the name is cut, and a digest is added."""
    paths = [str(tmp_path / ("ü" * 124 + f"{number:07}")) for number in (1, 2)]
    for path in paths:
        assert len(os.fsencode(os.path.basename(path))) == 255
        with open(path, "wb") as file:
            file.write(b"torn")
        AppendLog(path).append({})
        assert read(path) == b"{}\n"
        assert read(filename.torn_path(path)) == b"torn"
    assert filename.torn_path(paths[0]) != filename.torn_path(paths[1])


def test_a_tail_that_cannot_be_quarantined_is_not_cut_off(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append fails, and both files are as before."""
    with open(path, "wb") as file:
        file.write(b"{}\ntorn")
    with open(path + ".torn", "wb") as file:
        file.write(b"earlier")

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(fs_calls, "sync_file", fail)
        with pytest.raises(OSError, match="Input/output error") as caught:
            AppendLog(path).append({})
    assert "nothing was written" in caught.value.__notes__[0]
    assert read(path) == b"{}\ntorn"
    assert read(path + ".torn") == b"earlier"
    AppendLog(path).append({"n": 1})
    assert read(path) == b'{}\n{"n":1}\n'
    assert read(path + ".torn") == b"earliertorn"


def test_a_tail_that_cannot_be_cut_off_is_not_quarantined_twice(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is append-only, as after `chattr +a`; later the torn bytes are in `.torn` once."""
    with open(path, "wb") as file:
        file.write(b'{"n":1}\n{"n":')
    log = AppendLog(path)
    cut_back = fs_calls.cut_back

    def refuse(fd: int, size: int) -> None:
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        cut_back(fd, size)

    with monkeypatch.context() as patch:
        patch.setattr(fs_calls, "cut_back", refuse)
        for _ in range(3):
            with pytest.raises(PermissionError, match="not permitted"):
                log.append({"n": 2})
    log.append({"n": 3})
    assert log.read() == [{"n": 1}, {"n": 3}]
    assert read(filename.torn_path(path)) == b'{"n":'


def test_a_file_that_was_truncated_and_has_grown_since_is_checked_again(path: str) -> None:
    """The end of the log's own last line is in the middle of a torn one now."""
    log = AppendLog(path)
    log.append({"n": 0, "text": "x" * 100})
    os.truncate(path, 0)
    torn = b'{"n":1,"text":"' + b"y" * 300 + bytes(50)
    with open(path, "ab") as file:
        file.write(torn)
    log.append({"n": 2})
    assert log.read() == [{"n": 2}]
    assert read(filename.torn_path(path)) == torn
