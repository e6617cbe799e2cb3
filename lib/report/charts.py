"""Charts as pure functions from a table to a figure, with the text that replaces them for those who cannot see them.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; every series also has its own
marker. A row's index in its table chooses them, so that a system looks the same in every chart. The PNG of a figure is
the same bytes every time.

>>> import pandas as pd
>>> table = pd.DataFrame({"system": ["a", "b"], "usd_per_million": [1.0, 100.0], "accuracy": [0.5, 0.9]})
>>> pareto(table)["system"].tolist()
['a', 'b']
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.report import labels

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


def pareto(table: pd.DataFrame, cost: str = "usd_per_million", quality: str = "accuracy") -> pd.DataFrame:
    """The rows that no other row beats on cost and quality at once, from cheap to dear."""
    ordered = table.sort_values([cost, quality], ascending=[True, False], kind="stable")
    best = ordered[quality].cummax().shift(fill_value=float("-inf"))
    return ordered[ordered[quality] > best]


def cost_quality(table: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy with its interval over the cost of a million requests (log axis, USD), the Pareto front drawn.

    ``table``: system, usd_per_million (above 0), accuracy, low, high (shares in [0, 1]).
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
        front = pareto(table)
        line: dict[str, Any] = {
            "color": "#AAAAAA",
            "lw": 1.6,
            "zorder": 1,
            "label": "Pareto front: nothing cheaper is as good",
        }
        axes.step(front["usd_per_million"], front["accuracy"] * 100, where="post", **line)
        for i, row in zip(table.index, table.to_dict("records"), strict=True):
            _errorbar(axes, row, "usd_per_million", COLOURS[int(i) % 8], MARKERS[int(i) % 8])
        axes.set(xscale="log", xlabel="cost of a million requests (US dollars, log scale)", ylabel="exactly right (%)")
        axes.set_title(title)
        figure.legend(loc="outside lower right", frameon=False, fontsize=9)
        _limits(axes, table)
        labels.place(figure, axes, table, "usd_per_million", front)
    return figure


def _errorbar(axes: Axes, row: dict[str, Any], x: str, colour: str, marker: str) -> None:
    """A point of accuracy in percent with its interval."""
    y = row["accuracy"] * 100
    around = [[max(0.0, y - row["low"] * 100)], [max(0.0, row["high"] * 100 - y)]]
    star = marker == "*"  # drawn over the others, and larger, as it fills less
    look: dict[str, Any] = {"color": colour, "marker": marker, "capsize": 3, "lw": 1.2}
    look |= {"ms": 11 if star else 7, "zorder": 4 if star else 3}
    axes.errorbar(row[x], y, yerr=around, **look)


def _limits(axes: Axes, table: pd.DataFrame) -> None:
    low, high = table["usd_per_million"].min(), table["usd_per_million"].max()
    axes.set_xlim(low / 2.5, high * 4)
    axes.set_ylim(max(-4.0, table["low"].min() * 100 - 12), min(114.0, table["high"].max() * 100 + 14))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 100 and axes.get_ylim()[0] <= tick])
    axes.xaxis.set_major_formatter(lambda usd, _: f"${usd:,.0f}" if usd >= 1 else f"${usd:.2g}")


LOOKS = {
    "parent": ("#000000", "*"),
    "rounded": ("#0072B2", "o"),
    "rounding trained": ("#009E73", "D"),
    "pruned only": ("#888888", "X"),
    "pruned and distilled": ("#D55E00", "s"),
    "student": ("#CC79A7", "^"),
}
"""Colour and marker of what a model is (lib/compression/models.py)."""
GAP = 0.25
"""Two neighbours in accuracy that are further apart than this are put into panels of their own."""


def frontier(table: pd.DataFrame, x: str, label: str, title: str = "") -> Figure:
    """Accuracy with its interval over what a model costs, its size or its time, the front drawn; a step has one look.

    ``table``: system, step (of LOOKS), ``x`` (above 0), accuracy, low, high (shares in [0, 1]). Where some models are
    far worse than all others, they are in a lower panel.
    """
    parts, front = _apart(table), pareto(table, x)
    with plt.rc_context(STYLE):
        heights = [3.2, 1.0][: len(parts)]
        figure, panels = plt.subplots(
            len(parts), sharex=True, squeeze=False, figsize=(7.6, 6.8), layout="constrained", height_ratios=heights
        )
        for axes, rows in zip(panels[:, 0], parts, strict=True):
            axes.step(front[x], front["accuracy"] * 100, where="post", color="#AAAAAA", lw=1.6, zorder=1)
            for row in table.to_dict("records"):
                _errorbar(axes, row, x, *LOOKS[row["step"]])
            low, high = rows["low"].min() * 100, rows["high"].max() * 100
            room = max(3.0, 0.2 * (high - low))
            axes.set(ylim=(max(-4.0, low - room), high + room), ylabel="exactly right (%)")
        _cost_axis(panels[-1, 0], table, x, label)
        panels[0, 0].set_title(title)
        figure.legend(handles=_handles(table), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        for axes, rows in zip(panels[:, 0], parts, strict=True):
            labels.place(figure, axes, rows, x, front)
    return figure


def _apart(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The table, or those above and those below the widest gap in accuracy, if it is wide."""
    ranked = table["accuracy"].sort_values()
    gaps = ranked.diff().fillna(0.0)
    if gaps.max() <= GAP:
        return [table]
    edge = ranked[gaps.idxmax()]
    return [table[table["accuracy"] >= edge], table[table["accuracy"] < edge]]


