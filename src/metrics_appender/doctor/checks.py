"""What the doctor tries in a directory, each with real processes and real files.

What came of it.
"""

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

    from .workers import Crew, ProbeProcess

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


def try_all(crew: Crew, directory: str) -> list[Check]:
    """Try everything in a new directory inside this one, which is removed afterwards.

    Only the first where no file can be made.
    """
    place = os.path.join(directory, f".metrics-appender-doctor-{secrets.token_hex(4)}")
    checks: list[Check] = []
    try:
        for name, attempt in _TRIES.items():
            checks.append(_guarded(crew, name, attempt, place))
            if name == "access" and checks[0].status == "unfit":
                break
    except BaseException:
        crew.end()  # in the middle of something
        raise
    finally:
        checks += _remove(crew, place)
    return checks


def reason_of(error: OSError) -> str:
    """Return an operating system's error as a person reads it, with its name."""
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, 'no errno')})"


def _guarded(crew: Crew, name: str, attempt: Callable[[Crew, str], Check], place: str) -> Check:
    try:
        return attempt(crew, place)
    except OSError as error:
        crew.end()  # one of them may be hanging, or have an answer left that nobody waits for
        what = "no file can be made" if name == "access" else "fails"
        return Check(name, "unfit", f"{what}: {reason_of(error)}", {"errno": error.errno})


def _remove(crew: Crew, place: str) -> list[Check]:
    try:
        crew.member(0).ask("remove", place, timeout_seconds=ANSWER_SECONDS)
    except OSError as error:
        crew.end()
        return [
            Check(
                "clean_up",
                "limit",
                f"{place} could not be removed: {reason_of(error)}",
                {"errno": error.errno},
            )
        ]
    except BaseException:  # a signal in the middle of it: once more, by a new process
        crew.end()
        crew.member(0).ask("remove", place, timeout_seconds=ANSWER_SECONDS)
        raise
    return []


def _try_access(crew: Crew, place: str) -> Check:
    try:
        crew.member(0).ask("make", place, timeout_seconds=ANSWER_SECONDS)
    except (
        TimeoutError
    ) as error:  # what a process has asked of the kernel, its death does not take back
        raise TimeoutError(
            error.errno, f"{error.strerror}, and {os.path.basename(place)} may appear later"
        ) from None
    return Check("access", "ok", "files can be made and written")


def _try_exclusion(crew: Crew, place: str) -> Check:
    """Have processes count up in one file at once: without exclusion, numbers come twice."""
    path = os.path.join(place, "turns")
    members = [crew.member(number) for number in range(PROCESSES)]
    taken = 0
    for _ in range(_MOST_ROUNDS):
        for number, member in enumerate(members):
            member.tell("take_turns", path, number, _TURN_SECONDS, _LEAST_TURNS)
        taken += sum(member.answer(_TURNS_SECONDS) for member in members)
        found = members[0].ask("count_turns", path, timeout_seconds=ANSWER_SECONDS)
        if found["hand_overs"] >= _LEAST_HAND_OVERS:
            break  # else a busy machine let them run one after the other
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
    message = f"{PROCESSES} processes, {taken:,} turns, {found['hand_overs']:,} hand-overs: never two at once"
    return Check("exclusion", "ok", message, measured)


def _try_killed_holder(crew: Crew, place: str) -> Check:
    """Kill a process that holds a lock while another waits for it."""
    path = os.path.join(place, "held")
    holder, waiter = crew.member(0), crew.member(1)
    if not _is_held_from(waiter, holder, path):
        return Check("killed_holder", "unfit", _NOT_HELD)
    waiter.tell("wait_lock")
    start = time.monotonic()
    crew.kill(0)
    waiter.answer(ANSWER_SECONDS)
    freed_ms = round((time.monotonic() - start) * 1000, 3)
    waiter.ask("release", timeout_seconds=ANSWER_SECONDS)
    return Check(
        "killed_holder",
        "ok",
        f"the next one had the lock {freed_ms:.0f} ms after the SIGKILL",
        {"freed_ms": freed_ms},
    )


