"""Whether a system's confidence says how often it is right, and what is left wrong where it answers only when sure.

Reliability diagram and expected calibration error: Guo et al., arXiv 1706.04599; coverage and risk: Geifman and
El-Yaniv, arXiv 1705.08500.

>>> import pandas as pd
>>> rows = pd.DataFrame({"system": "a", "confidence": [0.95, 0.95, 0.55, 0.55], "exact": [True, True, True, False]})
>>> expected_error(rows).round(3).values.tolist()
[['a', 4, 0.75, 0.75, 0.05]]
>>> coverage_risk(rows)[["coverage", "risk"]].values.tolist()
[[0.5, 0.0], [1.0, 0.25]]
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

BINS = 10


def reliability(records: pd.DataFrame) -> pd.DataFrame:
    """A row for each system and tenth of the confidences: n, mean confidence, accuracy."""
    rows = []
    for system, own in records.groupby("system", sort=False):
        tenth = (own["confidence"] * BINS).astype(int).clip(upper=BINS - 1)
        for place, part in own.groupby(tenth):
            rows.append([system, place, len(part), part["confidence"].mean(), float(part["exact"].sum()) / len(part)])
    return pd.DataFrame(rows, columns=["system", "bin", "n", "confidence", "accuracy"])


def expected_error(records: pd.DataFrame) -> pd.DataFrame:
    """A row for each system: n, mean confidence, accuracy, and ``ece``: their mean distance over the bins."""
    found = reliability(records)
    found["ece"] = (found["confidence"] - found["accuracy"]).abs()
    means = ["confidence", "accuracy", "ece"]
    found[means] = found[means].mul(found["n"] / found.groupby("system")["n"].transform("sum"), axis=0)
    return found.groupby("system", sort=False)[["n", *means]].sum().reset_index()


def coverage_risk(records: pd.DataFrame) -> pd.DataFrame:
    """A row for each system and confidence that occurs, downwards, as ``threshold``.

    ``coverage``: the share of answers at least that confident; ``risk``: the share of these that is wrong.
    """
    parts = []
    for system, part in records.groupby("system", sort=False):
        ranked = part.sort_values("confidence", ascending=False, kind="stable")
        count = np.arange(1, len(ranked) + 1)
        risk = 1 - ranked["exact"].astype(float).cumsum().to_numpy() / count
        found = {"system": system, "threshold": ranked["confidence"], "coverage": count / len(ranked), "risk": risk}
        parts.append(pd.DataFrame(found).drop_duplicates("threshold", keep="last"))
    return pd.concat(parts, ignore_index=True)


def fit(records: pd.DataFrame) -> dict[str, IsotonicRegression]:
    """By system, a rising function from its confidence to the share of answers that are right."""
    fitted = {}
    for name, part in records.groupby("system", sort=False):
        rising = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        fitted[str(name)] = rising.fit(part["confidence"], part["exact"].astype(float))
    return fitted
