"""The figures of a comparison, each with its alternative text (data: lib.evaluation.comparison)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lib.core.files import Row
from lib.evaluation.comparison import ALL, drawn, overall
from lib.report import charts
from lib.report.charts import describe

Shown = tuple[Figure, str]


def comparison(rows: pd.DataFrame, test: str) -> dict[str, Shown]:
    """cost_quality, latency and levels of the systems of ``rows`` that are to be shown, on ``test``."""
    rows = drawn(rows, rows)
    whole = overall(rows, test)
    levels = rows[(rows["test"] == test) & (rows["level"] != ALL)]
    timed = whole[whole["usd_per_million"].notna()]
    usd, times = describe(timed, "usd_per_million", "dollars"), describe(timed, "p50_ms", "ms")
    by_level = charts.levels(levels, f"Accuracy by level of difficulty ({test}, 95% intervals)")
    return {
        "cost_quality": _cost_quality(timed, test, whole, f" Cost of a million requests: {usd}."),
        "latency": (charts.latency(timed, f"Time to answer one request ({test})"), f"Chart of median times: {times}."),
        "levels": (
            by_level,
            f"Chart of accuracy by level for {', '.join(whole['system'])}; the table has the figures.",
        ),
    }


def _cost_quality(rows: pd.DataFrame, test: str, whole: pd.DataFrame, more: str = "") -> Shown:
    title = f"Cost versus quality ({test}, n = {int(whole['n'].max())}, 95% intervals)"
    alt = f"Chart of accuracy against cost. Exactly right on {test}: {describe(rows, 'accuracy', '%', 100)}.{more}"
    return charts.tradeoff(rows, "usd_per_million", "cost of a million requests (US dollars)", title), alt


def published(rows: pd.DataFrame, test: str, accuracies: Mapping[str, float], hosted: pd.DataFrame) -> Shown:
    """cost_quality on ``test`` with hosted models added: published accuracy (no interval), price from ``hosted``.

    ``accuracies``: model to share in [0, 1]; models without a price are left out.
    """
    whole = overall(drawn(rows, rows), test)
    extra = hosted[hosted["model"].isin(list(accuracies))]
    share = extra["model"].map(dict(accuracies))
    extra = extra.assign(system=extra["model"] + " (published)", accuracy=share, low=share, high=share)
    both = pd.concat([whole, extra], ignore_index=True)
    return _cost_quality(both[both["usd_per_million"].notna()], test, whole)


def frontier(rows: pd.DataFrame) -> dict[str, Shown]:
    """frontier_size and frontier_latency of lib.evaluation.comparison.frontier."""
    sides = {
        "frontier_size": ("size_mb", "file size (MB)", "Size", "MB"),
        "frontier_latency": ("p50_ms", "median time per request, its context in the cache (ms)", "Time", "ms"),
    }
    return {name: _frontier(rows, *side) for name, side in sides.items()}


def _frontier(rows: pd.DataFrame, x: str, label: str, title: str, unit: str) -> Shown:
    front = ", ".join(charts.pareto(rows, x)["system"])
    each = [
        f"{r['system']} ({r['step']}) {r[x]:.3g} {unit}, {r['accuracy'] * 100:.1f} %" for r in rows.to_dict("records")
    ]
    title = f"{title} against accuracy (n = {int(rows['n'].max())}, 95% intervals)"
    alt = f"Chart of accuracy against {label}: {'; '.join(each)}. On the frontier: {front}."
    return charts.tradeoff(rows, x, label, title), alt


def losses(cuts: Sequence[Row], run: Path) -> Shown:
    """The smoothed training loss of the models that were distilled, over the steps of all their cuts.

    ``cuts``: model, and the folder of its training's steps.csv in ``run``.
    """
    logs: dict[str, list[float]] = {}
    for cut in cuts:
        logs.setdefault(cut["model"], []).extend(pd.read_csv(run / cut["folder"] / "steps.csv")["loss"])
    smooth = {name: pd.Series(loss).ewm(span=max(2, len(loss) // 20)).mean() for name, loss in logs.items()}
    table = pd.DataFrame(smooth).rename_axis("step").reset_index()
    ends = ", ".join(f"{name} {loss.iloc[-1]:.3f}" for name, loss in smooth.items())
    chart = charts.curve(table, "step", list(logs), "Error on the answers while distilling, smoothed")
    return chart, f"Training loss of the distilled models over the steps of all their cuts; at the end: {ends}."
