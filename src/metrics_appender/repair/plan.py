"""Planning a repair: from the faults of one file, what is to be written where."""

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
    """New content of the same length for a line, without its newline; `None` means spaces."""

    start: int
    end: int
    content: bytes | None


class Flip(NamedTuple):
    """One byte that splits or joins lines: a space becomes a newline, or a newline a space."""

    offset: int
    byte: bytes


@dataclass
class Plan:
    """What is to be done to one file.

    Attributes:
        changes: What becomes of each fault.
        quarantined: The ranges of bytes that are copied to `.torn` first.
        patches: New content for lines.
        flips: Newlines to be set or removed, after the patches.
        moved: Objects that become lines at the end of the log.
        is_cut: Nothing valid is in the file: all of it moves to `.torn`, as a torn tail does.
    """

    changes: list[Change] = field(default_factory=list)
    quarantined: list[tuple[int, int]] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    flips: list[Flip] = field(default_factory=list)
    moved: list[bytes] = field(default_factory=list)
    is_cut: bool = False

    def has_work(self) -> bool:
        """Whether anything is to be written."""
        return any(change.action != "left" for change in self.changes)


def make_plan(
    source: Source,
    findings: Iterable[Finding],
    end: int,
    keep: Collection[FaultKind],
    *,
    is_sealed: bool,
) -> Plan:
    """Plan what to do about the faults of one file, whose last whole line ends at `end`.

    Faults of the kinds in `keep` are left. A sealed segment keeps its length, so its torn tail
    becomes white space, and a segment of one empty line is left as it is.
    """
    plan = Plan()
    blanked: list[LineFault] = []
    for fault, _, pieces in findings:
        if fault.kind in keep:
            plan.changes.append(Change(fault, "left", "as told"))
        elif fault.kind == "torn_tail" and not is_sealed:
            plan.changes.append(Change(fault, "cut"))
        elif is_sealed and source.size == 1:
            plan.changes.append(
                Change(fault, "left", "all there is in its segment, which keeps its length")
            )
        elif good := [span for span, verdict in pieces if verdict is None or verdict.kind in keep]:
            _plan_split(
                plan,
                fault,
                source.read_at(fault.length, fault.byte_offset),
                good,
                is_all=len(good) == len(pieces),
            )
        else:
            plan.changes.append(Change(fault, "put_aside"))
            plan.quarantined.append((fault.byte_offset, fault.byte_offset + fault.length + 1))
            plan.patches.append(Patch(fault.byte_offset, fault.byte_offset + fault.length, None))
            blanked.append(fault)
    _plan_joins(plan, blanked, end)
    if is_sealed:
        plan.is_cut = False
    elif plan.is_cut:
        return Plan(plan.changes, is_cut=True)
    return plan


def _plan_split(
    plan: Plan, fault: LineFault, line: bytes, good: list[Span], *, is_all: bool
) -> None:
    start = fault.byte_offset
    new = split_in_place(line, good)
    action: Action = "moved" if new is None else "split"
    if new is None:
        new = bytes(keep_only(line, good[:1]))
        plan.moved += [line[span.start : span.end] for span in good[1:]]
    newlines = [index for index, byte in enumerate(new) if byte == _NEWLINE]
    detail = (
        f"{len(good)} objects"
        if is_all
        else f"{len(good)} objects; what else is in the line is put aside"
    )
    plan.changes.append(Change(fault, action, detail))
    plan.flips += [Flip(start + index, b"\n") for index in newlines]
    before = bytearray(line)
    for index in newlines:
        before[index] = _SPACE
    content = new.replace(b"\n", b" ")
    if content != before:  # otherwise the flips alone do it: white space becomes a newline
        plan.quarantined.append((start, start + fault.length + 1))
        plan.patches.append(Patch(start, start + fault.length, content))


def _plan_joins(plan: Plan, blanked: list[LineFault], end: int) -> None:
    """Join each blanked line to the next line, or to the previous one at the end of the file.

    The last byte of the file stays a newline, or becomes one. A file that would only hold spaces is
    cut instead.
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
