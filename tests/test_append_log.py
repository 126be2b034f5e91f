"""AppendLog: the steps of an append, and what becomes of the line when one of them fails."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from metrics_appender import AppendLog, ClosedError, InvalidRecordError, MetricsAppenderError

if TYPE_CHECKING:
    from pathlib import Path

STEPS = ("openat", "stat", "flock", "stat", "pread64", "write", "fsync", "flock", "close")


def trace(script: str, *arguments: str) -> list[str]:
    """Return a script's system calls after the line `mark` was written, as strace prints them."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = ["strace", "-f", "-qq", "-e", "signal=none", sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr and "ptrace" in done.stderr:
        pytest.skip("ptrace is not permitted here")
    assert done.returncode == 0, done.stderr[-2000:]
    calls = [line for line in done.stderr.splitlines() if "(" in line]
    first, last = [index for index, line in enumerate(calls) if '"mark' in line]
    return calls[first + 1 : last]


APPEND_ONCE = """
import os, sys
from metrics_appender import AppendLog
log = AppendLog(sys.argv[1], durability=sys.argv[2])
for _ in range(int(sys.argv[3])):
    log.append({"warm": "up"})
os.write(1, b"mark")
log.append({"any": "record"})
os.write(1, b"mark")
"""


def names(calls: list[str]) -> tuple[str, ...]:
    """Return the names of traced calls; the variants of stat(2) count as one."""
    found = (line.split("(")[0].split()[-1] for line in calls)
    return tuple("stat" if "stat" in name else name for name in found)


def test_an_append_is_these_system_calls_and_no_other(path: str) -> None:
    """An append opens, locks, checks, writes once, syncs, releases and closes."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("{}\n")
    assert names(trace(APPEND_ONCE, path, "fsync", "0")) == STEPS


def test_an_append_without_sync_lacks_only_the_sync(path: str) -> None:
    """The durability "os" leaves out the fsync, and does not read a tail that no other changed."""
    expected = tuple(name for name in STEPS if name not in {"fsync", "pread64"})
    assert names(trace(APPEND_ONCE, path, "os", "1")) == expected


def test_a_grouped_append_syncs_after_the_release(path: str) -> None:
    """The durability "group" makes the same calls in another order."""
    expected = ("openat", "stat", "flock", "stat", "write", "flock", "fsync", "close")
    assert names(trace(APPEND_ONCE, path, "group", "1")) == expected


def test_an_append_costs_the_same_on_ten_gigabytes(path: str) -> None:
    """Calls and bytes do not grow with the file, of which only the last megabyte is read."""
    with open(path, "wb") as file:
        file.truncate(10 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"{}\n" * 500_000)
    calls = [
        call
        for call in trace(APPEND_ONCE, path, "fsync", "0")
        if not re.search(r"\b(mmap|munmap|mremap|brk)\(", call)
    ]
    assert names(calls) == STEPS
    assert [call for call in calls if "pread64" in call and f", {1 << 20}, " in call]


def test_the_name_of_a_new_file_is_durable_before_its_first_line(path: str) -> None:
    """The directory is synced while the file is empty: a file with lines has a durable name."""
    assert names(trace(APPEND_ONCE, path, "fsync", "0")) == (
        *("openat", "stat", "flock", "stat"),
        *("stat", "openat", "fsync", "close"),
        *("write", "fsync", "flock", "close"),
    )


def test_a_record_is_one_line_of_utf8(log: AppendLog, path: str) -> None:
    """The file holds the JSON object and a newline, with letters as they are."""
    log.append({"who": "Zoë", "n": 1, "deep": {"list": [None, True, 0.5]}})
    with open(path, encoding="utf-8") as file:
        assert file.read() == '{"who":"Zoë","n":1,"deep":{"list":[null,true,0.5]}}\n'


def test_a_new_file_has_the_mode_0644_less_the_umask(log: AppendLog, path: str) -> None:
    """Others may read the file, and only its owner writes to it; the umask counts."""
    before = os.umask(0o027)
    try:
        log.append({})
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """A link planted in the directory does not lead the line elsewhere."""
    target = tmp_path / "target"
    target.touch()
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links") as caught:
        AppendLog(link).append({})
    assert caught.value.errno == errno.ELOOP
    assert target.read_bytes() == b""


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A pipe cannot keep the promise, so nothing is written to it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        AppendLog(pipe).append({})
    with pytest.raises(IsADirectoryError) as caught:
        AppendLog(tmp_path).append({})
    assert caught.value.__notes__ == [f"{tmp_path}: nothing was written"]


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    """A log makes no directories: a mistyped path is an error, not a new tree."""
    with pytest.raises(FileNotFoundError) as caught:
        AppendLog(tmp_path / "missing" / "file").append({})
    assert "nothing was written" in caught.value.__notes__[0]
    assert caught.value.filename == str(tmp_path / "missing" / "file")


def test_a_relative_path_is_fixed_when_the_log_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that changes its working directory goes on with the same file."""
    monkeypatch.chdir(tmp_path)
    log = AppendLog("events.ndjson")
    monkeypatch.chdir("/")
    log.append({})
    assert (tmp_path / "events.ndjson").read_bytes() == b"{}\n"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"durability": ["group"]}, "durability"),
        ({"durability": "never"}, "durability"),
        ({"durability": None}, "durability"),
        ({"lock_timeout": -1}, "lock_timeout"),
        ({"lock_timeout": float("nan")}, "lock_timeout"),
        ({"lock_timeout": "30"}, "lock_timeout"),
        ({"lock_timeout": True}, "lock_timeout"),
        ({"lock_timeout": 10**400}, "lock_timeout"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    path: str, arguments: dict[str, Any], field: str
) -> None:
    """The error is a `ValueError` that names the argument."""
    with pytest.raises(ValueError, match=field) as caught:
        AppendLog(path, **arguments)
    assert isinstance(caught.value, InvalidRecordError)


