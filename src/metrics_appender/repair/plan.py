"""What a repair has to write where, made from the faults of one file; nothing is written here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from .report import Change
from .split import keep_only, split_in_place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..check.classify import Span
    from ..check.report import FaultKind, LineFault
    from ..check.scan import Finding
    from ..segment.source import Source
    from .report import Action

_NEWLINE: Final = 0x0A
_SPACE: Final = 0x20


class Patch(NamedTuple):
    """What takes a line's place from `start` to `end`, its newline not included.

    Bytes of that length, spaces for `None`.
    """

    start: int
    end: int
    content: bytes | None


class Flip(NamedTuple):
    """One byte that ends or joins lines: a newline that becomes a space, or the other way round."""

    offset: int
    byte: bytes


@dataclass
class Plan:
    """What is to be done to one file.

    `aside` are the stretches that go to `.torn` first. `patches` change lines, `flips` make them
    lines or join them, and are made last. `moved` are the objects that become lines at the end of
    the log. With `is_cut` nothing is left in the file, and all of it goes aside and is cut off, as
    a torn tail is.
    """

    changes: list[Change] = field(default_factory=list)
    aside: list[tuple[int, int]] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    flips: list[Flip] = field(default_factory=list)
    moved: list[bytes] = field(default_factory=list)
    is_cut: bool = False

    def has_work(self) -> bool:
        """Whether anything is to be written."""
        return any(change.action != "left" for change in self.changes)


def make_plan(
    source: Source,
    found: Iterable[Finding],
    end: int,
    keep: Collection[FaultKind],
    *,
    is_sealed: bool,
) -> Plan:
    """Plan for the faults of one file, whose whole lines end at `end`.

    Faults of the kinds in `keep` are left.

    A sealed segment keeps its length: it is not cut, neither behind its last line nor to nothing.
    What is no more than an empty line then stays.
    """
    plan = Plan()
    blanked: list[LineFault] = []
    for fault, _, pieces in found:
        if fault.kind in keep:
            plan.changes.append(Change(fault, "left", "as told"))
        elif fault.kind == "torn_tail" and not is_sealed:
            plan.changes.append(Change(fault, "cut"))
        elif is_sealed and source.size == 1:
            plan.changes.append(
                Change(fault, "left", "all there is in its segment, which keeps its length")
            )
        elif good := [span for span, verdict in pieces if verdict is None or verdict.kind in keep]:
            _plan_to_split(
                plan,
                fault,
                source.read_at(fault.length, fault.byte_offset),
                good,
                is_all=len(good) == len(pieces),
            )
        else:
            plan.changes.append(Change(fault, "put_aside"))
            plan.aside.append((fault.byte_offset, fault.byte_offset + fault.length + 1))
            plan.patches.append(Patch(fault.byte_offset, fault.byte_offset + fault.length, None))
            blanked.append(fault)
    _plan_to_join(plan, blanked, end)
    if is_sealed:
        plan.is_cut = False
    elif plan.is_cut:
        return Plan(plan.changes, is_cut=True)
    return plan


def _plan_to_split(
    plan: Plan, fault: LineFault, line: bytes, good: list[Span], *, is_all: bool
) -> None:
    start = fault.byte_offset
    new = split_in_place(line, good)
    action: Action = "moved" if new is None else "split"
    if new is None:
        new = bytes(keep_only(line, good[:1]))
        plan.moved += [line[span.start : span.end] for span in good[1:]]
    newlines = [place for place, byte in enumerate(new) if byte == _NEWLINE]
    detail = (
        f"{len(good)} objects"
        if is_all
        else f"{len(good)} objects; what else is in the line is put aside"
    )
    plan.changes.append(Change(fault, action, detail))
    plan.flips += [Flip(start + place, b"\n") for place in newlines]
    before = bytearray(line)
    for place in newlines:
        before[place] = _SPACE
    content = new.replace(b"\n", b" ")
    if content != before:  # else white space becomes a newline, and that is all
        plan.aside.append((start, start + fault.length + 1))
        plan.patches.append(Patch(start, start + fault.length, content))


def _plan_to_join(plan: Plan, blanked: list[LineFault], end: int) -> None:
    """Let the spaces that take a line's place belong to the line behind them, or before them where none follows.

    The last byte of the file stays a newline, or becomes one. Where the whole file would be spaces
    it is cut.
    """
    run_start = -1
    for fault in blanked:
        newline = fault.byte_offset + fault.length
        if fault.kind == "torn_tail":
            newline -= 1
            end = newline + 1
            plan.flips.append(Flip(newline, b"\n"))
        if run_start < 0 or plan.flips[-1].offset != fault.byte_offset - 1:
            run_start = fault.byte_offset
        if newline + 1 < end:
            plan.flips.append(Flip(newline, b" "))
        elif run_start > 0:
            plan.flips.append(Flip(run_start - 1, b" "))
        else:
            plan.is_cut = True
