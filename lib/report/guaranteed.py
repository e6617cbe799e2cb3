"""The index's section about guarantees: for which target, what is left of them elsewhere, and how often they miss."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.core.files import RecordError, Row
from lib.core.params import ParamsError
from lib.data.study_data import DEV, DEV_HUMAN, TEST
from lib.decision import candidates, guarantee
from lib.decision.candidates import Candidates
from lib.decision.guarantee import CONFIDENCE
from lib.evaluation.prices import Prices

TARGETS = (0.9, 0.95, 0.97, 0.98, 0.99)
DRAWN = [round(0.8 + 0.005 * i, 3) for i in range(40)]
"""The targets of the chart."""
WIDTH, HEIGHT, LEFT, BASE, TOP = 340, 210, 40, 160, 14
LINES = (LEFT + 150, "unbounded", "#D55E00", "without"), (LEFT, "missed", "#0072B2", "with the bound")


def section(folder: Path, answers: pd.DataFrame, prices: Prices) -> Row:
    """What the section shows of a report's folder and its records; {} if what it needs is not all there."""
    if answers.empty:
        return {}
    try:
        found = candidates.of(answers, candidates.rows(folder), candidates.parent(folder), prices)
        kept = guarantee.kept(found.on(DEV), found.reference)
    except (RecordError, ParamsError):
        return {}
    names = [name for name in guarantee.cheaper(found.usd, found.reference) if name in kept]
    if not names or kept.empty:
        return {}
    missed = guarantee.resampled(kept[names], found.usd, DRAWN)
    rows = [row(found, target) for target in TARGETS]
    worst = {name: float(missed[name].max()) for name in ("missed", "unbounded")}
    shown: Row = {"rows": rows, "n": len(kept), "reference": found.reference, "worst": worst}
    shown["systems"] = [name for name in names if candidates.ROUTED not in name]
    shown["cascades"] = len(names) - len(shown["systems"])
    return {**shown, "confidence": CONFIDENCE, "draws": guarantee.DRAWS, "drawing": _drawing(missed)}


def row(found: Candidates, target: float) -> Row:
    """A target: the system, its bound, what n allows, and ``elsewhere``, by test, what it does there."""
    choice = guarantee.choose(found.on(DEV), found.reference, target, found.usd)
    least = guarantee.least_n(target, guarantee.ERROR / max(1, len(choice.table)))
    known = {"target": target, "least": least, "best": choice.best, "system": choice.system}
    if not choice.system:
        return known
    own = choice.table.set_index("system").loc[choice.system]
    others = {test: found.on(test) for test in (TEST, DEV_HUMAN)}
    elsewhere = {test: guarantee.verify(part, choice) for test, part in others.items() if len(part)}
    return {**known, **own[["n", "lost", "low", "most_lost"]].to_dict(), "elsewhere": elsewhere}


def _drawing(missed: pd.DataFrame) -> str:
    """How often the choice misses its target, with the bound and without, as SVG that fits a phone."""
    most = max(0.1, float(missed["unbounded"].max()), float(missed["missed"].max()))
    ends = missed["target"].min(), missed["target"].max()

    def across(target: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 12) * (target - ends[0]) / (ends[1] - ends[0]), 1)

    def down(share: float) -> float:
        return round(BASE - (BASE - TOP) * share / most, 1)

    def line(column: str, colour: str) -> str:
        points = " ".join(f"{across(x)},{down(y)}" for x, y in zip(missed["target"], missed[column], strict=True))
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'

    parts = []
    for y in (0.0, most / 2, most):
        parts += [f'<path class="grid" d="M{LEFT} {down(y)}H{WIDTH - 12}"/>']
        parts += [f'<text x="{LEFT - 4}" y="{down(y) + 4}" text-anchor="end">{100 * y:.0f}%</text>']
    for x in (0.8, 0.85, 0.9, 0.95):
        parts += [f'<text x="{across(x)}" y="{BASE + 16}" text-anchor="middle">{100 * x:.0f}%</text>']
    parts += [f'<path stroke="#000" stroke-dasharray="4 3" d="M{LEFT} {down(1 - CONFIDENCE)}H{WIDTH - 12}"/>']
    parts += [f'<text x="{LEFT}" y="{BASE + 34}">target (dashed: the 5% that may miss)</text>']
    for x, column, colour, text in LINES:
        parts += [line(column, colour), f'<path stroke="{colour}" stroke-width="3" d="M{x} {BASE + 45}h18"/>']
        parts += [f'<text x="{x + 23}" y="{BASE + 49}">{text}</text>']
    alt = f"Share of choices that miss their target: at most {100 * missed['missed'].max():.1f}% with the bound, "
    alt += f"up to {100 * missed['unbounded'].max():.1f}% without."
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f'<svg role="img" aria-label="{alt}" {size}>{"".join(parts)}</svg>'
