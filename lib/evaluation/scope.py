"""Requests that are out of scope: how many a system tells from others, at one precision for all systems."""

import numpy as np
import pandas as pd

from lib.evaluation.metrics import wilson

LEVELS = "in_scope", "out_of_scope"  # those told apart; a confidence in values says nothing about the scope


def table(records: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row for each system on each test in which ``reference`` finds such requests; with Wilson's intervals.

    Of all others, ``n``: ``exact``, and ``accuracy`` of the tool alone. Of the ``n_out``, among LEVELS: ``precision``
    and ``recall`` of doing nothing; ``found``: the recall at the same precision, where a threshold on the confidence
    decides whether nothing is done instead of calls; of answers without calls, the unsure ones are given up first.
    """
    rows, found = records.reset_index(drop=True), list[dict[str, object]]()
    facts = {"out": rows["level"] == LEVELS[1], "told": rows["level"].isin(LEVELS), "none": ~rows["calls"].astype(bool)}
    rows = rows.assign(**facts)
    for test, part in rows.groupby("test", sort=False):
        systems = dict(iter(part.groupby("system", sort=False)))
        bar = systems[reference].query("none and told")["out"].mean() if reference in systems else 0.0
        if bar > 0:
            found += [{"test": test, "system": name, **_row(own, bar)} for name, own in systems.items()]
    return pd.DataFrame(found)


def _row(own: pd.DataFrame, bar: float) -> dict[str, float]:
    inside, out, told = own[~own["out"]], own[own["out"]], own[own["told"]]
    right = inside["exact"].astype(bool) | (inside["reason"] == "wrong_value")
    score = (1 + told["confidence"]).where(told["none"], 1 - told["confidence"])
    score = score.sort_values(ascending=False, kind="stable")
    hits = told.loc[score.index, "out"].cumsum()
    ends = ~score.duplicated(keep="last") & (hits / np.arange(1, len(hits) + 1) >= bar)
    most = float(hits[ends].max()) if ends.any() else 0.0
    row = {"n": len(inside), "exact": inside["exact"].mean(), "n_out": len(out), "recall": out["none"].mean()}
    row |= {"precision": told.query("none")["out"].mean(), "accuracy": right.mean(), "found": most / max(1, len(out))}
    shares = *wilson(right.sum(), len(right)), *wilson(most, len(out))
    return row | dict(zip(("low", "high", "found_low", "found_high"), shares, strict=True))
