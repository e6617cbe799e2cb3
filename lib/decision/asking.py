"""Answering only when sure, and asking back otherwise: promises about the answers that are given, and what is left.

A promise: of the answers given at most a share is wrong, with 95% confidence. A rule that keeps it is found on one half
of the development requests, by the exact bound of each threshold, all together at that confidence (Learn then Test,
arXiv 2110.01052, with Bonferroni's correction), and is checked on the other half and on each other test: a promise
holds for requests drawn like those that it was found on, and for no others.

Two rules: a system's confidence, and the agreement of two systems, the question being the last rung of the route.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib.decision.guarantee import ERROR, FAILS, HOLDS, OPEN, least_n, lower, upper
from lib.decision.routing import DEVELOPED, HELD_OUT, aligned, fitted_on

GRID = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99)
"""Confidences that may become the threshold; fixed before any answer is seen."""


def threshold(rows: pd.DataFrame, promise: float) -> float:
    """The lowest confidence of GRID whose answers are bounded by ``promise``; NaN if none is: ask always."""
    for least in GRID:
        given = rows.loc[rows["confidence"] >= least, "exact"]
        if upper(int((~given.astype(bool)).sum()), len(given), ERROR / len(GRID)) <= promise:
            return least
    return math.nan


def needed(promise: float) -> int:
    """The fewest answers, none of them wrong, that allow a threshold."""
    return least_n(1 - promise, ERROR / len(GRID))


def by_confidence(records: pd.DataFrame, system: str, promise: float) -> list[dict[str, Any]]:
    """A row for each test of ``system``'s records: ``rule``, ``promise`` and ``_checked``."""
    own = records[records["system"] == system]
    half = fitted_on(own)
    least = threshold(own[half & own["test"].isin(DEVELOPED)], promise)
    rule = f"{system}, asks below {least:g}" if least == least else f"{system}, asks always"
    return _checked(own[~half].assign(given=own["confidence"] >= least), rule, promise)


def by_agreement(records: pd.DataFrame, systems: Sequence[str], promise: float) -> list[dict[str, Any]]:
    """The same for answers that both of two systems give; ``records`` as of lib.decision.records."""
    one, other = aligned(records, systems)
    sure = (one["confidence"] > 0) & (other["confidence"] > 0)  # rules that do not know a sentence are not
    own = one.assign(given=sure & (one["answer"] == other["answer"])).reset_index()
    return _checked(own[~fitted_on(own)], f"{systems[0]} and {systems[1]} agree", promise)


def _checked(rows: pd.DataFrame, rule: str, promise: float) -> list[dict[str, Any]]:
    """By test, the half not fitted on first: n, answered (share), wrong (of the answers given), most, verdict.

    ``most``: the upper bound of wrong; ``all_wrong``: the share that would be wrong if every request were answered.
    """
    tests = {HELD_OUT: rows["test"].isin(DEVELOPED)}
    tests |= {name: rows["test"] == name for name in rows["test"].unique() if name not in DEVELOPED}
    found = []
    for test, where in tests.items():
        own = rows[where]
        given = own.loc[own["given"], "exact"].astype(bool)
        n, wrong = len(given), int((~given).sum())
        most, least = upper(wrong, n, ERROR), float(lower(wrong, n, ERROR)) if n else 0.0
        verdict = HOLDS if most <= promise else FAILS if least > promise else OPEN
        row = {"rule": rule, "promise": promise, "test": test, "n": len(own), "answered": n / max(1, len(own))}
        row |= {"wrong": wrong / n if n else math.nan, "most": most, "verdict": verdict}
        found.append({**row, "all_wrong": 1 - float(own["exact"].astype(float).mean()) if len(own) else np.nan})
    return found
