"""Charts: pure functions from a table to a figure, most with the text that replaces it for those who cannot see it.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. A system has the same colour and
marker in every chart. The PNG of a figure is the same bytes every time.
"""

from __future__ import annotations

import io
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lib.core.files import Row
from lib.evaluation.comparison import ALL, drawn, overall
from lib.evaluation.metrics import wilson

matplotlib.use("agg")

Shown = tuple[Figure, str]
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
KNOWN = ["super-tiny", "tiny", "assistant q8_0", "student q8_0", "student q4_0", "hassil", "tfidf", "student torch"]
GAP = 0.25  # two neighbours in accuracy that are further apart than this are put into panels of their own


def look(system: str) -> tuple[str, str]:
    """Colour and marker of a system, the same in all charts: the first are those of KNOWN, others by their names."""
    number = KNOWN.index(system) * 9 if system in KNOWN else zlib.crc32(system.encode()) % 64
    return COLOURS[number % 8], MARKERS[number // 8 % 8]


@contextmanager
def _axes(height: float, title: str, panels: Sequence[float] = (1,), **labels: Any) -> Iterator[tuple[Figure, Any]]:
    """The figure and its panels in the study's style; in the end whatever has a label gets a legend below."""
    with plt.style.context(Path(__file__).parent / "template" / "charts.mplstyle"):
        how: Any = {"sharex": True, "squeeze": False, "layout": "constrained", "height_ratios": panels}
        figure, axes = plt.subplots(len(panels), 1, figsize=(7.6, height), **how)
        axes[-1, 0].set(**labels)
        axes[0, 0].set_title(title)
        yield figure, axes[:, 0]
        if len(axes[0, 0].get_legend_handles_labels()[0]) > 1:
            figure.legend(loc="outside lower center", ncols=4)


def _points(axes: Axes, x: Any, rows: pd.DataFrame, look: tuple[str, str], **how: Any) -> None:
    """Accuracy in percent with its interval."""
    y = rows["accuracy"] * 100
    around = [(y - rows["low"] * 100).clip(lower=0), (rows["high"] * 100 - y).clip(lower=0)]
    axes.errorbar(x, y, yerr=around, color=look[0], marker=look[1], ls="", elinewidth=1.2, **how)


def pareto(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows that no other row beats on cost and accuracy at once, from cheap to dear."""
    ordered = table.sort_values([cost, "accuracy"], ascending=[True, False], kind="stable")
    return ordered[ordered["accuracy"] > ordered["accuracy"].cummax().shift(fill_value=float("-inf"))]


def tradeoff(table: pd.DataFrame, x: str, label: str, title: str = "") -> Figure:
    """Accuracy with its interval over a cost ``x`` (above 0, log axis, described by ``label``), with the Pareto front.

    ``table``: system, ``x``, accuracy, low, high (shares in [0, 1]). With a column ``step``, models that are
    far worse than all others are in a panel below.
    """
    parts, front = _split(table), pareto(table, x)
    labels = {"xlabel": f"{label}, log scale", "xscale": "log"}
    with _axes(6.8, title, (3.2, 1)[: len(parts)], **labels) as (figure, panels):
        for axes, rows in zip(panels, parts, strict=True):
            style: dict[str, Any] = {"where": "post", "color": "#AAAAAA", "lw": 1.6, "zorder": 1}
            axes.step(front[x], front["accuracy"] * 100, label="Pareto front" if axes is panels[0] else None, **style)
            for i in rows.index:
                _points(axes, rows.loc[[i], x], rows.loc[[i]], look(table["system"][i]), ms=7, capsize=3)
            _name(axes, rows, x)
            low, high = rows["low"].min() * 100, rows["high"].max() * 100
            axes.set(ylabel="exactly right (%)", ylim=(low - 2, high + 2))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if table[x].max() < 20 * table[x].min() else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure


def _split(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The table, or the rows above and those below the widest gap in accuracy, if it is wide."""
    ranked = table["accuracy"].sort_values()
    gaps = ranked.diff().fillna(0.0)
    if gaps.max() <= GAP or "step" not in table:
        return [table]
    worse = table["accuracy"] < ranked[gaps.idxmax()]
    return [table[~worse], table[worse]]


def _name(axes: Axes, rows: pd.DataFrame, x: str) -> None:
    """The systems' names in a column on the right, in the order of their accuracies, each joined to its point."""
    line = {"arrowstyle": "-", "color": "#CCCCCC", "lw": 0.6, "relpos": (0, 0.5)}
    ordered = rows.sort_values(["accuracy", x]).to_dict("records")
    for row, y in zip(ordered, np.linspace(0.03, 0.97, len(ordered)), strict=True):
        how: Any = {"xycoords": "data", "textcoords": "axes fraction", "va": "center", "fontsize": 9}
        axes.annotate(row["system"], (row[x], row["accuracy"] * 100), (1.02, y), arrowprops=line, zorder=0, **how)


def latency(table: pd.DataFrame, title: str = "") -> Figure:
    """Median and 95th percentile of the milliseconds to answer one request, a line for each system (log axis).

    ``table``: system, p50_ms, p95_ms.
    """
    label, ys = "time per request: median (dot) to 95th percentile (bar), log scale", range(len(table))
    colours, p50, p95 = [look(name)[0] for name in table["system"]], table["p50_ms"], table["p95_ms"]
    with _axes(0.9 + 0.42 * len(table), title, xscale="log", xlabel=label) as (figure, (axes,)):
        axes.hlines(ys, p50, p95, colors=colours, lw=2.5)
        axes.scatter(p50, ys, c=colours, s=64, zorder=3)
        axes.scatter(p95, ys, c=colours, s=200, marker="|", lw=2.5)
        for y, low, high in zip(ys, p50, p95, strict=True):
            note = f"{_short(low)} / {_short(high)} ms"
            axes.annotate(note, (high, y), (8, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(ys, table["system"])
        axes.xaxis.set_major_formatter(lambda ms, _: f"{ms:,g} ms")
        axes.set(xlim=(p50.min() / 1.8, p95.max() * 6), ylim=(len(table) - 0.4, -0.6))
        axes.grid(axis="y", visible=False)
    return figure


def levels(table: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy by level, a marker with its interval for each system. ``table``: system, level, accuracy, low, high."""
    names, systems = list(dict.fromkeys(table["level"])), list(dict.fromkeys(table["system"]))
    with _axes(4.2, title, ylabel="exactly right (%)", ylim=(-3, 103)) as (figure, (axes,)):
        for i, system in enumerate(systems):
            rows = table[table["system"] == system]
            spot = [names.index(n) + (i - (len(systems) - 1) / 2) * 0.8 / len(systems) for n in rows["level"]]
            _points(axes, spot, rows, look(system), label=system, ms=5)
        axes.set_xticks(range(len(names)), names)
        axes.grid(axis="x", visible=False)
    return figure


def curve(
    table: pd.DataFrame, x: str, columns: Sequence[str], title: str = "", ylabel: str = "loss", percent: bool = False
) -> Figure:
    """One line for each column over ``x``, the last one bold, log scale, or shares in [0, 1] in ``percent``.

    Rows without a value are left out. ``table``: a training log.
    """
    labels: dict[str, Any] = {"ylabel": ylabel} if percent else {"ylabel": f"{ylabel} (log scale)", "yscale": "log"}
    with _axes(3.4, title, xlabel=x, **labels) as (figure, (axes,)):
        for i, column in enumerate(columns):
            rows, bold = table[[x, column]].dropna(), percent or column == columns[-1]
            look: dict[str, Any] = {"color": COLOURS[i % 8], "lw": 1.8 if bold else 0.8, "alpha": 1.0 if bold else 0.5}
            look |= {"marker": MARKERS[(i + i // 8) % 8], "ms": 4} if percent and len(rows) <= 40 else {}
            axes.plot(rows[x], rows[column] * (100 if percent else 1), label=column, **look)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure


def tornado(rows: pd.DataFrame, base: float, label: str, title: str = "") -> Shown:
    """What each assumption alone does to an answer, the strongest on top. ``rows``: lib.decision.costs.sensitivity."""
    with _axes(1.4 + 0.32 * len(rows), title, xlabel=f"{label}, log scale", xscale="log") as (figure, (axes,)):
        for y, row in enumerate(rows.to_dict("records")):
            for end, value, colour in (("low", row["low"], COLOURS[5]), ("high", row["high"], COLOURS[1])):
                axes.plot([base, row[f"answer_{end}"]], [y, y], color=colour, lw=9, solid_capstyle="butt")
                axes.annotate(f"{value:g}", (row[f"answer_{end}"], y), va="center", fontsize=8)
        axes.axvline(base, color="#000000", lw=1)
        axes.set_yticks(range(len(rows)), rows["assumption"])
        axes.invert_yaxis()
    return figure, textwrap.shorten(f"{label}, by assumption: {', '.join(rows['assumption'])}", 200, placeholder=" …")


def png(figure: Figure) -> bytes:
    """The figure as PNG, without date and program name; the figure is closed."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=160, metadata={"Software": None})
    plt.close(figure)
    return data.getvalue()


def alternative(what: str, table: pd.DataFrame) -> str:
    """Alternative text of at most 200 characters: what a chart shows of which systems; a table has the figures."""
    text = f"{what}; the table has the figures. Systems: {', '.join(dict.fromkeys(table['system']))}"
    return textwrap.shorten(text, 200, placeholder=" …")


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def comparison(rows: pd.DataFrame, test: str) -> dict[str, Shown]:
    """cost_quality, latency and levels of the systems of ``rows`` that are to be shown, on ``test``."""
    rows = drawn(rows, rows)
    whole, own = overall(rows, test), rows[(rows["test"] == test) & (rows["level"] != ALL)]
    timed = whole[whole["usd_per_million"].notna()]
    times = latency(timed, f"Time to answer one request ({test})")
    alt = alternative(f"Accuracy by level on {test}", whole)
    by_level = levels(own, f"Accuracy by level of difficulty ({test}, 95% intervals)"), alt
    shown = {"latency": (times, alternative("Median times", timed)), "levels": by_level}
    return {"cost_quality": _cost_quality(timed, test, whole), **shown}


def _cost_quality(rows: pd.DataFrame, test: str, whole: pd.DataFrame) -> Shown:
    title = f"Cost versus quality ({test}, n = {int(whole['n'].max())}, 95% intervals)"
    alt = alternative(f"Accuracy on {test} against the cost of a million requests", rows)
    return tradeoff(rows, "usd_per_million", "cost of a million requests (US dollars)", title), alt


def routes(points: pd.DataFrame, test: str) -> Shown:
    """Systems alone by name, routes by kind at their fitted thresholds, and the front (lib.decision.routing.curve)."""
    rows = points[points["test"] == test]
    title = f"Routes: cost versus quality ({test}, n = {int(rows['n'].max())}, 95% intervals)"
    labels: dict[str, Any] = {
        "xlabel": "cost of a million requests (US dollars), log scale",
        "ylabel": "exactly right (%)",
    }
    with _axes(4.6, title, xscale="log", **labels) as (figure, (axes,)):
        front = rows[rows["front"]].sort_values("usd_per_million")
        axes.step(
            front["usd_per_million"], front["accuracy"] * 100, where="post", color="#AAAAAA", label="front, fitted"
        )
        chosen = rows[rows["chosen"] & (rows["kind"] != "alone")]
        for i, (kind, part) in enumerate(chosen.groupby("kind", sort=False)):
            how: dict[str, Any] = {"ls": "", "marker": MARKERS[i], "color": COLOURS[i], "alpha": 0.5, "ms": 4}
            axes.plot(part["usd_per_million"], part["accuracy"] * 100, label=kind, **how)
        alone = rows[rows["kind"] == "alone"].assign(system=rows["systems"])
        for i in alone.index:
            _points(axes, alone.loc[[i], "usd_per_million"], alone.loc[[i]], ("#000000", "o"), ms=6, capsize=3)
        _name(axes, alone, "usd_per_million")
    return figure, alternative(f"Accuracy on {test} against cost of routes", alone)


def frontier(rows: pd.DataFrame) -> dict[str, Shown]:
    """frontier_size and frontier_latency of lib.evaluation.comparison.frontier."""
    time, shown = "median time per request, its context in the cache (ms)", {}
    n = int(rows["n"].max())
    for name, x, label in (("size", "size_mb", "file size (MB)"), ("latency", "p50_ms", time)):
        alt = alternative(f"Accuracy against {label}", rows)
        title = f"{name.capitalize()} against accuracy (n = {n}, 95% intervals)"
        shown[f"frontier_{name}"] = tradeoff(rows, x, label, title), alt
    return shown


def losses(cuts: Sequence[Row], run: Path) -> Shown:
    """The smoothed training loss of models, over the steps of all their cuts.

    ``cuts``: model, and the folder of a training's steps.csv in ``run``.
    """
    logs: dict[str, list[float]] = {}
    for cut in cuts:
        logs.setdefault(cut["model"], []).extend(pd.read_csv(run / cut["folder"] / "steps.csv")["loss"])
    smooth = {name: pd.Series(loss).ewm(span=max(2, len(loss) // 20)).mean() for name, loss in logs.items()}
    table = pd.DataFrame(smooth).rename_axis("step").reset_index()
    ends = ", ".join(f"{name} {loss.iloc[-1]:.3f}" for name, loss in smooth.items())
    chart = curve(table, "step", list(logs), "Error on the answers while learning, smoothed")
    return chart, f"Training loss over all steps of each model; at the end: {ends}."


def reliability(table: pd.DataFrame) -> Shown:
    """Accuracy by confidence with its interval, a line for each system; on the diagonal the two are equal.

    ``table``: of lib.decision.calibration.reliability.
    """
    how: dict[str, Any] = {"xlabel": "mean confidence of a tenth (%)", "ylabel": "exactly right (%)"}
    how |= {"xlim": (-3, 103), "ylim": (-3, 103)}
    with _axes(4.6, "Reliability: confidence and accuracy (95% intervals)", **how) as (figure, (axes,)):
        axes.plot([0, 100], [0, 100], ls="--", lw=1, color="#777777", label="as often right as it says")
        for system, own in table.groupby("system", sort=False):
            ends = [wilson(share * n, n) for share, n in zip(own["accuracy"], own["n"], strict=True)]
            rows = own.assign(low=[low for low, _ in ends], high=[high for _, high in ends])
            axes.plot(own["confidence"] * 100, own["accuracy"] * 100, color=look(str(system))[0], lw=1.2)
            _points(axes, own["confidence"] * 100, rows, look(str(system)), ms=6, label=system)
    return figure, alternative("Accuracy by tenth of the confidence", table)


def funnel(steps: Mapping[str, Sequence[tuple[str, int]]]) -> Shown:
    """How many candidates are left after each step, in percent of the first, by what they are: a panel for each."""
    heights = [len(rows) for rows in steps.values()]
    height = 1.2 + 0.34 * sum(heights) + 0.3 * len(steps)
    with _axes(height, "", heights, xlabel="candidates left (%)") as (figure, panels):
        for axes, (what, rows) in zip(panels, steps.items(), strict=True):
            names, counts = zip(*rows, strict=True)
            shares = [100 * n / max(1, counts[0]) for n in counts]
            axes.barh(range(len(rows)), shares, color=COLOURS[0], height=0.7)
            for y, (share, n) in enumerate(zip(shares, counts, strict=True)):
                axes.annotate(f"{n:,}", (share, y), (5, 0), textcoords="offset points", va="center", fontsize=9)
            axes.set_yticks(range(len(rows)), names)
            axes.set(title=what, xlim=(0, 115), ylim=(len(rows) - 0.4, -0.6))
            axes.grid(axis="y", visible=False)
    ends = "; ".join(f"{what}: {rows[-1][1]:,} of {rows[0][1]:,}" for what, rows in steps.items())
    return figure, f"Candidates left after each step of the filter. {ends}."
