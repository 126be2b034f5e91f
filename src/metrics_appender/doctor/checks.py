"""The experiments of the doctor, each with real processes and real files in a directory."""

from __future__ import annotations

import errno
import math
import os
import secrets
import time
from typing import TYPE_CHECKING, Final

from .report import Check

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workers import Worker, Workers

PROCESSES: Final = 4
ANSWER_SECONDS: Final = 10.0
_TURN_SECONDS: Final = 0.3
_LEAST_TURNS: Final = 50
_LEAST_HAND_OVERS: Final = 20
_MOST_ROUNDS: Final = 5
_TURNS_SECONDS: Final = 20.0
_APPENDS: Final = 200
_SYNCS: Final = 50
_TIMED_SECONDS: Final = 5.0
# Less than any disk takes for a sync; even those with a battery write to a bus.
_FASTEST_SYNC_NS: Final = 20_000
_SHOWN_AS_MS_NS: Final = 100_000
_NOT_HELD: Final = "not tried, for two processes got the same lock, or neither did"


def run_checks(workers: Workers, directory: str) -> list[Check]:
    """Run all checks in a temporary directory below this one; only the first if that one fails."""
    scratch = os.path.join(directory, f".metrics-appender-doctor-{secrets.token_hex(4)}")
    checks: list[Check] = []
    try:
        for name, check in _CHECKS.items():
            checks.append(_run(workers, name, check, scratch))
            if name == "access" and checks[0].status == "unfit":
                break
    except BaseException:
        workers.end()  # one of them may be in the middle of a command
        raise
    finally:
        checks += _remove(workers, scratch)
    return checks


def reason_of(error: OSError) -> str:
    """Return the text of an operating system's error, with the name of its errno."""
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, 'no errno')})"


def _run(
    workers: Workers, name: str, check: Callable[[Workers, str], Check], scratch: str
) -> Check:
    try:
        return check(workers, scratch)
    except OSError as error:
        workers.end()  # one of them may hang, or have sent a result that was not received
        what = "no file can be made" if name == "access" else "fails"
        return Check(name, "unfit", f"{what}: {reason_of(error)}", {"errno": error.errno})


def _remove(workers: Workers, scratch: str) -> list[Check]:
    try:
        workers.worker(0).request("remove", scratch, timeout_seconds=ANSWER_SECONDS)
    except OSError as error:
        workers.end()
        return [
            Check(
                "clean_up",
                "limit",
                f"{scratch} could not be removed: {reason_of(error)}",
                {"errno": error.errno},
            )
        ]
    except BaseException:  # interrupted by a signal: try again with a new process
        workers.end()
        workers.worker(0).request("remove", scratch, timeout_seconds=ANSWER_SECONDS)
        raise
    return []


def _check_access(workers: Workers, scratch: str) -> Check:
    try:
        workers.worker(0).request("make", scratch, timeout_seconds=ANSWER_SECONDS)
    except TimeoutError as error:  # the kernel may still complete the call after the worker's death
        raise TimeoutError(
            error.errno, f"{error.strerror}, and {os.path.basename(scratch)} may appear later"
        ) from None
    return Check("access", "ok", "files can be made and written")


def _check_exclusion(workers: Workers, scratch: str) -> Check:
    """Let processes increment a counter in one file: without exclusion, numbers appear twice."""
    path = os.path.join(scratch, "turns")
    processes = [workers.worker(number) for number in range(PROCESSES)]
    taken = 0
    for _ in range(_MOST_ROUNDS):
        for number, process in enumerate(processes):
            process.send("take_turns", path, number, _TURN_SECONDS, _LEAST_TURNS)
        taken += sum(process.receive(_TURNS_SECONDS) for process in processes)
        found = processes[0].request("count_turns", path, timeout_seconds=ANSWER_SECONDS)
        if found["hand_overs"] >= _LEAST_HAND_OVERS:
            break  # otherwise a busy machine ran them one after the other
    measured = {
        "processes": PROCESSES,
        "turns": taken,
        "hand_overs": found["hand_overs"],
        "out_of_order": found["out_of_order"],
    }
    if found["out_of_order"] or found["turns"] != taken:
        wrong = found["out_of_order"] or abs(taken - found["turns"])
        return Check(
            "exclusion",
            "unfit",
            f"locks do not exclude: of {taken:,} turns {wrong:,} were taken by two at once",
            measured,
        )
    if found["hand_overs"] < _LEAST_HAND_OVERS:
        return Check(
            "exclusion",
            "limit",
            "the processes hardly met, so this says little: try again on a calmer machine",
            measured,
        )
    counts = f"{PROCESSES} processes, {taken:,} turns, {found['hand_overs']:,} hand-overs"
    return Check("exclusion", "ok", f"{counts}: never two at once", measured)


def _check_killed_holder(workers: Workers, scratch: str) -> Check:
    """Kill a process that holds a lock while another one waits for it."""
    path = os.path.join(scratch, "held")
    holder, waiter = workers.worker(0), workers.worker(1)
    if not _is_held_from(waiter, holder, path):
        return Check("killed_holder", "unfit", _NOT_HELD)
    waiter.send("wait_lock")
    start = time.monotonic()
    workers.kill(0)
    waiter.receive(ANSWER_SECONDS)
    freed_ms = round((time.monotonic() - start) * 1000, 3)
    waiter.request("release", timeout_seconds=ANSWER_SECONDS)
    return Check(
        "killed_holder",
        "ok",
        f"the next one had the lock {freed_ms:.0f} ms after the SIGKILL",
        {"freed_ms": freed_ms},
    )


