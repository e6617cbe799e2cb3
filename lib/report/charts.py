"""Charts as pure functions from a table to a figure, with the text that replaces them for those who cannot see them.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. A row's index chooses colour
and marker, so that a system looks the same in every chart. The PNG of a figure is the same bytes every time.
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
        how: Any = {"sharex": True, "squeeze": False, "layout": "constrained", "height_ratios": panels}
        figure, axes = plt.subplots(len(panels), 1, figsize=(7.6, height), **how)
        axes[-1, 0].set(**labels)
        axes[0, 0].set_title(title)
        yield figure, axes[:, 0]
        if legend:
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


def tradeoff(table: pd.DataFrame, x: str, label: str, title: str = "") -> Figure:
    """Accuracy with its interval over a cost ``x`` (above 0, log axis, described by ``label``), with the Pareto front.

    ``table``: system, ``x``, accuracy, low, high (shares in [0, 1]). With a column ``step`` it tells the looks, and
    models that are far worse than all others are in a lower panel.
    """
    parts, front = _split(table), pareto(table, x)
    with _axes(6.8, title, "outside lower center", (3.2, 1.0)[: len(parts)]) as (figure, panels):
        for axes, rows in zip(panels, parts, strict=True):
            style: dict[str, Any] = {"where": "post", "color": "#AAAAAA", "lw": 1.6, "zorder": 1}
            axes.step(front[x], front["accuracy"] * 100, label="Pareto front" if axes is panels[0] else None, **style)
            for row, look in zip(table.to_dict("records"), _looks(table), strict=True):
                _errorbar(axes, row, x, *look)
            low, high = rows["low"].min() * 100, rows["high"].max() * 100
            room = max(3.0, 0.2 * (high - low))
            axes.set(ylim=(max(-4.0, low - room), min(114, high + room)), ylabel="exactly right (%)", xscale="log")
            axes.set_yticks([y for y in axes.get_yticks() if max(0, axes.get_ylim()[0]) <= y <= 100])
        low, high = table[x].min(), table[x].max()
        room = max(1.4, (high / low) ** 0.15)
        axes.set(xlabel=f"{label}, log scale", xlim=(low / room, high * room * 1.1))
        ticks = [a * 10**b for b in range(-3, 6) for a in ((1, 2, 3, 5, 7) if high / low < 20 else (1, 3))]
        axes.set_xticks([tick for tick in ticks if low / room <= tick <= high * room])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        for step, (colour, marker) in LOOKS.items():
            if step in _steps(table):
                panels[0].plot([], [], color=colour, marker=marker, ls="", label=step)
    for axes, rows in zip(panels, parts, strict=True):
        _name(figure, axes, rows, x)
    return figure


def _steps(table: pd.DataFrame) -> list[str]:
    return [] if "step" not in table else table["step"].replace(NAMED_BEFORE).tolist()


def _looks(table: pd.DataFrame) -> list[tuple[str, str]]:
    return [LOOKS.get(s, ("#888888", "P")) for s in _steps(table)] or [
        (COLOURS[int(i) % 8], MARKERS[int(i) % 8]) for i in table.index
    ]


def _split(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The table, or the rows above and those below the widest gap in accuracy, if it is wide."""
    ranked = table["accuracy"].sort_values()
    gaps = ranked.diff().fillna(0.0)
    if gaps.max() <= GAP or "step" not in table:
        return [table]
    worse = table["accuracy"] < ranked[gaps.idxmax()]
    return [table[~worse], table[worse]]


def _errorbar(axes: Axes, row: dict[str, Any], x: str, colour: str, marker: str) -> None:
    """A point of accuracy in percent with its interval; a star is larger, as it fills less."""
    y = row["accuracy"] * 100
    around = [[max(0.0, y - row["low"] * 100)], [max(0.0, row["high"] * 100 - y)]]
    size: dict[str, Any] = {"ms": 11, "zorder": 4} if marker == "*" else {"ms": 7, "zorder": 3}
    axes.errorbar(row[x], y, yerr=around, color=colour, marker=marker, capsize=3, lw=1.2, **size)


def _name(figure: Figure, axes: Axes, table: pd.DataFrame, x: str) -> None:
    """Writes each system's name at the first place where it covers no other name or interval."""
    figure.canvas.draw()
    figure.set_layout_engine("none")
    ends = axes.transData.transform
    taken = [Bbox(ends([(r[x], r["low"] * 100), (r[x], r["high"] * 100)])).padded(6) for _, r in table.iterrows()]
    for row in table.to_dict("records"):
        found = [_at(axes, row, x, place) for place in PLACES]
        free = (i for i, (_, box) in enumerate(found) if _inside(axes, box) and not box.count_overlaps(taken))
        chosen = next(free, 0)
        taken.append(found[chosen][1].padded(1))
        for label, _ in [*found[:chosen], *found[chosen + 1 :]]:
            label.remove()


def _at(axes: Axes, row: dict[str, Any], x: str, place: tuple[float, float]) -> tuple[Any, Bbox]:
    """A name at ``place``, joined to its point by a line if that is far, and the box of its letters."""
    side = "center" if place[0] == 0 else "left" if place[0] > 0 else "right"
    how: dict[str, Any] = {"xytext": place, "textcoords": "offset points", "ha": side, "va": "center", "fontsize": 9}
    how["arrowprops"] = {"arrowstyle": "-", "color": "#888888", "lw": 0.6} if max(map(abs, place)) > 10 else None
    label = axes.annotate(row["system"], (row[x], row["accuracy"] * 100), color="#222222", **how)
    label.update_positions(axes.figure.canvas.get_renderer())  # type: ignore[attr-defined]
    return label, Text.get_window_extent(label)


def _inside(axes: Axes, box: Bbox) -> bool:
    frame = axes.get_window_extent()
    return frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


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
    legend = "outside right center" if len(columns) > 1 else ""
    with _axes(3.2, title, legend, xlabel=x, ylabel=f"{ylabel} (log scale)", yscale="log") as (figure, (axes,)):
        for i, column in enumerate(columns):
            rows = table[[x, column]].dropna()
            width, alpha = (2.0, 1.0) if column == columns[-1] else (0.8, 0.5)
            axes.plot(rows[x], rows[column], label=column, color=COLOURS[i % 8], lw=width, alpha=alpha)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
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
