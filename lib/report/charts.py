"""Charts as pure functions from a table to a figure, with the text that replaces them for those who cannot see them.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; every series also has its own
marker, chosen by the row's index in its table, so that a system looks the same in every chart. The PNG of a figure is
the same bytes every time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

matplotlib.use("agg")

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}
LOOKS = {
    "parent": ("#000000", "*"),
    "quantised": ("#0072B2", "o"),
    "quantisation-aware training": ("#009E73", "D"),
    "pruned only": ("#888888", "X"),
    "pruned and distilled": ("#D55E00", "s"),
    "student": ("#CC79A7", "^"),
    "released": ("#E69F00", "v"),
}
"""Colour and marker of what a model is."""
NAMED_BEFORE = {"rounded": "quantised", "rounding trained": "quantisation-aware training"}
"""Names in older records."""
GAP = 0.25
"""Two neighbours in accuracy that are further apart than this are put into panels of their own."""
PLACES = [(d * x, d * y) for d in (10, 16, 24, 34, 46, 60, 78, 98) for x in (1, -1, 0) for y in (-0.8, 0.8, 0)]
"""Where a name may stand beside its point, in typographic points, the best first."""


@contextmanager
def _axes(height: float, title: str, legend: Any = "", panels: Sequence[float] = (1,), **labels: Any) -> Iterator[Any]:
    """The figure and its panels in the study's style; the legend is drawn at the end, at ``legend``."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            squeeze=False,
            figsize=(7.6, height),
            layout="constrained",
            height_ratios=panels,
        )
        axes[-1, 0].set(**labels)
        axes[0, 0].set_title(title)
        yield figure, axes[:, 0]
        if legend and not figure.legends:
            figure.legend(loc=legend, frameon=False, fontsize=9, ncols=4 if "center" in legend else 1)


def pareto(table: pd.DataFrame, cost: str = "usd_per_million", quality: str = "accuracy") -> pd.DataFrame:
    """The rows that no other row beats on cost and quality at once, from cheap to dear.

    >>> table = pd.DataFrame({"system": ["a", "b", "c"], "usd_per_million": [1, 100, 101], "accuracy": [0.5, 0.9, 0.8]})
    >>> pareto(table)["system"].tolist()
    ['a', 'b']
    """
    ordered = table.sort_values([cost, quality], ascending=[True, False], kind="stable")
    best = ordered[quality].cummax().shift(fill_value=float("-inf"))
    return ordered[ordered[quality] > best]


