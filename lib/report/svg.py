"""A chart of cost and quality as SVG in the page: real text, one drawing for wide screens and one for phones."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from lib.core.files import Row

SHAPES = {
    "o": "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z",
    "s": "M-5-5H5V5H-5Z",
    "^": "M0-6L6 5H-6Z",
    "D": "M0-6L6 0 0 6-6 0Z",
    "v": "M0 6L6-5H-6Z",
    "P": "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "X": "M-6-4-4-6 0-2 4-6 6-4 2 0 6 4 4 6 0 2-4 6-6 4-2 0Z",
    "*": "M0-7L2-2H7L3 1 5 6 0 3-5 6-3 1-7-2H-2Z",
}
"""Paths of matplotlib's markers that lib.report.charts uses."""
TOP, LEFT, BOTTOM, LINE = 12, 34, 40, 17


def scatter(points: Sequence[Row], front: Sequence[Row], width: int, label: str, alt: str, stepped: bool = True) -> str:
    """Accuracy in percent over a cost on a log axis, each system named on the right, with a line: the Pareto front.

    ``points``: system, x (above 0), accuracy, low, high (shares in [0, 1]), look (colour, marker). ``width``: pixels;
    ``stepped``: the line keeps its height up to the next point, and to the right end.
    """
    right = width - 22 - 6.6 * max(len(p["system"]) for p in points)
    height = TOP + BOTTOM + max(280, LINE * len(points))
    base, floor = height - BOTTOM, math.floor(min(p["low"] for p in points) * 10) / 10
    low, high = (math.log10(end(p["x"] for p in points)) + more for end, more in ((min, -0.1), (max, 0.1)))

    def across(x: float) -> float:
        return round(LEFT + (right - 14 - LEFT) * (math.log10(x) - low) / (high - low), 1)

    def down(share: float) -> float:
        return round(base - (base - TOP) * (share - floor) / (1 - floor), 1)

    parts = []
    for y in (y for y in range(0, 101, 20 if floor < 0.5 else 10) if y >= 100 * floor):
        parts += [f'<path class="grid" d="M{LEFT} {down(y / 100)}H{right - 10:.0f}"/>']
        parts += [f'<text x="{LEFT - 4}" y="{down(y / 100) + 4}" text-anchor="end">{y}</text>']
    for x in _ticks(low, high, int((right - LEFT) / 44)):
        parts += [f'<path class="grid" d="M{across(x)} {TOP}V{base}"/>']
        parts += [f'<text x="{across(x)}" y="{base + 15}" text-anchor="middle">${x:,.10g}</text>']
    kind = "H{}V{}" if stepped else "L{} {}"
    steps = "".join(kind.format(across(p["x"]), down(p["accuracy"])) for p in front[1:])
    start = f"M{across(front[0]['x'])} {down(front[0]['accuracy'])}"
    parts += [f'<path class="front" d="{start}{steps}{f"H{right - 10:.0f}" if stepped else ""}"/>']
    parts += [f'<text x="{LEFT}" y="{height - 6}">{html.escape(label)}</text>']
    ranked = sorted(points, key=lambda p: (-p["accuracy"], p["x"]))
    for i, p in enumerate(ranked):
        line, x = round(TOP + 4 + (base - TOP) * (i + 0.5) / len(ranked)), across(p["x"])
        parts += [f'<path stroke="{p["look"][0]}" d="M{x} {down(p["low"])}V{down(p["high"])}"/>']
        parts += [_marker(p, x, down(p["accuracy"])), _marker(p, right, line - 4)]
        parts += [f'<text x="{right + 12:.0f}" y="{line}">{html.escape(p["system"])}</text>']
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    kind = "wide" if width > 480 else "narrow"
    return f'<svg class="{kind}" role="img" aria-label="{html.escape(alt)}" {size}>{"".join(parts)}</svg>'


def _marker(point: Row, x: float, y: float) -> str:
    colour, marker = point["look"]
    return f'<path fill="{colour}" transform="translate({x:.1f} {y})" d="{SHAPES[marker]}"/>'


def _ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` round numbers between two powers of ten, evenly spaced on a log axis."""
    fine = [n * 10.0**e for e in range(math.floor(low), math.ceil(high)) for n in (1, 2, 5)]
    inside = [x for x in fine if low <= math.log10(x) <= high]
    tens = [10.0**e for e in range(math.ceil(low), math.floor(high) + 1)]
    found = inside if len(inside) <= most else tens
    return found[:: math.ceil(len(found) / most)] if found else inside[:most]
