"""How notebooks show tables, charts and sentences with figures in them, so that the report reads well without code.

>>> share(0.912, 0.89, 0.931)
'91.2 % (89.0–93.1)'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

from lib.report import charts

Format = Callable[[Any], str] | str


def say(*paragraphs: str) -> None:
    """Shows Markdown whose figures come from variables."""
    text = "\n\n".join(paragraphs)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def figure(chart: Figure, alt: str) -> None:
    """Shows a chart with its alternative text."""
    data, metadata = Image(charts.png(chart), format="png", alt=alt, width=760)._repr_mimebundle_()
    display({**data, "text/plain": alt}, metadata=metadata, raw=True)


def table(rows: Any, labels: Mapping[str, str] | None = None, formats: Mapping[str, Format] | None = None) -> None:
    """Shows a table: the columns of ``labels`` under these headings, each value through its format if it has one.

    ``rows``: a DataFrame or a list of dicts; none give the headings alone. A format is a function, or a format such as
    ``"{:,.0f}"``.
    """
    frame = pd.DataFrame(rows)
    if labels:
        frame = frame[list(labels)] if len(frame.columns) else pd.DataFrame(columns=list(labels))
    shown = pd.DataFrame({c: [_text(v, (formats or {}).get(c)) for v in frame[c]] for c in frame.columns})
    shown = shown.rename(columns=dict(labels or {}))
    html = shown.to_html(index=False, border=0, escape=True)
    display({"text/html": html, "text/plain": shown.to_string(index=False)}, raw=True)


def _text(value: Any, how: Format | None) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if how is None:
        return f"{value:.3g}" if isinstance(value, float) else str(value)
    return how.format(value) if isinstance(how, str) else how(value)


def calls(answer: Sequence[Mapping[str, Any]]) -> str:
    """Calls in one line for people, 'nothing' if there are none.

    >>> calls([{"name": "Dim", "arguments": {"name": "Lamp", "percent": 40}}])
    'Dim(name=Lamp, percent=40)'
    """
    lines = [f"{c['name']}({', '.join(f'{k}={v}' for k, v in c['arguments'].items())})" for c in answer]
    return "; ".join(lines) or "nothing"


def share(accuracy: float, low: float, high: float) -> str:
    """A share with its interval, in percent."""
    return f"{accuracy * 100:.1f} % ({low * 100:.1f}–{high * 100:.1f})"


def variants(compared: pd.DataFrame) -> None:
    """Shows what lib.experiments.ablation.compare found, with the seconds that training took."""
    rows = compared.to_dict("records")
    for row in rows:
        row["by_seed"] = ", ".join(f"{mean:.1%}" for mean in row["by_seed"])
        known = f"{row['points']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
        row |= {"change": known if row["against"] else None, "against": row["against"] or None}
    labels = {"test": "test", "variant": "variant", "n": "requests", "mean": "right", "by_seed": "by seed"}
    labels |= {"against": "against", "change": "points more (95 % interval)", "p": "p", "seconds": "training"}
    table(rows, labels, {"mean": "{:.1%}", "p": "{:.3f}", "seconds": "{:.0f} s"})


def told_apart(compared: pd.DataFrame, test: str) -> None:
    """Says which differences of a test that lib.experiments.ablation.compare found are more than chance, and which are not."""
    rows = [row for row in compared.to_dict("records") if row["test"] == test and row["against"]]
    real = [row for row in rows if _is_real(row)]
    rest = [row for row in rows if not _is_real(row)]
    said = f"On **{test}**, differences whose interval does not reach zero: {_differences(real)}."
    say(f"{said} Not told from chance: {_differences(rest)}.")


def _is_real(row: Mapping[str, Any]) -> bool:
    return bool(row["low"] > 0 or row["high"] < 0)


def _differences(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{r['variant']} against {r['against']} ({r['points']:+.1f} points)" for r in rows) or "none"


def accuracies(summary: pd.DataFrame, columns: str, order: Sequence[str] | None = None) -> None:
    """Shows a row for each system and a column for each test or level (``columns``), n in the heading or the cell.

    ``summary``: system, the column named ``columns``, n, accuracy, low, high. Cells: percent with 95% interval.
    """
    names = list(order or dict.fromkeys(summary[columns]))
    n = {name: int(summary.loc[summary[columns] == name, "n"].max()) for name in names}
    cells = {(r["system"], r[columns]): _cell(r, n[r[columns]]) for r in summary.to_dict("records")}
    systems = dict.fromkeys(summary["system"])
    rows = [{"system": s} | {f"{c} (n = {n[c]})": cells.get((s, c), "–") for c in names} for s in systems]
    table(rows)


def _cell(row: dict[str, Any], n: int) -> str:
    text = share(row["accuracy"], row["low"], row["high"])
    return text if row["n"] == n else f"{text}, n = {row['n']}"
