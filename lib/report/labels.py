"""Names beside the points of a chart, each where it covers no other name, interval or line.

>>> import matplotlib.pyplot as plt, pandas as pd
>>> figure, axes = plt.subplots()
>>> rows = pd.DataFrame([{"system": "a", "ms": 3.0, "accuracy": 0.5, "low": 0.4, "high": 0.6}])
>>> place(figure, axes.set(xlim=(0, 9), ylim=(0, 99)) and axes, rows, "ms", rows)
>>> [text.get_text() for text in axes.texts]
['a']
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

WAYS = ((1, -0.8), (1, 0.8), (1, 0), (-1, 0.8), (-1, -0.8), (-1, 0), (0, 1), (0, -1), (0.5, 1.6), (-0.5, 1.6))
OFFSETS = [(distance * x, distance * y) for distance in (10, 16, 24, 34, 46, 60, 78, 98, 120) for x, y in WAYS]
"""Where a name may stand, in points from its own, the best first."""


def place(figure: Figure, axes: Axes, table: pd.DataFrame, x: str, front: pd.DataFrame) -> None:
    """Writes the names of ``table`` into ``axes``, whose limits and scale are set, in percent of accuracy over ``x``.

    ``table``: system, ``x``, accuracy, low, high (shares in [0, 1]); ``front``: those that a line of steps joins.
    """
    figure.canvas.draw()
    figure.set_layout_engine("none")
    canvas: Any = figure.canvas
    rows = _percent(table).to_dict("records")
    taken = [_box(axes, row, row, x) for row in rows] + _front_boxes(axes, _percent(front), x)
    for row in rows:
        for offset in OFFSETS:
            label = _label(axes, row, x, offset)
            box = _text(label, canvas).padded(1)
            if _inside(axes, box) and not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:
            label = _label(axes, row, x, OFFSETS[0])
        taken.append(_text(label, canvas))


def _text(label: Annotation, canvas: Any) -> Bbox:
    """Where the words stand, without the thin line that leads to them."""
    label.update_positions(canvas.get_renderer())
    return Text.get_window_extent(label, canvas.get_renderer())


def _percent(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{c: table[c] * 100 for c in ("low", "accuracy", "high")})


def _label(axes: Axes, row: dict[str, Any], x: str, offset: tuple[float, float]) -> Annotation:
    side = "center" if offset[0] == 0 else "left" if offset[0] > 0 else "right"
    where: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", "ha": side, "va": "center"}
    far = {"arrowstyle": "-", "color": "#888888", "lw": 0.6} if max(map(abs, offset)) > 18 else None
    at = (row[x], row["accuracy"])
    return axes.annotate(row["system"], at, **where, color="#222222", fontsize=9, arrowprops=far)


def _box(axes: Axes, start: dict[str, Any], end: dict[str, Any], x: str, y: tuple[str, str] = ("low", "high")) -> Bbox:
    """The rectangle on the page from one row's value to another's, with room for a marker."""
    (x0, y0), (x1, y1) = axes.transData.transform([(start[x], start[y[0]]), (end[x], end[y[1]])])
    return Bbox([[min(x0, x1) - 6, min(y0, y1) - 6], [max(x0, x1) + 6, max(y0, y1) + 6]])


def _front_boxes(axes: Axes, front: pd.DataFrame, x: str) -> list[Bbox]:
    rows = front.to_dict("records")
    level, boxes = ("accuracy", "accuracy"), []
    for left, right in zip(rows, rows[1:], strict=False):
        corner = {**right, "accuracy": left["accuracy"]}
        boxes += [_box(axes, left, corner, x, level).padded(-3), _box(axes, corner, right, x, level).padded(-3)]
    return boxes


def _inside(axes: Axes, box: Any) -> bool:
    frame = axes.get_window_extent()
    return bool(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1)
