"""When to stop asking: how often a rule that looks at results as they come accepts a system that misses its target.

SMART (arXiv 2403.13835) asks one request after another and takes an exact interval after every ten. Each look is wrong
with the error that it allows, so that all together are wrong far more often. The rules here:

- EVERY_TEN: as in the paper's code, each look with the whole error. Its promise does not hold.
- PLANNED: one look, when all requests were asked.
- DOUBLINGS: looks at n, n/2, n/4 …, the error shared out among them (Bonferroni).
- SEQUENCE: after every ten, by a betting martingale: the likelihood of shares above the target, all alike likely, over
  that of the target. It exceeds 1 / error at any time with at most this probability (Ville 1939; Robbins 1970; Howard
  et al., arXiv 1810.08240), however often one looks.

A system is dropped by the same rule for its wrong answers. For several systems, give each its part of the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.special import betaln, xlog1py, xlogy
from scipy.stats import beta

from lib.decision.guarantee import ERROR, lower

RULES = "every ten", "planned", "doublings", "sequence"
EVERY_TEN, PLANNED, DOUBLINGS, SEQUENCE = RULES
FEWEST = 50  # requests before the first of the doublings
POINTS = -0.5, -0.1, 1.0, 2.0  # of the true share above the target, in simulations


def looks(rule: str, n: int) -> list[int]:
    """After how many requests of ``n`` a rule looks.

    >>> looks(DOUBLINGS, 400), looks(EVERY_TEN, 35)
    ([50, 100, 200, 400], [10, 20, 30])
    """
    halves = [n // 2**k for k in range(max(0, int(math.log2(max(1, n / FEWEST)))), -1, -1)]
    every = [*range(10, n + 1, 10)]
    return {EVERY_TEN: every, PLANNED: [n], DOUBLINGS: halves, SEQUENCE: every}[rule]


@cache
def enough(rule: str, target: float, n: int, error: float) -> Mapping[int, int]:
    """At each look the fewest right that show a share of at least ``target``; looks that cannot are left out."""
    at = looks(rule, n)
    each = error / len(at) if rule == DOUBLINGS else error
    found = {}
    for asked in at:
        right = np.arange(asked + 1)
        shown = evidence(right, asked, target) >= -math.log(error) if rule == SEQUENCE else None
        held = lower(right, asked, each) >= target if shown is None else shown & (right > target * asked)
        if held.any():
            found[asked] = int(held.argmax())
    return found


def evidence(right: Any, n: int, target: float) -> NDArray[np.float64]:
    """The logarithm of the martingale: the mean likelihood of shares from ``target`` to 1 over that of ``target``."""
    wrong = n - np.asarray(right)
    above = beta.logsf(target, right + 1.0, wrong + 1.0) - math.log1p(-target)
    own: NDArray[np.float64] = betaln(right + 1.0, wrong + 1.0) + above - xlogy(right, target) - xlog1py(wrong, -target)
    return own


class Stop(NamedTuple):
    """``verdict`` of each row: 1 accepted, -1 dropped, 0 neither after all; ``asked``: after how many requests."""

    verdict: NDArray[np.int64]
    asked: NDArray[np.int64]


def stops(right: Any, rule: str, target: float, error: float) -> Stop:
    """Where a rule stops in each row of ``right`` (rows, requests in their order; 1 or 0)."""
    flags = np.asarray(right, dtype=np.int32)
    count, n = flags.cumsum(axis=1), flags.shape[1]
    verdict, asked = np.zeros(len(flags), np.int64), np.full(len(flags), n)
    good, bad = enough(rule, target, n, error), enough(rule, 1 - target, n, error)
    for at in looks(rule, n):
        here = count[:, at - 1]
        said = np.where(here >= good.get(at, at + 1), 1, np.where(at - here >= bad.get(at, at + 1), -1, 0))
        new = (verdict == 0) & (said != 0)
        verdict[new], asked[new] = said[new], at
    return Stop(verdict, asked)


def simulated(
    targets: Sequence[float], n: int, draws: int, seed: int, points: Sequence[float] = POINTS, error: float = ERROR
) -> pd.DataFrame:
    """A row for each target, rule, and distance of the true share in ``points``: how often it is accepted, and asked.

    Below the target an acceptance is wrong, and ``error`` is what the rule allows of them. ``draws`` runs of ``n``
    requests drawn independently. Columns: target, rule, points, wrong (whether acceptance is), accepted, asked (mean).
    """
    rows, rng = [], np.random.default_rng(seed)
    for target in targets:
        for distance in points:
            share = min(1.0, target + distance / 100)
            right = rng.random((draws, n)) < share
            for rule in RULES:
                stop = stops(right, rule, target, error)
                row = {"target": target, "rule": rule, "points": distance, "wrong": distance < 0}
                rows.append({**row, "accepted": float((stop.verdict > 0).mean()), "asked": float(stop.asked.mean())})
    return pd.DataFrame(rows)


def profiled(
    kept: pd.DataFrame, usd: Mapping[str, float], target: float, rule: str, draws: int, seed: int
) -> dict[str, Any]:
    """What a rule needs to choose the cheapest candidate that keeps ``target``, in ``draws`` orders of the requests.

    ``kept``: of lib.decision.guarantee, all candidates asked. Each has its part of ERROR. Asking ends when the cheapest
    that is not dropped is accepted, or all are dropped. ``system``: chosen most often, "" for none; ``chosen``: the
    share of orders in which it is; ``asked``: the mean number of requests. There may be none.
    """
    names = sorted((name for name in kept if name in usd), key=lambda name: (usd[name], name))
    rows, rng = kept[names].dropna(), np.random.default_rng(seed)
    if not len(rows) or not names:
        return {"target": target, "rule": rule, "system": "", "n": 0, "chosen": 1.0, "asked": 0.0}
    orders = np.stack([rng.permutation(len(rows)) for _ in range(draws)])
    done = [stops(rows[name].to_numpy()[orders], rule, target, ERROR / len(names)) for name in names]
    chosen, asked = np.full(draws, -1), np.zeros(draws, np.int64)
    for i, stop in enumerate(done):
        open_ = chosen < 0
        asked[open_] = np.maximum(asked, stop.asked)[open_]
        chosen[open_ & (stop.verdict > 0)] = i
    values, times = np.unique(chosen, return_counts=True)
    best = int(values[times.argmax()])
    found = {"target": target, "rule": rule, "system": names[best] if best >= 0 else "", "n": len(rows)}
    return {**found, "chosen": float(times.max() / draws), "asked": float(asked.mean())}


def mixture(bounds: pd.DataFrame, reference: str, usd: float, target: float) -> dict[str, float]:
    """Which share of requests to give to each system so that ``target`` is kept at the least cost, as SMART does.

    ``bounds``: of lib.decision.guarantee, which hold together; the reference costs ``usd`` and keeps all of itself.
    Requests are drawn for a system, not chosen by what they say. Shares of 0 are left out.

    >>> table = pd.DataFrame({"system": ["a"], "usd": [1.0], "low": [0.9]})
    >>> mixture(table, "b", 3.0, 0.95)
    {'a': 0.5, 'b': 0.5}
    """
    names, low = [*bounds["system"], reference], np.array([*bounds["low"], 1.0])
    every = np.ones((1, len(names)))
    made = linprog([*bounds["usd"], usd], A_ub=-low[None], b_ub=[-target], A_eq=every, b_eq=[1.0], bounds=(0, 1))
    return {name: round(float(x), 6) for name, x in zip(names, made.x, strict=True) if x > 1e-9}
