"""The results as one static picture.

SVG with a ground of its own, light or dark as the reader's screen is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from .panel import GAP, PANEL_WIDTH, draw_panel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import Results

_MARGIN: Final = 24
_HEAD: Final = 96
_WIDTH: Final = 2 * PANEL_WIDTH + GAP + 2 * _MARGIN
# GitHub shows the picture on a page whose theme it cannot see; with its own ground it is readable
# on both.
_STYLE: Final = """
svg { --ground: #ffffff; --edge: #d1d9e0; --text: #1f2328; --quiet: #59636e;
  --ours: #0969da; --peer: #8c959f; --bare: #424a53; }
@media (prefers-color-scheme: dark) {
svg { --ground: #0d1117; --edge: #3d444d; --text: #f0f6fc; --quiet: #9198a1;
  --ours: #4493f8; --peer: #656c76; --bare: #d1d7e0; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
  fill: var(--text); font-variant-numeric: tabular-nums; }
.ground { fill: var(--ground); stroke: var(--edge); } .title { font-size: 17px; font-weight: 600; }
.race { font-size: 13px; font-weight: 600; } .quiet { fill: var(--quiet); font-size: 11px; }
.end { text-anchor: end; } .us { font-weight: 600; fill: var(--ours); }
.ours { fill: var(--ours); stroke: var(--ours); } .peer { fill: var(--peer); stroke: var(--peer); }
.bare { fill: var(--bare); stroke: var(--bare); }
.loose { fill-opacity: 0.3; } .range { stroke: var(--text); stroke-opacity: 0.55; }
.one { stroke: var(--edge); stroke-dasharray: 3 2; }
"""
_LEGEND: Final = (
    ("ours", "this library, durable"),
    ("ours loose", "not durable"),
    ("peer", "others, durable"),
    ("peer loose", "not durable"),
    ("bare", "bare system calls, and what else each is compared with"),
)


def draw(results: Results) -> str:
    """Return an SVG document with a panel for each race in which two ran."""
    ends = [_HEAD, _HEAD]
    panels = []
    for race in results.races:
        if sum(bool(entry.runs) for entry in race.entries) < 2:
            continue  # nothing to compare
        column = ends.index(min(ends))
        height, body = draw_panel(race)
        left = _MARGIN + column * (PANEL_WIDTH + GAP)
        panels.append(f'<g transform="translate({left} {ends[column]})">{body}</g>')
        ends[column] += height + GAP
    return "\n".join(_document(results, max(ends), panels)) + "\n"


def _document(results: Results, height: int, panels: list[str]) -> Iterator[str]:
    title = (
        "Rate, as a ratio within each round: "
        f"median and range of {results.rounds} rounds of {results.seconds:g} s"
    )
    where = f"{results.date}; {results.machine}"
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    edge = f'width="{_WIDTH - 1}" height="{height - 1}" rx="8"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    yield f'<rect class="ground" x="0.5" y="0.5" {edge}/>'
    yield f'<text class="title" x="{_MARGIN}" y="34">{escape(title)}</text>'
    yield f'<text class="quiet" x="{_MARGIN}" y="54">{escape(where)}</text>'
    place = _MARGIN
    for kind, text in _LEGEND:
        yield f'<rect class="{kind}" x="{place}" y="66" width="14" height="10"/>'
        yield f'<text class="quiet" x="{place + 20}" y="75">{escape(text)}</text>'
        place += 20 + 7 * len(text) + 18
    yield f'<text class="quiet" x="{place}" y="75">* not for several processes</text>'
    yield from panels
    yield "</svg>"
