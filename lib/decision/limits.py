"""How much routing can give at most, and what chance gives: an oracle, a random mix, and routes within an answer.

- Oracle: each request goes to the cheapest system that gets it right (or to the cheapest): no router is better.
- Random hull: requests are given to systems at random, so that a route is worth something only above the upper hull of
  the systems' points (arXiv 2502.00409 takes it as the baseline).
- Calls: *Reward-Guided Speculative Decoding* (RSD, arXiv 2501.19324) lets a target model write again the single step
  that a reward finds wrong, where a cascade asks it for the whole answer. A step is a call here. With a perfect reward,
  the right calls of both systems come together: the most that such a route can add to a cascade with perfect reward.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lib.decision.routing import DEVELOPED, HELD_OUT, Route, Router, aligned
from lib.evaluation.metrics import canonical

DELTA = 0.7  # the least reward of a step in the paper
Floats = NDArray[np.float64]


def oracle(router: Router) -> pd.DataFrame:
    """A row for each test of requests that nothing was fitted on, HELD_OUT included: n, accuracy, usd_per_million."""
    answers = [router.answers(Route((name,))) for name in router.systems]
    right = np.stack([rows["exact"].to_numpy(bool) for rows in answers])
    usd = np.stack([rows["usd_per_million"].to_numpy(float) for rows in answers])
    some, place, tests = right.max(axis=0), right.argmax(axis=0), answers[0]["test"]
    least = np.take_along_axis(usd, place[None], 0)[0]
    parts = {HELD_OUT: tests.isin(DEVELOPED), **{str(name): tests == name for name in tests.unique()}}
    rows = []
    for test, where in parts.items():
        if len(own := some[where]):
            row = {"test": test, "n": len(own), "accuracy": float(own.mean())}
            rows.append({**row, "usd_per_million": float(least[where].mean())})
    return pd.DataFrame(rows, columns=["test", "n", "accuracy", "usd_per_million"])


def hull(cost: Floats, accuracy: Floats, at: Floats) -> Floats:
    """The accuracy of the best random mix of systems that costs ``at``; below the cheapest, that of the cheapest.

    >>> hull(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.4, 0.9]), np.array([2.0, 9.0])).tolist()
    [0.7, 0.9]
    """
    xs, ys = [float(np.min(cost))], [float(np.max(accuracy[cost == np.min(cost)]))]
    while (over := (cost > xs[-1]) & (accuracy > ys[-1])).any():  # the steepest step upwards is the hull's next edge
        slope = (accuracy[over] - ys[-1]) / (cost[over] - xs[-1])
        best = int(slope.argmax())
        xs.append(float(cost[over][best]))
        ys.append(float(accuracy[over][best]))
    mixed: Floats = np.interp(at, xs, ys)
    return mixed


def over_random(points: pd.DataFrame) -> pd.DataFrame:
    """``points`` of lib.decision.routing.curve, and ``over_random``: points of accuracy above the random hull."""
    parts = []
    for _, rows in points.groupby("test", sort=False):
        alone = rows[rows["kind"] == "alone"]
        cost, accuracy = (alone[name].to_numpy(float) for name in ("usd_per_million", "accuracy"))
        mixed = hull(cost, accuracy, rows["usd_per_million"].to_numpy(float))
        parts.append(rows.assign(over_random=100 * (rows["accuracy"] - mixed)))
    return pd.concat(parts, ignore_index=True)


def by_calls(records: pd.DataFrame, draft: str, target: str) -> pd.DataFrame:
    """Whole answers against single calls as steps, with a perfect reward, by test and whether several calls are right.

    ``records``: of lib.decision.records; tests in others' words keep no calls and are left out. Columns: test,
    several, n, then shares: draft, target, ``whole`` (one of both answers is right), ``steps`` (each call of some right
    answer is in one of both), and ``at_delta`` with ``sent_up``: the draft's answer where the mean probability of its
    calls (the confidence's root) is at least DELTA, else the target's.
    """
    kept = records[records["calls"].notna() & records["gold"].notna()]
    one, other = aligned(kept, (draft, target))
    said = [[{canonical([call]) for call in calls} for calls in side["calls"]] for side in (one, other)]
    golds = [[[canonical([call]) for call in calls] for calls in gold] for gold in one["gold"]]
    right = [side["exact"].to_numpy(bool) for side in (one, other)]
    whole = right[0] | right[1]
    covered = [any({*g} <= a | b and g for g in gold) for gold, a, b in zip(golds, *said, strict=True)]
    calls = one["calls"].map(len).clip(lower=1)
    sure = (one["confidence"] ** (1 / calls) >= DELTA).to_numpy(bool)
    found = {"test": one.index.get_level_values("test"), "several": [max(map(len, gold)) > 1 for gold in golds]}
    found |= {"draft": right[0], "target": right[1], "whole": whole, "steps": whole | np.array(covered, dtype=bool)}
    found |= {"at_delta": np.where(sure, *right), "sent_up": ~sure}
    rows = pd.DataFrame(found).groupby(["test", "several"], sort=False)
    return rows.mean().assign(n=rows.size()).reset_index()