def cost_quality(table: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy with its interval over the cost of a million requests (log axis, USD), with the Pareto front.

    ``table``: system, usd_per_million (above 0), accuracy, low, high (shares in [0, 1]).
    """
    x = "usd_per_million"
    labels: dict[str, Any] = {"xlabel": "cost of a million requests (US dollars, log scale)", "xscale": "log"}
    with _axes(4.6, title, "outside lower right", ylabel="exactly right (%)", **labels) as (figure, (axes,)):
        _front(axes, table, x)
        for i, row in zip(table.index, table.to_dict("records"), strict=True):
            _errorbar(axes, row, x, COLOURS[int(i) % 8], MARKERS[int(i) % 8])
        axes.set_xlim(table[x].min() / 2.5, table[x].max() * 4)
        axes.set_ylim(max(-4.0, table["low"].min() * 100 - 12), min(114.0, table["high"].max() * 100 + 14))
        axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 100 and axes.get_ylim()[0] <= tick])
        axes.xaxis.set_major_formatter(lambda usd, _: f"${usd:,.0f}" if usd >= 1 else f"${usd:.2g}")
        figure.legend(loc="outside lower right", frameon=False, fontsize=9)
        _name(figure, axes, table, x)
    return figure


def _front(axes: Axes, table: pd.DataFrame, x: str) -> None:
    front = pareto(table, x)
    line: dict[str, Any] = {"color": "#AAAAAA", "lw": 1.6, "zorder": 1}
    axes.step(front[x], front["accuracy"] * 100, where="post", label="Pareto front: nothing cheaper is as good", **line)


def _errorbar(axes: Axes, row: dict[str, Any], x: str, colour: str, marker: str) -> None:
    """A point of accuracy in percent with its interval; a star is larger, as it fills less."""
    y = row["accuracy"] * 100
    around = [[max(0.0, y - row["low"] * 100)], [max(0.0, row["high"] * 100 - y)]]
    size: dict[str, Any] = {"ms": 11, "zorder": 4} if marker == "*" else {"ms": 7, "zorder": 3}
    axes.errorbar(row[x], y, yerr=around, color=colour, marker=marker, capsize=3, lw=1.2, **size)


def _name(figure: Figure, axes: Axes, table: pd.DataFrame, x: str) -> None:
    """Writes each system's name at the first place where it covers no other name or interval."""
    canvas: Any = figure.canvas
    canvas.draw()
    figure.set_layout_engine("none")
    rows = table.to_dict("records")
    ends = [axes.transData.transform([(r[x], r["low"] * 100), (r[x], r["high"] * 100)]) for r in rows]
    taken = [Bbox(pair).padded(6) for pair in ends]
    frame = axes.get_window_extent()
    for row in rows:
        tried = [_at(axes, row, x, place) for place in PLACES]
        for label in tried:
            label.update_positions(canvas.get_renderer())
        boxes = [Text.get_window_extent(label) for label in tried]
        inside = [frame.x0 <= b.x0 and b.x1 <= frame.x1 and frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in boxes]
        free = (i for i, b in enumerate(boxes) if inside[i] and not b.count_overlaps(taken))
        chosen = next(free, 0)
        taken.append(boxes[chosen].padded(1))
        for i, label in enumerate(tried):
            if i != chosen:
                label.remove()


def _at(axes: Axes, row: dict[str, Any], x: str, place: tuple[float, float]) -> Any:
    side = "center" if place[0] == 0 else "left" if place[0] > 0 else "right"
    how: dict[str, Any] = {"xytext": place, "textcoords": "offset points", "ha": side, "va": "center"}
    how["arrowprops"] = {"arrowstyle": "-", "color": "#888888", "lw": 0.6} if max(map(abs, place)) > 18 else None
    return axes.annotate(row["system"], (row[x], row["accuracy"] * 100), color="#222222", fontsize=9, **how)


def frontier(table: pd.DataFrame, x: str, label: str, title: str = "") -> Figure:
    """Accuracy with its interval over what a model costs, its size or its time, with the Pareto front.

    ``table``: system, step (of LOOKS), ``x`` (above 0), accuracy, low, high (shares in [0, 1]). Models that are far
    worse than all others are in a lower panel.
    """
    table = table.assign(step=table["step"].replace(NAMED_BEFORE))
    parts = _split(table)
    with _axes(6.8, title, "outside lower center", (3.2, 1.0)[: len(parts)]) as (figure, panels):
        for axes, rows in zip(panels, parts, strict=True):
            _front(axes, table, x)
            for row in table.to_dict("records"):
                _errorbar(axes, row, x, *LOOKS[row["step"]])
            low, high = rows["low"].min() * 100, rows["high"].max() * 100
            room = max(3.0, 0.2 * (high - low))
            axes.set(ylim=(max(-4.0, low - room), high + room), ylabel="exactly right (%)", xscale="log")
        _cost_axis(panels[-1], table, x, label)
        figure.legend(handles=_handles(table), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        for axes, rows in zip(panels, parts, strict=True):
            _name(figure, axes, rows, x)
    return figure


def _split(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The table, or the rows above and those below the widest gap in accuracy, if it is wide."""
    ranked = table["accuracy"].sort_values()
    gaps = ranked.diff().fillna(0.0)
    if gaps.max() <= GAP:
        return [table]
    edge = ranked[gaps.idxmax()]
    return [table[table["accuracy"] >= edge], table[table["accuracy"] < edge]]


def _cost_axis(axes: Axes, table: pd.DataFrame, x: str, label: str) -> None:
    axes.set(xlabel=f"{label}, log scale", xlim=(table[x].min() / 1.35, table[x].max() * 1.5))
    ticks = [a * 10**b for b in range(-1, 6) for a in (1, 2, 3, 5, 7)]
    axes.set_xticks([tick for tick in ticks if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _handles(table: pd.DataFrame) -> list[Line2D]:
    there = [(step, *look) for step, look in LOOKS.items() if step in set(table["step"])]
    points = [Line2D([], [], color=c, marker=m, ls="", ms=11 if m == "*" else 7, label=step) for step, c, m in there]
    return [*points, Line2D([], [], color="#AAAAAA", lw=1.6, label="Pareto front")]


def latency(table: pd.DataFrame, title: str = "") -> Figure:
    """Median and 95th percentile of the milliseconds to answer one request, a line for each system (log axis).

    ``table``: system, p50_ms, p95_ms.
    """
    label = "time per request: median (dot) to 95th percentile (bar), log scale"
    with _axes(0.9 + 0.42 * len(table), title, xscale="log", xlabel=label) as (figure, (axes,)):
        for y, (i, row) in enumerate(zip(table.index[::-1], table.to_dict("records")[::-1], strict=True)):
            axes.plot([row["p50_ms"], row["p95_ms"]], [y, y], color=COLOURS[i % 8], lw=2.5, zorder=2)
            axes.plot(row["p50_ms"], y, "o", color=COLOURS[i % 8], ms=8, zorder=3)
            axes.plot(row["p95_ms"], y, "|", color=COLOURS[i % 8], ms=14, mew=2.5)
            note = f"{_short(row['p50_ms'])} / {_short(row['p95_ms'])} ms"
            axes.annotate(note, (row["p95_ms"], y), (8, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(range(len(table)), table["system"].tolist()[::-1])
        axes.xaxis.set_major_formatter(lambda ms, _: f"{ms:,g} ms")
        axes.set(xlim=(table["p50_ms"].min() / 1.8, table["p95_ms"].max() * 6), ylim=(-0.6, len(table) - 0.4))
        axes.grid(axis="y", visible=False)
    return figure


def levels(table: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy by level, a marker with its interval for each system. ``table``: system, level, accuracy, low, high."""
    names, systems = list(dict.fromkeys(table["level"])), list(dict.fromkeys(table["system"]))
    with _axes(4.2, title, "outside lower center", ylabel="exactly right (%)", ylim=(-3, 103)) as (figure, (axes,)):
        for i, system in enumerate(systems):
            rows = table[table["system"] == system]
            spot = [names.index(n) + (i - (len(systems) - 1) / 2) * 0.8 / len(systems) for n in rows["level"]]
            y = rows["accuracy"] * 100
            around = [(y - rows["low"] * 100).clip(lower=0), (rows["high"] * 100 - y).clip(lower=0)]
            look: dict[str, Any] = {"color": COLOURS[i % 8], "marker": MARKERS[i % 8], "ls": "", "ms": 5}
            axes.errorbar(spot, y, yerr=around, label=system, elinewidth=1.1, **look)
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.grid(axis="x", visible=False)
    return figure


def curve(table: pd.DataFrame, x: str, columns: Sequence[str], title: str = "", ylabel: str = "loss") -> Figure:
    """One line for each column over ``x``, log scale; rows without a value are left out. ``table``: a training log."""
    with _axes(3.2, title, xlabel=x, ylabel=f"{ylabel} (log scale)", yscale="log") as (figure, (axes,)):
        for i, column in enumerate(columns):
            rows = table[[x, column]].dropna()
            width, alpha = (2.0, 1.0) if column == columns[-1] else (0.8, 0.5)
            axes.plot(rows[x], rows[column], label=column, color=COLOURS[i % 8], lw=width, alpha=alpha)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if len(columns) > 1:
            axes.legend(frameon=False)
    return figure


def shares(table: pd.DataFrame, x: str, columns: Sequence[str], title: str = "", ylabel: str = "share (%)") -> Figure:
    """One line for each column of shares in [0, 1] over ``x``, in percent; rows without a value are left out."""
    with _axes(3.4, title, "outside right center", xlabel=x, ylabel=ylabel) as (figure, (axes,)):
        for i, column in enumerate(columns):
            rows = table[[x, column]].dropna()
            marks: dict[str, Any] = {"marker": MARKERS[i % 8], "ms": 4} if len(rows) <= 40 else {}
            axes.plot(rows[x], rows[column] * 100, label=column, color=COLOURS[i % 8], lw=1.6, **marks)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG, without date and program name; the figure is closed."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=160, metadata={"Software": None})
    plt.close(figure)
    return data.getvalue()


def describe(table: pd.DataFrame, value: str, unit: str = "", scale: float = 1.0) -> str:
    """Alternative text: every system with its value, such as 'student 91.2 %, rules 60.0 %'."""
    rows = table.to_dict("records")
    return ", ".join(f"{r['system']} {_short(r[value] * scale)}{' ' + unit if unit else ''}" for r in rows)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
