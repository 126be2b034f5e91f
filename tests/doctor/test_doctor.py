"""The doctor: on this file system, on those that root can mount, and with broken locks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from metrics_appender.cli.doctor import doctor, show_report
from metrics_appender.cli.failures import PlainErrors
from metrics_appender.doctor import check_filesystem, checks, examine, workers
from metrics_appender.doctor.report import Check, FilesystemReport, Status
from metrics_appender.doctor.workers import Worker, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = [
    "file_system",
    "mount_options",
    "access",
    "exclusion",
    "killed_holder",
    "rename",
    "fsync",
    "directory_fsync",
    "flush",
    "open_limit",
    "free_room",
]
SHARED_MEMORY = "/dev/shm"
IMAGE_BYTES = 300 << 20  # the least that mkfs.xfs accepts

app = typer.Typer(cls=PlainErrors, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(doctor)
app.command("other")(lambda: None)


def invoke(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], env={"COLUMNS": "80"})


def found(report: FilesystemReport) -> dict[str, Check]:
    """Return a report's checks by name."""
    return {check.name: check for check in report.checks}


@contextlib.contextmanager
def mounted(directory: Path, *arguments: str) -> Iterator[str]:
    """Mount something below a directory, and unmount it in any case."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    mount_point = directory / "mounted"
    mount_point.mkdir()
    done = subprocess.run(
        ["mount", *arguments, str(mount_point)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot be mounted here: {done.stderr.strip()}")
    try:
        yield str(mount_point)
    finally:
        if subprocess.run(["umount", str(mount_point)], check=False).returncode:
            subprocess.run(["umount", "-l", str(mount_point)], check=True)


@contextlib.contextmanager
def mounted_image(
    directory: Path, kind: str, options: str, size: int = IMAGE_BYTES
) -> Iterator[str]:
    """Mount a new file system of this type from an image file."""
    if os.geteuid() != 0 or shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"only root can mount, and mkfs.{kind} is needed")
    image = directory / "disk.img"
    image.touch()
    os.truncate(image, size)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    with mounted(directory, "-o", f"loop,{options}", str(image)) as mount_point:
        yield mount_point
    image.unlink()


# What is found


def test_a_directory_is_checked_and_left_as_it_was(tmp_path: Path) -> None:
    """Every check runs, in order, and what locks and syncs do here is right."""
    (tmp_path / "mine").write_text("untouched")
    report = check_filesystem(tmp_path)
    results = found(report)
    assert list(results) == NAMES
    assert [results[name].status for name in NAMES[2:8]] == ["ok"] * 6
    assert report.directory == os.path.realpath(tmp_path)
    assert results["exclusion"].measured["turns"] >= checks.PROCESSES * 50
    assert results["fsync"].measured["appends"] == 200
    assert 0 < results["fsync"].measured["p50_ms"] <= results["fsync"].measured["p99_ms"]
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_disk_with_a_journal_is_found_to_work(tmp_path: Path, kind: str) -> None:
    """Its type and its options are reported; the exit status is 0."""
    with mounted_image(tmp_path, kind, "noatime") as mount_point:
        report = check_filesystem(mount_point)
    assert (report.file_system, report.mount_point) == (kind, mount_point)
    assert "noatime" in report.mount_options
    assert (report.verdict, report.exit_status) == ("works", 0), report


def test_memory_works_with_limits() -> None:
    """Its locks work, but its syncs write nothing: the type says so, and so does the time."""
    if not os.path.isdir(SHARED_MEMORY):
        pytest.skip(f"no {SHARED_MEMORY} here")
    before = os.listdir(SHARED_MEMORY)
    report = check_filesystem(SHARED_MEMORY)
    assert report.file_system == "tmpfs"
    assert (report.verdict, report.exit_status) == ("works with limits", 1)
    assert [name for name, check in found(report).items() if check.status != "ok"] == [
        "file_system",
        "flush",
    ]
    assert "warning" in found(report)["flush"].message
    assert [
        name for name in os.listdir(SHARED_MEMORY) if "doctor" in name and name not in before
    ] == []


def test_an_overlay_without_syncs_is_found_by_its_option_and_by_the_time(tmp_path: Path) -> None:
    """A real overlay, mounted volatile."""
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    options = (
        f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work,volatile"
    )
    with mounted(tmp_path, "-t", "overlay", "-o", options, "overlay") as mount_point:
        report = check_filesystem(mount_point)
    assert report.file_system == "overlay"
    assert [name for name, check in found(report).items() if check.status != "ok"] == [
        "mount_options",
        "flush",
    ]


def test_a_disk_that_is_read_only_is_not_to_be_used(tmp_path: Path) -> None:
    """The reason is reported, and no further check is run."""
    with mounted_image(tmp_path, "ext4", "ro", 16 << 20) as mount_point:
        report = check_filesystem(mount_point)
    results = found(report)
    assert (report.verdict, report.exit_status) == ("do not use", 2)
    assert results["access"].message == "no file can be made: Read-only file system (EROFS)"
    assert results["mount_options"].message == "ro: it is mounted read-only"
    assert "exclusion" not in results


@pytest.mark.parametrize(("free_bytes", "free_inodes"), [(3_000_000, 10_000), (10**9, 12)])
def test_little_free_space_is_reported(free_bytes: int, free_inodes: int) -> None:
    """It is a limit; a file system that does not count inodes has no limit on them."""
    check = examine._check_room({"free_bytes": free_bytes, "free_inodes": free_inodes})
    assert (check.status, check.message) == (
        "limit",
        f"only room for {free_bytes / 1e6:,.0f} MB and {free_inodes:,} files",
    )
    assert (
        examine._check_room({"free_bytes": 10**9, "free_inodes": None}).message
        == "room for 1,000 MB"
    )


def test_a_low_limit_of_open_files_is_reported(tmp_path: Path) -> None:
    """`ulimit -n 40` is enough for the doctor, but tight for a program."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
