"""The verifier: the writers' reports against the bytes of the files, with no code under test."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, NoReturn

from . import payloads

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from .messages import History

_LINE_FIELDS: Final = {"writer", "number", "digest", "payload"}
_EVENT_FIELDS: Final = {
    *("event_id", "timestamp", "timestamp_iso", "skill_name", "from_state", "to_state"),
    *("approver", "approval_ticket", "reason", "automated_checks", "event_type"),
}
_TORN_START: Final = re.compile(rb'\{"writer":(\d+),"number":(\d+),"digest":"([0-9a-f]{16})"')
_SHOWN: Final = 20


class Fault(NamedTuple):
    """One broken promise.

    `broken, torn, foreign, altered, refused, doubled, reordered, lost` or `misplaced`.
    """

    kind: str
    detail: str


class Mark(NamedTuple):
    """The caller and the number of a line."""

    caller: int
    number: int


class UnfitError(Exception):
    """A line that no writer of the scenario can have written."""


def verify(history: History, segments: Iterable[BinaryIO]) -> list[Fault]:
    """Return every fault of the files, given in the order in which they were written to.

    Every acknowledged line has to be there once, whole, in its caller's order; a pending one may be
    there once and whole; anything else is a fault.
    """
    faults: list[Fault] = []
    found: dict[int, list[int]] = {}
    for name, line in _lines(segments):
        try:
            mark = _accept(line, history)
        except UnfitError as unfit:
            kind, detail = unfit.args
            faults.append(Fault(kind, f"{name}: {detail}: {line[:80]!r}"))
        else:
            found.setdefault(mark.caller, []).append(mark.number)
    for caller, numbers in found.items():
        faults.extend(_disorder(caller, numbers))
    for caller, expected in history.acknowledged.items():
        missing = sorted(expected.keys() - set(found.get(caller, ())))
        faults.extend(
            Fault("lost", f"caller {caller} has an acknowledgement for line {number}")
            for number in missing
        )
    return faults


def verify_torn(history: History, torn: bytes, planted: Sequence[bytes] = ()) -> list[Fault]:
    """Return every fault of `.torn`: it may hold pieces of pending lines, and holds all planted."""
    faults: list[Fault] = []
    for piece in planted:
        if piece not in torn:
            faults.append(Fault("lost", f"torn bytes were not quarantined: {piece[:80]!r}"))
        torn = torn.replace(piece, b"", 1)
    if b"\n" in torn:
        faults.append(Fault("misplaced", "a whole line was quarantined"))
    for start in _TORN_START.finditer(torn):
        caller, number = int(start[1]), int(start[2])
        if history.pending.get(caller) != (number, start[3].decode()):
            piece_of = f"line {number} of caller {caller}, which was not pending"
            faults.append(Fault("misplaced", f"a piece of {piece_of}, was quarantined"))
    return faults


def require_flawless(faults: Sequence[Fault]) -> None:
    """Raise an `AssertionError` that names the faults, unless there are none."""
    if faults:
        listed = "".join(f"\n  {fault.kind}: {fault.detail}" for fault in faults[:_SHOWN])
        raise AssertionError(f"{len(faults)} faults, the first of them:{listed}")


def verify_files(history: History, paths: Iterable[str | os.PathLike[str]]) -> list[Fault]:
    """Verify files by their names, in the order in which they were written to."""
    with contextlib.ExitStack() as opened:
        return verify(history, [opened.enter_context(open(path, "rb")) for path in paths])


def read_mark(line: bytes) -> Mark:
    """Return the mark of a line.

    Raises `UnfitError` for a line that is not whole or does not match its checksum.
    """
    return _checked(_parsed(line))[0]


def _lines(segments: Iterable[BinaryIO]) -> Iterator[tuple[str, bytes]]:
    for index, segment in enumerate(segments):
        for number, line in enumerate(segment, 1):
            yield f"file {index}, line {number}", line


def _accept(line: bytes, history: History) -> Mark:
    mark, digest = _checked(_parsed(line))
    expected = history.may_be_there(*mark)
    if expected is None:
        if mark.number in history.refused.get(mark.caller, {}):
            raise UnfitError(
                "refused",
                f"{mark} raised {history.refused[mark.caller][mark.number]}, and is there",
            )
        raise UnfitError("foreign", f"{mark} was never attempted")
    if digest != expected:
        raise UnfitError("altered", f"{mark} is another line than the one that was attempted")
    return mark


def _parsed(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise UnfitError("torn", "no newline at the end")
    if not (line.startswith(b"{") and line.endswith(b"}\n")):
        raise UnfitError("broken", "not an object from the first byte to the last")
    try:
        record = json.loads(
            line.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
        )
    except ValueError as error:
        raise UnfitError("broken", str(error)) from None
    assert isinstance(record, dict)
    return record


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a field stands twice")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _checked(record: dict[str, Any]) -> tuple[Mark, str]:
    inner: Any = record
    if "automated_checks" in record:
        if set(record) != _EVENT_FIELDS:
            raise UnfitError("foreign", f"an event with the fields {sorted(record)}")
        inner = record["automated_checks"]
    if not isinstance(inner, dict) or set(inner) != _LINE_FIELDS:
        raise UnfitError("foreign", "not the fields that were written")
    if payloads.digest(inner["payload"]) != inner["digest"]:
        raise UnfitError("altered", "the payload does not fit its checksum")
    return Mark(inner["writer"], inner["number"]), inner["digest"]


def _disorder(caller: int, numbers: list[int]) -> Iterator[Fault]:
    seen: set[int] = set()
    last = -1
    for number in numbers:
        if number in seen:
            yield Fault("doubled", f"line {number} of caller {caller}")
        elif number < last:
            yield Fault(
                "reordered", f"line {number} of caller {caller} stands after its line {last}"
            )
        seen.add(number)
        last = max(last, number)