def _check_rename(workers: Workers, scratch: str) -> Check:
    """Rename a file under its lock: a process that waits for the lock has to get the new file."""
    path = os.path.join(scratch, "renamed")
    holder, waiter = workers.worker(0), workers.worker(1)
    if not _is_held_from(waiter, holder, path):
        return Check("rename", "unfit", _NOT_HELD)
    try:
        holder.request("rename", path, f"{path}.1", timeout_seconds=ANSWER_SECONDS)
    except TimeoutError:
        raise
    except OSError as error:
        workers.end()
        return Check(
            "rename",
            "limit",
            f"an open file cannot be renamed, so not rotated: {reason_of(error)}",
            {"errno": error.errno},
        )
    waiter.send("wait_lock")
    holder.request("release", timeout_seconds=ANSWER_SECONDS)
    is_new = waiter.receive(ANSWER_SECONDS)
    waiter.request("release", timeout_seconds=ANSWER_SECONDS)
    if not is_new:
        message = "a process that waits for the lock of a renamed file gets the old file"
        return Check("rename", "unfit", message)
    return Check("rename", "ok", "a process that waits for a renamed file gets the new one")


def _check_fsync(workers: Workers, scratch: str) -> Check:
    durations = _timed(workers, "time_appends", os.path.join(scratch, "appended"), _APPENDS)
    return Check(
        "fsync",
        "ok",
        f"{len(durations)} synced appends: {_percentiles_of(durations)}",
        {"appends": len(durations), **_latency_of(durations)},
    )


def _check_directory_fsync(workers: Workers, scratch: str) -> Check:
    try:
        durations = _timed(workers, "time_directory_syncs", scratch, _SYNCS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        message = (
            "a directory cannot be synced: a file that is new can lose its name by a power cut"
        )
        return Check("directory_fsync", "limit", message, {"errno": error.errno})
    return Check(
        "directory_fsync",
        "ok",
        f"{len(durations)} new files: {_percentiles_of(durations)}",
        {"syncs": len(durations), **_latency_of(durations)},
    )


def _check_flush(workers: Workers, scratch: str) -> Check:
    """Compare the time of a sync with the least that a disk needs."""
    durations = _timed(workers, "time_syncs", os.path.join(scratch, "synced"), _SYNCS)
    measured = {"syncs": len(durations), **_latency_of(durations)}
    if "eatmydata" in os.environ.get("LD_PRELOAD", ""):
        return Check(
            "flush",
            "limit",
            "this process runs under eatmydata (LD_PRELOAD), which does no syncs",
            measured,
        )
    p50 = _duration(_percentile(durations, 50))
    if _percentile(durations, 50) < _FASTEST_SYNC_NS:
        message = (
            f"warning: a sync takes {p50}, and no disk is so fast: it is acknowledged without "
            "being done (memory, a volatile cache, eatmydata), so a power cut can lose "
            "acknowledged lines"
        )
        return Check("flush", "limit", message, measured)
    return Check("flush", "ok", f"a sync alone takes {p50} (p50), as with a disk", measured)


def _is_held_from(waiter: Worker, holder: Worker, path: str) -> bool:
    """Let `holder` take the lock of a file and `waiter` fail to, with the file open in both."""
    is_held: bool = holder.request("try_lock", path, timeout_seconds=ANSWER_SECONDS)
    return is_held and not waiter.request("try_lock", path, timeout_seconds=ANSWER_SECONDS)


def _timed(workers: Workers, command: str, path: str, count: int) -> list[int]:
    durations: list[int] = workers.worker(0).request(
        command, path, count, _TIMED_SECONDS, timeout_seconds=_TIMED_SECONDS + ANSWER_SECONDS
    )
    return durations


def _percentile(durations_ns: list[int], percent: int) -> int:
    return sorted(durations_ns)[math.ceil(len(durations_ns) * percent / 100) - 1]


def _latency_of(durations_ns: list[int]) -> dict[str, float]:
    return {f"p{n}_ms": round(_percentile(durations_ns, n) / 1e6, 4) for n in (50, 99)}


def _percentiles_of(durations_ns: list[int]) -> str:
    return ", ".join(f"p{n} {_duration(_percentile(durations_ns, n))}" for n in (50, 99))


def _duration(nanoseconds: int) -> str:
    return (
        f"{nanoseconds / 1e6:.2f} ms"
        if nanoseconds >= _SHOWN_AS_MS_NS
        else f"{nanoseconds / 1e3:.1f} µs"
    )


_CHECKS: Final[dict[str, Callable[[Workers, str], Check]]] = {
    "access": _check_access,
    "exclusion": _check_exclusion,
    "killed_holder": _check_killed_holder,
    "rename": _check_rename,
    "fsync": _check_fsync,
    "directory_fsync": _check_directory_fsync,
    "flush": _check_flush,
}