def _try_rename(crew: Crew, place: str) -> Check:
    """Rename a file under its lock while another process waits for that.

    It has to end up with the new file.
    """
    path = os.path.join(place, "renamed")
    holder, waiter = crew.member(0), crew.member(1)
    if not _is_held_from(waiter, holder, path):
        return Check("rename", "unfit", _NOT_HELD)
    try:
        holder.ask("rename", path, f"{path}.1", timeout_seconds=ANSWER_SECONDS)
    except TimeoutError:
        raise
    except OSError as error:
        crew.end()
        return Check(
            "rename",
            "limit",
            f"an open file cannot be renamed, so not rotated: {reason_of(error)}",
            {"errno": error.errno},
        )
    waiter.tell("wait_lock")
    holder.ask("release", timeout_seconds=ANSWER_SECONDS)
    is_new = waiter.answer(ANSWER_SECONDS)
    waiter.ask("release", timeout_seconds=ANSWER_SECONDS)
    if not is_new:
        return Check(
            "rename", "unfit", "who waits for the lock of a file that is renamed gets the old file"
        )
    return Check("rename", "ok", "who waits for a file that is renamed gets the new one")


def _try_fsync(crew: Crew, place: str) -> Check:
    took = _timed(crew, "time_appends", os.path.join(place, "appended"), _APPENDS)
    return Check(
        "fsync",
        "ok",
        f"{len(took)} synced appends: {_told(took)}",
        {"appends": len(took), **_latency_of(took)},
    )


def _try_directory_fsync(crew: Crew, place: str) -> Check:
    try:
        took = _timed(crew, "time_directory_syncs", place, _SYNCS)
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
        f"{len(took)} new files: {_told(took)}",
        {"syncs": len(took), **_latency_of(took)},
    )


def _try_flush(crew: Crew, place: str) -> Check:
    """Compare a sync alone with what disks take."""
    took = _timed(crew, "time_syncs", os.path.join(place, "synced"), _SYNCS)
    measured = {"syncs": len(took), **_latency_of(took)}
    if "eatmydata" in os.environ.get("LD_PRELOAD", ""):
        return Check(
            "flush",
            "limit",
            "this process runs under eatmydata (LD_PRELOAD), which does no syncs",
            measured,
        )
    p50 = _duration(_percentile(took, 50))
    if _percentile(took, 50) < _FASTEST_SYNC_NS:
        message = (
            f"warning: a sync takes {p50}, and no disk is so fast: it is acknowledged without being done "
            "(memory, a volatile cache, eatmydata), so a power cut can lose acknowledged lines"
        )
        return Check("flush", "limit", message, measured)
    return Check("flush", "ok", f"a sync alone takes {p50} (p50), as with a disk", measured)


def _is_held_from(waiter: ProbeProcess, holder: ProbeProcess, path: str) -> bool:
    """Have one take a file's lock, and the other try.

    It has the file open then, as a waiter has.
    """
    is_held: bool = holder.ask("try_lock", path, timeout_seconds=ANSWER_SECONDS)
    return is_held and not waiter.ask("try_lock", path, timeout_seconds=ANSWER_SECONDS)


def _timed(crew: Crew, command: str, path: str, number: int) -> list[int]:
    took: list[int] = crew.member(0).ask(
        command, path, number, _TIMED_SECONDS, timeout_seconds=_TIMED_SECONDS + ANSWER_SECONDS
    )
    return took


def _percentile(took_ns: list[int], part: int) -> int:
    return sorted(took_ns)[math.ceil(len(took_ns) * part / 100) - 1]


def _latency_of(took_ns: list[int]) -> dict[str, float]:
    return {f"p{part}_ms": round(_percentile(took_ns, part) / 1e6, 4) for part in (50, 99)}


def _told(took_ns: list[int]) -> str:
    return ", ".join(f"p{part} {_duration(_percentile(took_ns, part))}" for part in (50, 99))


def _duration(nanoseconds: int) -> str:
    return (
        f"{nanoseconds / 1e6:.2f} ms"
        if nanoseconds >= _SHOWN_AS_MS_NS
        else f"{nanoseconds / 1e3:.1f} µs"
    )


_TRIES: Final[dict[str, Callable[[Crew, str], Check]]] = {
    "access": _try_access,
    "exclusion": _try_exclusion,
    "killed_holder": _try_killed_holder,
    "rename": _try_rename,
    "fsync": _try_fsync,
    "directory_fsync": _try_directory_fsync,
    "flush": _try_flush,
}