from metrics_appender.doctor import check_filesystem
checks = check_filesystem({str(tmp_path)!r}).checks
print(next(check.status for check in checks if check.name == "open_limit"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("limit\n", "")


def test_eatmydata_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recognized by its name: its syncs may take as long as those of a fast disk."""
    monkeypatch.setenv("LD_PRELOAD", os.environ.get("LD_PRELOAD", "") + " libeatmydata.so")
    with Workers(examine.LOCK) as processes:
        check = checks._check_flush(processes, str(tmp_path))
    assert check.status == "limit"
    assert "eatmydata" in check.message


def test_a_path_that_is_no_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Nothing is made then."""
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError) as missing:
        check_filesystem(tmp_path / "missing")
    assert missing.value.filename == str(tmp_path / "missing")
    with pytest.raises(NotADirectoryError):
        check_filesystem(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_it_can_be_called_by_a_program_without_a_main_guard(tmp_path: Path) -> None:
    """Its workers do not run the program, and import by the program's `sys.path`."""
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from metrics_appender.doctor import check_filesystem\n"
        "print(check_filesystem(sys.argv[1]).exit_status)\n"
    )
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-W", "error", "-P", "-c", code]
    command += [str(tmp_path / "program.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout in {"0\n", "1\n"}


def test_importing_the_package_loads_nothing_of_what_the_checks_need() -> None:
    """The entry point imports nothing else."""
    heavy = ("subprocess", "selectors", "multiprocessing", "resource")
    code = (
        "import sys, metrics_appender.doctor; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Locks that are broken on purpose

BROKEN_LOCKS = """
import time
from metrics_appender.fs import calls
from metrics_appender.fs.lock import FileLock

class NoLock(FileLock):
    def __init__(self, path):
        super().__init__(path)
        self._flock = lambda fd, how: None

class OldFileLock(FileLock):
    "Does not check whether the file was renamed."
    def acquire(self, how):
        if self.fd < 0:
            self.fd = calls.open_append(self.path)
        try:
            self._flock(self.fd, how)
        except BlockingIOError:
            return False
        self.size = calls.size_of(self.fd)
        return True

class NeverLock(FileLock):
    def acquire(self, how):
        time.sleep(3600)

class UnsupportedLock(FileLock):
    def __init__(self, path):
        super().__init__(path)
        def flock(fd, how):
            raise OSError(38, "Function not implemented")
        self._flock = flock
"""


@pytest.fixture
def broken_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module of broken locks that the workers can import too, and return its name."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "broken_locks.py").write_text(BROKEN_LOCKS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return "broken_locks"


def unfit(directory: Path, lock: str) -> dict[str, str]:
    """Check a directory with another lock, and return which checks are unfit, and why."""
    directory.mkdir()
    report = examine.examine(str(directory), lock)
    assert os.listdir(directory) == []
    return {check.name: check.message for check in report.checks if check.status == "unfit"}


def test_a_lock_that_does_not_exclude_is_caught(tmp_path: Path, broken_locks: str) -> None:
    """By lost increments, not by a single try."""
    failed = unfit(tmp_path / "metrics", f"{broken_locks}:NoLock")
    assert list(failed) == ["exclusion", "killed_holder", "rename"]
    assert failed["exclusion"].startswith("locks do not exclude: of ")


def test_a_waiter_that_gets_the_renamed_file_is_caught(tmp_path: Path, broken_locks: str) -> None:
    """Its records would go to a file that no reader looks for."""
    failed = unfit(tmp_path / "metrics", f"{broken_locks}:OldFileLock")
    assert failed == {
        "rename": "a process that waits for the lock of a renamed file gets the old file"
    }


def test_a_file_system_without_locks_is_not_to_be_used(tmp_path: Path, broken_locks: str) -> None:
    """The system's own error is reported."""
    failed = unfit(tmp_path / "metrics", f"{broken_locks}:UnsupportedLock")
    assert failed == dict.fromkeys(
        ["exclusion", "killed_holder", "rename"], "fails: Function not implemented (ENOSYS)"
    )


def test_a_check_that_hangs_is_given_up_and_the_others_run(
    tmp_path: Path, broken_locks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wait has a deadline; the workers that hang are killed, and their files removed."""
    monkeypatch.setattr(checks, "_TURNS_SECONDS", 0.01)
    monkeypatch.setattr(checks, "_is_held_from", lambda *arguments: False)
    failed = unfit(tmp_path / "metrics", f"{broken_locks}:NeverLock")
    assert failed["exclusion"] == "fails: no answer within 0.01 s (ETIMEDOUT)"
    assert list(failed) == ["exclusion", "killed_holder", "rename"]


def test_a_directory_that_does_not_answer_is_not_to_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mount is reported all the same, by the path alone."""
    monkeypatch.setattr(examine, "ANSWER_SECONDS", 0.0)
    report = check_filesystem(tmp_path)
    assert report.exit_status == 2
    reason = "the directory cannot be opened: no answer within 0 s (ETIMEDOUT)"
    assert found(report)["access"].message == reason
    assert report.file_system != "unknown" or sys.platform != "linux"


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_disk_that_hangs_does_not_hang_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is frozen: a process that writes there cannot even be killed before it thaws."""
    if shutil.which("fsfreeze") is None:
        pytest.skip("fsfreeze is needed")
    monkeypatch.setattr(checks, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(workers, "_END_SECONDS", 0.2)
    with mounted_image(tmp_path, "ext4", "rw", 16 << 20) as mount_point:
        subprocess.run(["fsfreeze", "-f", mount_point], check=True)
        try:
            report = check_filesystem(mount_point)
        finally:
            subprocess.run(["fsfreeze", "-u", mount_point], check=True)
    assert report.exit_status == 2
    assert found(report)["access"].message.startswith(
        "no file can be made: no answer within 2 s, and .metrics-appender-doctor-"
    )


def test_a_worker_that_dies_is_reported_with_its_last_line_of_stderr() -> None:
    """The reason is not lost."""
    with (
        Workers("no_such_module:Lock") as processes,
        pytest.raises(ChildProcessError, match="No module named 'no_such_module'"),
    ):
        processes.worker(0).request("survey", "/", timeout_seconds=60.0)


def test_an_interrupted_check_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C in the middle of a check, its files are removed."""

    def interrupt(*arguments: object) -> None:
        assert os.listdir(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "_latency_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check_filesystem(tmp_path)
    assert os.listdir(tmp_path) == []


# The command


def report_of(*checks: Check) -> FilesystemReport:
    """Return a report with these checks."""
    return FilesystemReport("/data/métrics", "nfs4", "host:/x", "/data", ("rw", "vers=4.2"), checks)


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (("ok", "ok"), "works"),
        (("ok", "limit"), "works with limits"),
        (("unfit", "limit"), "do not use"),
    ],
)
def test_the_exit_status_is_that_of_the_worst_check(
    statuses: tuple[Status, ...], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is 0, 1 or 2, and the last line says why."""
    report = report_of(
        *(Check(f"check_{number}", status, "a sentence") for number, status in enumerate(statuses))
    )
    monkeypatch.setattr("metrics_appender.cli.doctor.check_filesystem", lambda path: report)
    done = invoke("/data")
    assert done.exit_code == ["works", "works with limits", "do not use"].index(verdict)
    assert f"Verdict: {verdict} (" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_table_names_the_mount_and_every_check() -> None:
    """Messages are plain text, never markup for Rich."""
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - closed below
    show_report(console, report_of(Check("free_room", "limit", "[red]only 3 MB")))
    console.file.close()
    shown = console.export_text()
    assert "file system: nfs4 (host:/x), mounted on /data" in shown
    assert "mount options: rw, vers=4.2" in shown
    assert "free room   limit   [red]only 3 MB" in shown


def test_json_is_one_object_with_the_verdict_first(tmp_path: Path) -> None:
    """It has the documented keys, and the same exit status as the table."""
    done = invoke(tmp_path, "--json")
    facts = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert list(facts) == [
        "verdict",
        "exit_status",
        "directory",
        "file_system",
        "source",
        "mount_point",
        "mount_options",
        "checks",
    ]
    assert facts["exit_status"] == done.exit_code
    assert [check["name"] for check in facts["checks"]] == NAMES
    keys = ["name", "status", "message", "measured"]
    assert all(list(check) == keys for check in facts["checks"])


def test_a_missing_directory_ends_with_status_2(tmp_path: Path) -> None:
    """It is named; nothing is made, and nothing is on standard output."""
    done = invoke(tmp_path / "missing")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "missing" in done.stderr
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_written_it_ends_with_status_2() -> None:
    """Not even root can make a file in /proc."""
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc here")
    done = invoke("/proc")
    assert done.exit_code == 2
    assert "no file can be made" in done.stdout
    assert "Verdict: do not use (access)" in done.stdout


def test_without_a_directory_it_checks_where_the_metrics_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the nearest directory that exists; none is made."""

    def check(path: str) -> FilesystemReport:
        if not os.path.isdir(path):
            raise FileNotFoundError(2, "No such file or directory", path)
        checked.append(path)
        return report_of(Check("access", "ok", ""))

    checked: list[str] = []
    monkeypatch.setenv("METRICS_APPENDER_DIR", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr("metrics_appender.cli.doctor.check_filesystem", check)
    assert invoke().exit_code == 0
    assert checked == [str(tmp_path)]
    assert os.listdir(tmp_path) == []


def test_without_worker_processes_nothing_is_reported_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status is 2, and the message says what is missing."""
    monkeypatch.setattr(sys, "executable", "/no/python")
    done = invoke(tmp_path)
    assert done.exit_code == 2
    assert done.stderr == "metrics-appender: not checked: /no/python: No such file or directory\n"


def test_an_interrupted_removal_is_done_by_a_new_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the last moment: the temporary directory is removed all the same."""
    request, requested = Worker.request, []

    def interrupted(self: Worker, command: str, *arguments: Any, timeout_seconds: float) -> Any:
        if command == "remove":
            requested.append(command)
            if len(requested) == 1:
                raise KeyboardInterrupt
        return request(self, command, *arguments, timeout_seconds=timeout_seconds)

    monkeypatch.setattr(Worker, "request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_filesystem(tmp_path)
    assert os.listdir(tmp_path) == []
