"""Requests that are out of scope: how many a system tells from others, at one precision for all systems."""

import numpy as np
import pandas as pd

from lib.evaluation.metrics import wilson

OUTSIDE = "out_of_scope"  # the level of such requests


def table(records: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row for each system on each test in which ``reference`` finds such requests; with Wilson's intervals.

    Of the ``n`` others: ``exact``, and ``accuracy`` of the tool alone. Of the ``n_out``: ``precision`` and ``recall``
    of doing nothing; ``found``: the recall of a threshold on the confidence, at the precision of ``reference``.
    """
    rows = records.drop_duplicates(["test", "system", "id"])
    sure, none = rows["confidence"], ~rows["calls"].astype(bool)
    rows = rows.assign(out=rows["level"] == OUTSIDE, none=none, score=sure.where(none, 1 - sure))
    found = []
    for test, part in rows.groupby("test", sort=False):
        systems = dict(iter(part.groupby("system", sort=False)))
        bar = float(systems[reference].query("none")["out"].mean()) if reference in systems else 0.0
        if bar > 0:
            found += [{"test": test, "system": name, **_row(own, bar)} for name, own in systems.items()]
    return pd.DataFrame(found)


def _row(own: pd.DataFrame, bar: float) -> dict[str, float]:
    inside, out = own[~own["out"]], own[own["out"]]
    right = inside["exact"].astype(bool) | (inside["reason"] == "wrong_value")
    hits = own.sort_values("score", ascending=False, kind="stable")["out"].cumsum()
    ends = ~own.loc[hits.index, "score"].duplicated(keep="last") & (hits / np.arange(1, len(own) + 1) >= bar)
    most = float(hits[ends].max()) if ends.any() else 0.0
    row = {"n": len(inside), "exact": inside["exact"].mean(), "n_out": len(out), "recall": out["none"].mean()}
    row |= {"precision": own.query("none")["out"].mean(), "accuracy": right.mean(), "found": most / max(1, len(out))}
    ends = *wilson(right.sum(), len(right)), *wilson(most, len(out))
    return row | dict(zip(("low", "high", "found_low", "found_high"), ends, strict=True))
