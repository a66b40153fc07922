"""Draws what `benchmarks.peers --json` measured: a bar for each system, the longest the fastest.

python -m benchmarks.peers --json > peers.json
python -m benchmarks.chart peers.json docs/peers.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

CLIENTS = 32
OURS = "ragserve"
PANELS = {"search": "Searches a second", "answer": "Answers a second, 0.7 s of it the model's"}
WIDTH, MARGIN = 860, 24
LABEL_WIDTH, VALUE_WIDTH = 250, 200
ROW, BAR, PANEL_HEAD, PANEL_GAP = 30, 18, 34, 22
HEAD, FOOT = 64, 40
OURS_COLOUR, THEIRS_COLOUR = "#2563eb", "#a8b3c2"
TEXT_COLOUR, QUIET_COLOUR, PAPER = "#1c2430", "#5b6675", "#ffffff"
FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\""


@dataclass(frozen=True, slots=True)
class Bar:
    """One way to ask one system."""

    system: str
    way: str
    per_second: float
    p50_ms: float
    failed: int


def bars(rows: Sequence[Mapping[str, Any]], kind: str) -> list[Bar]:
    """The rows of a kind at `CLIENTS` clients, the fastest first."""
    found = [
        Bar(row["system"], row["how"], row["req/s"], row["p50 ms"], row["failed"])
        for row in rows
        if row["asked for"] == kind and row["c"] == CLIENTS
    ]
    return sorted(found, key=lambda bar: -bar.per_second)


def draw(result: Mapping[str, Any]) -> str:
    """The chart as SVG.

    Raises:
        ValueError: the run holds nothing at `CLIENTS` clients.
    """
    panels = {kind: bars(result["rows"], kind) for kind in PANELS}
    panels = {kind: found for kind, found in panels.items() if found}
    if not panels:
        raise ValueError(f"no row of this run has {CLIENTS} clients")
    shapes: list[str] = []
    y = HEAD
    for kind, found in panels.items():
        shapes.append(_text(MARGIN, y + 16, PANELS[kind], size=15, weight=600))
        y += PANEL_HEAD
        longest = max(bar.per_second for bar in found)
        for bar in found:
            shapes += _row(bar, y, longest)
            y += ROW
        y += PANEL_GAP
    height = y + FOOT - PANEL_GAP
    title = f"{CLIENTS} clients, the same pages, questions, embedding model and language model"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" {FONT}>',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}"/>',
            _text(MARGIN, 30, "ragserve beside LightRAG, OGX and Hayhooks", size=18, weight=700),
            _text(MARGIN, 50, title, colour=QUIET_COLOUR),
            *shapes,
            _text(MARGIN, height - 16, str(result["machine"]), size=11, colour=QUIET_COLOUR),
            "</svg>",
            "",
        ]
    )


def _row(bar: Bar, y: float, longest: float) -> list[str]:
    ours = bar.system == OURS
    left = MARGIN + LABEL_WIDTH
    room = WIDTH - MARGIN - VALUE_WIDTH - left
    length = max(2.0, room * bar.per_second / longest)
    value = f"{bar.per_second:,.0f}/s, half within {bar.p50_ms:,.0f} ms"
    if bar.failed:
        value += f", {bar.failed} failed"
    label = _text(MARGIN, y + 14, bar.system, weight=700 if ours else 500)
    way = f'<tspan dx="6" font-weight="400" fill="{QUIET_COLOUR}">{escape(bar.way)}</tspan></text>'
    colour = OURS_COLOUR if ours else THEIRS_COLOUR
    return [
        label.replace("</text>", way),
        f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3" fill="{colour}"/>',
        _text(left + length + 8, y + 14, value, size=12, weight=600 if ours else 400),
    ]


def _text(
    x: float, y: float, text: str, *, size: int = 13, weight: int = 400, colour: str = TEXT_COLOUR
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def main() -> int:
    """Read the run, write the chart."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    run, chart = map(Path, sys.argv[1:])
    chart.write_text(draw(json.loads(run.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
