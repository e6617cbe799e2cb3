"""How notebooks show tables, charts and sentences with figures in them, so that the report reads well without code.

Sentences of third-party tests are never shown: ``text`` masks an example's, ``table`` those of rows that are of such a
test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

from lib.report import charts

Format = Callable[[Any], str] | str
THIRD_PARTY = "third_party"
"""The ``split`` of third-party examples."""
TEXTS = ("text", "said", "request")
"""Columns that hold what somebody said."""
WITHHELD = "[a third-party test sentence, withheld]"


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
    ``"{:,.0f}"``. TEXTS of rows whose ``split`` is THIRD_PARTY are masked.
    """
    frame = pd.DataFrame(rows)
    if "split" in frame:
        hidden = frame["split"] == THIRD_PARTY
        frame = frame.assign(**{c: frame[c].mask(hidden, WITHHELD) for c in TEXTS if c in frame})
    if labels:
        frame = frame[list(labels)] if len(frame.columns) else pd.DataFrame(columns=list(labels))
    shown = pd.DataFrame({c: [_text(v, (formats or {}).get(c)) for v in frame[c]] for c in frame.columns})
    shown = shown.rename(columns=dict(labels or {}))
    html = shown.to_html(index=False, border=0, escape=True)
    display({"text/html": html, "text/plain": shown.to_string(index=False)}, raw=True)


def text(example: Any) -> str:
    """What an example says, masked if it is of a third-party test."""
    return WITHHELD if example.split == THIRD_PARTY else str(example.text)


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
    """A share with its interval, in percent.

    >>> share(0.912, 0.89, 0.931)
    '91.2 % (89.0–93.1)'
    """
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


def significant(compared: pd.DataFrame, test: str) -> None:
    """Says which differences of a test that lib.experiments.ablation.compare found are significant."""
    rows = [row for row in compared.to_dict("records") if row["test"] == test and row["against"]]
    real = [row for row in rows if row["low"] > 0 or row["high"] < 0]
    rest = [row for row in rows if row not in real]
    said = f"On **{test}**, significant differences (the 95 % interval excludes zero): {_differences(real)}."
    say(f"{said} Not significant: {_differences(rest)}.")


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
    table([{"system": s} | {f"{c} (n = {n[c]})": cells.get((s, c), "–") for c in names} for s in systems])


def _cell(row: dict[str, Any], n: int) -> str:
    text = share(row["accuracy"], row["low"], row["high"])
    return text if row["n"] == n else f"{text}, n = {row['n']}"