def _cost_axis(axes: Axes, table: pd.DataFrame, x: str, label: str) -> None:
    axes.set(xscale="log", xlabel=f"{label}, log scale", xlim=(table[x].min() / 1.35, table[x].max() * 1.5))
    ticks = [a * 10**b for b in range(-1, 6) for a in (1, 2, 3, 5, 7)]
    axes.set_xticks([tick for tick in ticks if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _handles(table: pd.DataFrame) -> list[Line2D]:
    """The legend: a mark for each step there is, and the front."""
    steps = [step for step in LOOKS if step in set(table["step"])]
    marks = [Line2D([], [], color=LOOKS[s][0], marker=LOOKS[s][1], ls="", ms=7, label=s) for s in steps]
    return [*marks, Line2D([], [], color="#AAAAAA", lw=1.6, label="nothing left of it is as good")]


def latency(table: pd.DataFrame, title: str = "") -> Figure:
    """Median and 95th percentile of the milliseconds to answer one request, a line for each system (log axis).

    ``table``: system, p50_ms, p95_ms.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 0.9 + 0.42 * len(table)), layout="constrained")
        for y, (i, row) in enumerate(zip(table.index[::-1], table.to_dict("records")[::-1], strict=True)):
            axes.plot([row["p50_ms"], row["p95_ms"]], [y, y], color=COLOURS[i % 8], lw=2.5, zorder=2)
            axes.plot(row["p50_ms"], y, "o", color=COLOURS[i % 8], ms=8, zorder=3)
            axes.plot(row["p95_ms"], y, "|", color=COLOURS[i % 8], ms=14, mew=2.5)
            note = f"{_short(row['p50_ms'])} / {_short(row['p95_ms'])} ms"
            axes.annotate(note, (row["p95_ms"], y), (8, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(range(len(table)), table["system"].tolist()[::-1])
        axes.set(xscale="log", xlabel="time a request: median (dot) to 95th percentile (bar), log scale")
        axes.xaxis.set_major_formatter(lambda ms, _: f"{ms:,g} ms")
        axes.set(xlim=(table["p50_ms"].min() / 1.8, table["p95_ms"].max() * 6), ylim=(-0.6, len(table) - 0.4))
        axes.grid(axis="y", visible=False)
        axes.set_title(title)
    return figure


def levels(table: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy by level, a marker with its interval for each system. ``table``: system, level, accuracy, low, high."""
    names, systems = list(dict.fromkeys(table["level"])), list(dict.fromkeys(table["system"]))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
        for i, system in enumerate(systems):
            rows = table[table["system"] == system]
            spot = [names.index(n) + (i - (len(systems) - 1) / 2) * 0.8 / len(systems) for n in rows["level"]]
            y = rows["accuracy"] * 100
            around = [(y - rows["low"] * 100).clip(lower=0), (rows["high"] * 100 - y).clip(lower=0)]
            look: dict[str, Any] = {
                "color": COLOURS[i % 8],
                "marker": MARKERS[i % 8],
                "ls": "",
                "ms": 5,
                "elinewidth": 1.1,
            }
            axes.errorbar(spot, y, yerr=around, label=system, **look)
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="exactly right (%)", ylim=(-3, 103), xlim=(-0.6, len(names) - 0.4))
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower center", ncols=min(4, len(systems)), frameon=False, fontsize=9)
        axes.set_title(title)
    return figure


def curve(table: pd.DataFrame, x: str, columns: Sequence[str], title: str = "", ylabel: str = "loss") -> Figure:
    """One line for each column over ``x``, log scale; rows without a value are left out. ``table``: a training log."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 3.2), layout="constrained")
        for i, column in enumerate(columns):
            rows = table[[x, column]].dropna()
            last = column == columns[-1]
            look: dict[str, Any] = {"color": COLOURS[i % 8], "lw": 2.0 if last else 0.8, "alpha": 1.0 if last else 0.5}
            axes.plot(rows[x], rows[column], label=column, **look)
        axes.set(xlabel=x, ylabel=f"{ylabel} (log scale)", yscale="log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if len(columns) > 1:
            axes.legend(frameon=False)
        axes.set_title(title)
    return figure


def shares(table: pd.DataFrame, x: str, columns: Sequence[str], title: str = "", ylabel: str = "share (%)") -> Figure:
    """One line for each column of shares in [0, 1] over ``x``, in percent; rows without a value are left out."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 3.4), layout="constrained")
        for i, column in enumerate(columns):
            rows = table[[x, column]].dropna()
            look: dict[str, Any] = {"color": COLOURS[i % 8], "lw": 1.6}
            marks: dict[str, Any] = {"marker": MARKERS[i % 8], "ms": 4} if len(rows) <= 40 else {}
            axes.plot(rows[x], rows[column] * 100, label=column, **look, **marks)
        axes.set(xlabel=x, ylabel=ylabel)
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
        axes.set_title(title)
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
