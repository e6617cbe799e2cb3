"""The models of a list as one table and two charts: what each is worth for its size and for its time.

Every model is compared with one of them, the parent, on the requests that both answered: the development set and the
tests of others together. A model is on the frontier if none is smaller (faster) and at least as accurate.

>>> rows = table(predictions, models, "assistant q8_0", ["dev"], ["assist_mini"])        # doctest: +SKIP
>>> rows[["system", "size_mb", "accuracy", "lost", "p", "faster"]]                       # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lib.compression.models import CompressedError
from lib.core.files import Row
from lib.evaluation import metrics
from lib.report import charts

TOGETHER = "together"
WARM = 0.5
"""The share of a prompt that is in the cache when a request of the same context came before."""


def check(names: Sequence[str], **asked: str) -> None:
    """Raises CompressedError for a parameter of ``asked`` that names no model of the list."""
    for key, name in asked.items():
        if name not in names:
            raise CompressedError(f"{key}: '{name}' is not in models: use one of {', '.join(names)}")


def table(
    predictions: pd.DataFrame, models: Sequence[Row], parent: str, dev: Sequence[str], others: Sequence[str]
) -> pd.DataFrame:
    """A row for each of ``models`` (lib.compression.models.make): what it is, how often it is right, what it lost, its time.

    ``dev``, ``others``: names of tests. Columns: system, step, weights, size_mb; n_dev, dev, dev_low, dev_high;
    n_others, others, others_low, others_high (missing without tests of others); n, accuracy, low, high (together);
    pairs, ``lost`` (points against the parent, of the requests that both answered) and ``p`` (McNemar's exact test);
    p50_ms and p95_ms of requests whose context was in the cache, and ``faster``, the parent's median over the model's.
    Accuracies and their Wilson intervals are shares in [0, 1].
    """
    own = predictions[predictions["system"].isin([row["name"] for row in models])]
    sets = {"dev_": pooled(own, dev), "others_": pooled(own, others), "": pooled(own, [*dev, *others])}
    right = {prefix: metrics.summary(rows).set_index("system") for prefix, rows in sets.items()}
    pairs = metrics.paired(sets[""], parent).set_index("system")
    times = metrics.summary(_warm(sets[""])).set_index("system")
    rows = [_row(row, right, pairs, times, parent) for row in models]
    return pd.DataFrame(rows)


def pooled(predictions: pd.DataFrame, tests: Sequence[str]) -> pd.DataFrame:
    """The records of ``tests`` as those of one test; ids stay apart."""
    chosen = predictions[predictions["test"].isin(list(tests))]
    return chosen.assign(id=chosen["test"] + "/" + chosen["id"], test=TOGETHER)


def _warm(rows: pd.DataFrame) -> pd.DataFrame:
    """Requests whose context was read before; of a system that had none such, all."""
    warm = rows["cached_tokens"] >= WARM * rows["prompt_tokens"]
    return rows[warm | ~rows["system"].isin(rows.loc[warm, "system"])]


def _row(model: Row, right: dict[str, pd.DataFrame], pairs: pd.DataFrame, times: pd.DataFrame, parent: str) -> Row:
    name = model["name"]
    row: Row = {"system": name, **{key: model[key] for key in ("step", "weights", "size_mb")}}
    for prefix, found in right.items():
        there = found.loc[name] if name in found.index else {}
        row[f"n_{prefix}".strip("_")] = int(there.get("n", 0))
        ends = {"accuracy": prefix.strip("_") or "accuracy", "low": f"{prefix}low", "high": f"{prefix}high"}
        row |= {column: float(there.get(key, math.nan)) for key, column in ends.items()}
    row |= {"pairs": row["n"], "lost": math.nan, "p": math.nan}
    if name != parent:
        pair = pairs.loc[name]
        lost = 100 * (pair["only_reference"] - pair["only_system"]) / pair["n"]
        row |= {"pairs": int(pair["n"]), "lost": float(lost), "p": float(pair["p"])}
    speed = times.loc[name]
    faster = times.loc[parent, "p50_ms"] / speed["p50_ms"]
    return {**row, "p50_ms": float(speed["p50_ms"]), "p95_ms": float(speed["p95_ms"]), "faster": float(faster)}


def figures(rows: pd.DataFrame) -> dict[str, tuple[Figure, str]]:
    """The charts of ``table``, each with its alternative text: frontier_size and frontier_latency."""
    n = int(rows["n"].max())
    sides = {
        "frontier_size": ("size_mb", "size of the file (MB)", "Size", "MB"),
        "frontier_latency": ("p50_ms", "median time of a request, its context read before (ms)", "Time", "ms"),
    }
    return {name: (_chart(rows, *side, n), _alt(rows, *side)) for name, side in sides.items()}


def _chart(rows: pd.DataFrame, x: str, label: str, title: str, unit: str, n: int) -> Figure:
    return charts.frontier(rows, x, label, f"{title} against accuracy (n = {n}, 95% intervals)")


def _alt(rows: pd.DataFrame, x: str, label: str, title: str, unit: str) -> str:
    front: Any = ", ".join(charts.pareto(rows, x)["system"])
    each = [
        f"{r['system']} ({r['step']}) {r[x]:.3g} {unit}, {r['accuracy'] * 100:.1f} %" for r in rows.to_dict("records")
    ]
    return f"Chart of accuracy against {label}: {'; '.join(each)}. On the frontier: {front}."
