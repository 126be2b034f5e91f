"""One race as a panel of the picture.

A bar for each contender, its range, and how even and how patient it was.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from .figures import short
from .results import evenness_of, longest_of, rate_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import Entry, RaceResult

PANEL_WIDTH: Final = 540
GAP: Final = 28
_ROW: Final = 20
_HEAD: Final = 40
_BAR_START: Final = 216
_BAR_LENGTH: Final = 150
_EVEN_END: Final = 466


def draw_panel(race: RaceResult) -> tuple[int, str]:
    """Return the panel's height, and it as SVG with its corner at the origin."""
    entries = [entry for entry in race.entries if entry.runs]
    longest = max(max(race.ratios(entry, rate_of)) for entry in entries)
    scale = _BAR_LENGTH / longest
    # Whether processes were to share: a reader or a single writer is not even or uneven.
    is_shared = any(evenness_of(run) < 1 for entry in entries for run in entry.runs)
    lines = [*_head(race, len(entries), scale, is_shared=is_shared)]
    for number, entry in enumerate(entries):
        lines += _bar(race, entry, _HEAD + number * _ROW, scale, is_shared=is_shared)
    return _HEAD + len(entries) * _ROW, "".join(lines)


def _head(race: RaceResult, count: int, scale: float, *, is_shared: bool) -> Iterator[str]:
    yield f'<text class="race" x="0" y="14">{escape(race.name)}</text>'
    yield f'<text class="quiet" x="{_BAR_START}" y="32">rate, x</text>'
    if is_shared:
        yield f'<text class="quiet end" x="{_EVEN_END}" y="32">slowest/fastest</text>'
    yield f'<text class="quiet end" x="{PANEL_WIDTH}" y="32">longest</text>'
    one = _BAR_START + scale
    bottom = _HEAD + count * _ROW
    yield f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{_HEAD - 2}" y2="{bottom}"/>'


def _bar(
    race: RaceResult, entry: Entry, top: int, scale: float, *, is_shared: bool
) -> Iterator[str]:
    ratios = race.ratios(entry, rate_of)
    ratio = statistics.median(ratios)
    low, high = (_BAR_START + scale * ratios[0], _BAR_START + scale * ratios[-1])
    base = top + 14
    name = entry.contender + (" *" if entry.is_process_safe is False else "")
    style = "end us" if _is_ours(entry) else "end"
    corner = f'x="{_BAR_START}" y="{top + 4}"'
    yield f'<text class="{style}" x="{_BAR_START - 8}" y="{base}">{escape(name)}</text>'
    yield f'<rect class="{_kind(entry)}" {corner} width="{scale * ratio:.1f}" height="12"/>'
    yield f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{top + 10}" y2="{top + 10}"/>'
    yield f'<text x="{high + 6:.1f}" y="{base}">{short(ratio)}</text>'
    if is_shared:
        evenness = statistics.median(map(evenness_of, entry.runs))
        yield f'<text class="end" x="{_EVEN_END}" y="{base}">{evenness:.2f}</text>'
    milliseconds = 1000 * statistics.median(map(longest_of, entry.runs))
    yield f'<text class="end" x="{PANEL_WIDTH}" y="{base}">{short(milliseconds)} ms</text>'


def _is_ours(entry: Entry) -> bool:
    return entry.side == "ours" and not entry.is_baseline


def _kind(entry: Entry) -> str:
    if entry.is_baseline:
        return "bare"
    return entry.side + (" loose" if entry.is_durable is False and entry.side != "bare" else "")