def test_a_path_of_bytes_names_the_same_file(path: str) -> None:
    """A path of bytes means the same as for `open`, and its torn tail is recovered too."""
    with open(path, "wb") as file:
        file.write(b"torn")
    AppendLog(os.fsencode(path)).append({})  # type: ignore[arg-type]  # not in the signature
    assert AppendLog(path).read() == [{}]


def test_a_record_that_json_cannot_hold_opens_nothing(log: AppendLog, path: str) -> None:
    """Every wrong value is named, and no file is made."""
    record: Any = {"a": float("nan"), "b": {1, 2}, 3: "c", "d": "\ud800"}
    with pytest.raises(InvalidRecordError) as caught:
        log.append(record)
    assert [fault.field for fault in caught.value.faults] == [
        "record.a",
        "record.b",
        "a key of record",
        "record.d",
    ]
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b" \n", b"{}", b"{}\n{}\n", b"\n\n", b"{}\n ", "{}\n", memoryview(b"{}\n")]
)
def test_append_line_takes_one_line(log: AppendLog, path: str, line: Any) -> None:
    """A line without its newline at the end only is refused before anything is opened."""
    with pytest.raises(InvalidRecordError, match="one line"):
        log.append_line(line)
    assert not os.path.exists(path)


def test_after_close_an_append_is_refused(path: str) -> None:
    """`close` may be called again, and reading goes on."""
    log = AppendLog(path)
    log.append({"n": 1})
    log.close()
    log.close()
    with pytest.raises(ClosedError) as caught:
        log.append({"n": 2})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MetricsAppenderError)
    assert log.read() == [{"n": 1}]


def test_a_pickled_log_appends_to_the_same_file(log: AppendLog) -> None:
    """A spawned worker gets the same file and the same options."""
    twin = pickle.loads(pickle.dumps(log))
    log.append({"n": 1})
    twin.append({"n": 2})
    assert log.read() == [{"n": 1}, {"n": 2}]
    assert repr(twin) == repr(log)


def test_threads_share_a_log(log: AppendLog) -> None:
    """Every line is there once, each thread's in the order of its calls."""

    def work(thread: int) -> None:
        for n in range(50):
            log.append({"thread": thread, "n": n})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = log.read()
    assert len(records) == 400
    for number in range(8):
        assert [record["n"] for record in records if record["thread"] == number] == list(range(50))


FILE_SIZE_LIMIT = """
import json, resource, sys
from metrics_appender import AppendLog
log = AppendLog(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
log.append({"n": 1})
try:
    log.append({"pad": "x" * 200})
except OSError as error:
    print(json.dumps([error.errno, error.filename, error.__notes__]))
log.append({"n": 2})
"""


def test_a_file_size_limit_leaves_nothing_of_the_line(path: str) -> None:
    """A line that does not fit is cut back whole, with its errno; a shorter one is written."""
    done = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, path], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [errno.EFBIG, path, [f"{path}: nothing was written"]]
    with open(path, "rb") as file:
        assert file.read() == b'{"n":1}\n{"n":2}\n'


def test_running_out_of_descriptors_is_an_error_of_its_own(log: AppendLog) -> None:
    """With no descriptor left an append raises EMFILE; with one again it goes on."""
    log.append({"n": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            log.append({"n": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "nothing was written" in caught.value.__notes__[0]
    log.append({"n": 3})
    assert log.read() == [{"n": 1}, {"n": 3}]
