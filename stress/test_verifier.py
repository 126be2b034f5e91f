"""The verifier finds and names each kind of fault, and none in flawless files."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from . import messages, payloads, verifier

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = 6
PENDING = 6
REFUSED = 7


def encode(caller: int, number: int, payload: str | None = None) -> bytes:
    """Return a line as a writer writes it."""
    text = payloads.make(1, caller, number, 300) if payload is None else payload
    record = {"writer": caller, "number": number, "digest": payloads.digest(text), "payload": text}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def report(history: messages.History, kind: int, caller: int, number: int) -> None:
    """Have a caller report something of a line."""
    text = payloads.make(1, caller, number, 300)
    history.add(messages.Message(kind, caller, number, payloads.digest(text), 28))


@pytest.fixture
def history() -> messages.History:
    """Two callers with acknowledged lines and a refused one; the first has one more pending."""
    history = messages.History()
    for caller in (1, 2):
        for number, kind in [
            *((number, messages.ACKNOWLEDGED) for number in range(LINES)),
            (REFUSED, messages.REFUSED),
        ]:
            report(history, messages.ATTEMPT, caller, number)
            report(history, kind, caller, number)
    report(history, messages.ATTEMPT, 1, PENDING)
    return history


@pytest.fixture
def lines() -> list[bytes]:
    """The acknowledged lines of both callers in turn."""
    return [encode(caller, number) for number in range(LINES) for caller in (1, 2)]


def kinds(history: messages.History, *files: bytes) -> set[str]:
    """Return the kinds of faults of some files."""
    return {fault.kind for fault in verifier.verify(history, map(io.BytesIO, files))}


def test_flawless_files_have_no_fault(history: messages.History, lines: list[bytes]) -> None:
    """One file or several, with the pending line or without it, have no fault."""
    whole = b"".join(lines)
    assert kinds(history, whole) == set()
    assert kinds(history, whole + encode(1, PENDING)) == set()
    assert kinds(history, b"".join(lines[:5]), b"", b"".join(lines[5:])) == set()


FLAWS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "dropped": (lambda lines: lines[:4] + lines[5:], "lost"),
    "doubled": (lambda lines: [*lines[:4], lines[3], *lines[4:]], "doubled"),
    "doubled at the end": (lambda lines: [*lines, lines[0]], "doubled"),
    "torn at the end": (lambda lines: [*lines, encode(1, PENDING)[:20]], "torn"),
    "torn before the newline": (lambda lines: [*lines, encode(1, PENDING)[:-1]], "torn"),
    "torn in the middle": (lambda lines: [*lines[:4], lines[4][:30], *lines[5:]], "broken"),
    "mixed": (
        lambda lines: [*lines[:4], lines[4][:30], lines[5], lines[4][30:], *lines[6:]],
        "broken",
    ),
    "reordered": (
        lambda lines: [*lines[:2], lines[4], lines[3], lines[2], *lines[5:]],
        "reordered",
    ),
    "refused": (lambda lines: [*lines, encode(1, REFUSED)], "refused"),
    "never attempted": (lambda lines: [*lines, encode(3, 0)], "foreign"),
    "other fields": (lambda lines: [*lines, b'{"any":"record"}\n'], "foreign"),
    "an empty line": (lambda lines: [*lines, b"\n"], "broken"),
    "zeros": (lambda lines: [*lines, b"\0" * 40 + b"\n"], "broken"),
    "blanks around": (lambda lines: [*lines[:-1], b" " + lines[-1]], "broken"),
    "no UTF-8": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"writer"', b'"writ\xff"')],
        "broken",
    ),
    "NaN": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"writer":2', b'"writer":NaN')],
        "broken",
    ),
    "a field twice": (
        lambda lines: [*lines[:-1], lines[-1].replace(b"{", b'{"writer":2,', 1)],
        "broken",
    ),
    "another payload": (lambda lines: [*lines[:-1], encode(2, LINES - 1, "other")], "altered"),
    "a payload that its checksum does not fit": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"payload":"', b'"payload":"x')],
        "altered",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found_and_named(
    history: messages.History, lines: list[bytes], flaw: str
) -> None:
    """Each flaw is found by its kind; a damaged line is reported as lost as well."""
    spoil, kind = FLAWS[flaw]
    found = kinds(history, b"".join(spoil(lines)))
    assert kind in found
    assert found <= {kind, "lost", "doubled" if flaw == "mixed" else kind}


def test_order_counts_from_file_to_file(history: messages.History, lines: list[bytes]) -> None:
    """A later file must not hold an earlier line."""
    assert kinds(history, b"".join(lines[6:]), b"".join(lines[:6])) == {"reordered"}


def test_torn_bytes_belong_to_pending_lines(history: messages.History) -> None:
    """`.torn` holds pieces of lines that were never acknowledged, and all that was planted."""
    piece = encode(1, PENDING)[:60]
    assert verifier.verify_torn(history, piece + b"planted" + piece, [b"planted"]) == []
    assert [fault.kind for fault in verifier.verify_torn(history, piece, [b"planted"])] == ["lost"]
    assert [fault.kind for fault in verifier.verify_torn(history, encode(1, 0)[:-1])] == [
        "misplaced"
    ]
    assert [fault.kind for fault in verifier.verify_torn(history, encode(1, PENDING))] == [
        "misplaced"
    ]


def test_a_failure_names_its_faults(history: messages.History, lines: list[bytes]) -> None:
    """The failure lists the faults."""
    faults = verifier.verify(history, [io.BytesIO(b"".join(lines[1:]))])
    with pytest.raises(
        AssertionError, match=r"1 faults.*\n  lost: caller 1 has an acknowledgement for line 0"
    ):
        verifier.require_flawless(faults)
