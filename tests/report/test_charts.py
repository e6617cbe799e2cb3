"""Charts: the Pareto front, labels that do not cover each other, and bytes that do not change."""

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lib.evaluation import metrics
from lib.report import charts

SYSTEMS = {"rules": (0.9, 0.62), "classic": (3.1, 0.55), "base": (120.0, 0.0), "torch": (410.0, 0.952)}
SYSTEMS |= {"student Q8_0": (95.0, 0.951), "student Q4_0": (60.0, 0.95), "hosted": (580.0, 1.0)}


def table() -> pd.DataFrame:
    rows = []
    for system, (usd, share) in SYSTEMS.items():
        right = round(share * 200)
        low, high = metrics.wilson(right, 200)
        known = {"accuracy": right / 200, "low": low, "high": high, "p50_ms": usd / 3, "p95_ms": usd}
        rows.append({"system": system, "usd_per_million": usd, "level": "L0", **known})
    return pd.DataFrame(rows)


def cost_quality(rows: pd.DataFrame, title: str = "") -> Figure:
    return charts.tradeoff(rows, "usd_per_million", "cost", title)


def test_front_holds_what_nothing_beats() -> None:
    rows = table()
    front = charts.pareto(rows, "usd_per_million")
    assert front["system"].tolist() == ["rules", "student Q4_0", "hosted"]
    assert front["usd_per_million"].is_monotonic_increasing
    assert front["accuracy"].is_monotonic_increasing
    for row in rows[~rows["system"].isin(front["system"])].to_dict("records"):
        better = (front["usd_per_million"] <= row["usd_per_million"]) & (front["accuracy"] >= row["accuracy"])
        assert better.any()


def drawn(figure: Figure) -> list[tuple[Axes, list[Bbox]]]:
    """The panels with the boxes of their names, all of which are in the figure."""
    figure.canvas.draw()
    found = [(axes, [Text.get_window_extent(text) for text in axes.texts]) for axes in figure.axes]
    for box in (box for _, boxes in found for box in boxes):
        assert figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max)
    return found


def steps() -> pd.DataFrame:
    """Many models of nearly the same size and accuracy, and some that are far worse."""
    rows = []
    for i in range(14):
        right = 180 - i % 5 if i < 11 else i - 9
        low, high = metrics.wilson(right, 200)
        step = ["parent", "rounded", "rounding trained", "pruned only", "student", "released"][i and 1 + i % 5]
        known = {"accuracy": right / 200, "low": low, "high": high, "size_mb": 125.0 if i < 2 else 60 + i // 2}
        rows.append({"system": f"model {i} q8_0", "step": step, **known})
    return pd.DataFrame(rows)


def test_names_on_a_frontier_are_inside_and_apart() -> None:
    names = []
    for axes, boxes in drawn(charts.tradeoff(steps(), "size_mb", "MB")):
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        names += [text.get_text() for text in axes.texts]
    assert sorted(names) == sorted(steps()["system"])
    for rows, panels in ((steps(), 2), (steps().head(11), 1)):  # of the first 11 none is far worse
        assert len(charts.tradeoff(rows, "size_mb", "MB").axes) == panels


@pytest.mark.parametrize("chart", [cost_quality, charts.latency, charts.levels])
def test_png_is_the_same_bytes_every_time(chart) -> None:  # type: ignore[no-untyped-def]
    assert charts.png(chart(table().head(1))), "one system is enough"
    first, second = (charts.png(chart(table(), "title")) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG") and b"Software" not in first


def test_alternative_text_is_short_and_names_the_systems() -> None:
    assert charts.alternative("Times", table().head(2)) == "Times; the table has the figures. Systems: rules, classic"
    assert len(charts.alternative("Times", pd.DataFrame({"system": [f"system {i}" for i in range(90)]}))) <= 200


def test_a_system_looks_the_same_in_every_chart_and_known_ones_differ() -> None:
    assert len({charts.look(name)[0] for name in charts.KNOWN}) == len(charts.KNOWN) == 8
    for name in SYSTEMS:
        assert charts.look(name) == charts.look(name) and charts.look(name)[1] in charts.MARKERS


def test_curves_skip_missing_values_and_show_shares_in_percent() -> None:
    log = pd.DataFrame({"step": [0, 10, 20], "L0": [0.5, 0.75, 1.0], "L1": [None, 0.25, 0.5]})
    for percent, factor in ((False, 1), (True, 100)):
        lines = charts.curve(log, "step", ["L0", "L1"], percent=percent).axes[0].lines
        assert [list(line.get_ydata() / factor) for line in lines] == [[0.5, 0.75, 1.0], [0.25, 0.5]]


def test_routes_name_the_systems_alone() -> None:
    rows = table().assign(test="dev", n=200, kind="alone", chosen=True, front=False, systems=list(SYSTEMS))
    routed = rows.assign(kind="confidence", systems="rules → base", front=True)
    figure, alt = charts.routes(pd.concat([rows, routed], ignore_index=True), "dev")
    named = [text.get_text() for text in figure.axes[0].texts]
    assert set(named) == set(SYSTEMS) and "rules → base" not in alt and charts.png(figure)


def test_a_funnel_has_a_bar_for_each_step_with_its_count() -> None:
    steps = {"a": [("candidates", 2000), ("kept", 500)], "b": [("candidates", 8), ("read", 4), ("kept", 1)]}
    figure, alt = charts.funnel(steps)
    assert [bar.get_width() for axes in figure.axes for bar in axes.patches] == [100, 25, 100, 50, 12.5]  # type: ignore[attr-defined]
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["2,000", "500", "8", "4", "1"]
    assert "a: 500 of 2,000; b: 1 of 8" in alt and charts.png(figure)


def test_a_reliability_diagram_has_the_diagonal_and_a_line_for_each_system() -> None:
    rows = {"system": ["a", "a", "b"], "bin": [3, 9, 9], "n": [4, 10, 5], "confidence": [0.35, 0.95, 0.9]}
    figure, alt = charts.reliability(pd.DataFrame({**rows, "accuracy": [0.25, 1.0, 0.8]}))
    drawn = [[list(line.get_xdata()), list(line.get_ydata())] for line in figure.axes[0].lines]
    assert [[0, 100], [0, 100]] in drawn and [[35, 95], [25, 100]] in drawn and [[90], [80]] in drawn
    assert "a, b" in alt and charts.png(figure)
