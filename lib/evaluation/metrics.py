"""From prediction records to tables: accuracy with Wilson's 95% score interval, paired differences, latency.

Differences have Newcombe's interval for pairs (1998, method 10) and McNemar's exact test, whose p-values Holm (1979)
corrects for the number of comparisons in a table. Brown, Cai and DasGupta (2001) say why not Wald's interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

COLUMNS = ["system", "test", "level"]
Z = float(norm.ppf(0.975))
GAIN = ["n", "only_reference", "only_system", "points", "low", "high", "p"]
PAIRED = ["test", "system", "reference", *GAIN, "holm"]
AGAIN = ["system", "test", "other", "n", "accuracy", "other_accuracy", "points", "p", "holm"]


def wilson(right: float, n: int, z: float = Z) -> tuple[float, float]:
    """Lower and upper end (shares in [0, 1]) of Wilson's interval for ``right`` out of ``n``; (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    share, spread = right / n, z * z / n
    middle, half = share + spread / 2, math.sqrt(spread * (share * (1 - share) + spread / 4))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def mcnemar_p(only_left: int, only_right: int) -> float:
    """Two-sided exact p-value for the requests that exactly one of two systems got right."""
    n = only_left + only_right
    return float(binomtest(only_left, n).pvalue) if n else 1.0


def newcombe(before: pd.Series, after: pd.Series, z: float = Z) -> tuple[float, float]:
    """Ends of the interval of the mean of ``after`` less that of ``before``: 0.0 or 1.0 for each of the same requests.

    >>> same = pd.Series([1.0] * 90 + [0.0] * 10)
    >>> [round(end, 3) for end in newcombe(same, same)]
    [-0.035, 0.035]
    """
    n = len(before)
    if not n:
        return -1.0, 1.0
    left, right = float(before.mean()), float(after.mean())
    both, spread = float((before * after).mean()) - left * right, left * (1 - left) * right * (1 - right)
    phi = (max(both - 1 / (2 * n), 0.0) if both > 0 else both) / math.sqrt(spread) if spread > 0 else 0.0
    (low, high), (lower, higher) = wilson(left * n, n, z), wilson(right * n, n, z)
    down, up = (right - lower, high - left), (higher - right, left - low)
    sides = [math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b)) for a, b in (down, up)]
    return right - left - sides[0], right - left + sides[1]


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number; those that are NaN count for nothing.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.array(p, dtype=float)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    steps = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    values[order] = np.minimum(steps, 1.0)
    return [float(value) for value in values]


def frame(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Prediction records as a table, one row each; ``calls`` stay lists. Without old ones of homes in other orders."""
    columns = [*COLUMNS, "id", "calls", "exact", "reward", "reason", "latency_ms", "prompt_tokens", "new_tokens"]
    table = pd.DataFrame([row for row in records if not row.get("order")])
    return table if len(table) else pd.DataFrame(columns=columns)


def _exact(table: pd.DataFrame) -> pd.Series:
    """Which requests one system got right on one test, by id and its count before: it may stand for several."""
    return table.set_index(["id", table.groupby("id").cumcount()])["exact"].astype(float)


def summary(table: pd.DataFrame, by: Sequence[str] = ("system", "test")) -> pd.DataFrame:
    """A row for each group in order of appearance: n, right, accuracy with its interval, mean reward, latency, tokens.

    Accuracies are shares in [0, 1], and so is ``wrong_action``, of answers that do something which was not to be done,
    or not all that was; latencies milliseconds; tokens are means per request.
    """
    rows = [dict(zip(by, key, strict=True)) | _row(group) for key, group in table.groupby(list(by), sort=False)]
    return pd.DataFrame(rows, columns=[*by, *_row(table.head(0))])


def _row(group: pd.DataFrame) -> dict[str, Any]:
    times, n, right = group["latency_ms"].astype(float), len(group), float(group["exact"].sum())
    low, high = wilson(right, n)
    found = {"n": n, "right": right, "accuracy": right / n if n else math.nan, "low": low, "high": high}
    acted = group["acted"] if "acted" in group else group["calls"].map(bool)
    wrong = acted.astype(bool) & ~group["exact"].astype(bool)
    found |= {"wrong_action": float(wrong.mean())}
    found |= {name: float(group[name].mean()) for name in ("reward", "prompt_tokens", "new_tokens")}
    return found | {"p50_ms": times.quantile(0.5), "p95_ms": times.quantile(0.95), "mean_ms": times.mean()}


def by_level(table: pd.DataFrame) -> pd.DataFrame:
    """``summary`` by system, test and level in order, each followed by the test as a whole as level 'all'."""
    groups = [group for _, group in table.groupby(["system", "test"], sort=False)]
    parts = [part for g in groups for part in (g.sort_values("level", kind="stable"), g.assign(level="all"))]
    return summary(pd.concat(parts or [table], ignore_index=True), COLUMNS)


def paired(table: pd.DataFrame, reference: str, z: float = Z) -> pd.DataFrame:
    """Every other system against ``reference`` on each test, over the requests that both answered.

    ``only_reference`` and ``only_system``: requests that one alone got right; ``points``: the system's gain, with the
    ends of its interval; ``holm``: p corrected for the number of rows.
    """
    rows = []
    for (test, system), group in table[table["system"] != reference].groupby(["test", "system"], sort=False):
        other = table[(table["system"] == reference) & (table["test"] == test)]
        rows.append((test, system, reference, *_gain(other, group, z).values()))
    found = pd.DataFrame(rows, columns=PAIRED[:-1])
    return found.assign(holm=holm(found["p"]))


def _gain(before: pd.DataFrame, after: pd.DataFrame, z: float = Z) -> dict[str, Any]:
    """GAIN, of the requests that both answered."""
    left, right = _exact(before), _exact(after)
    both = left.index.intersection(right.index)
    left, right = left[both], right[both]
    gained = right - left
    lost, won = int((gained < 0).sum()), int((gained > 0).sum())
    low, high = newcombe(left, right, z)
    points = 100 * float(gained.mean()) if len(both) else math.nan
    return dict(zip(GAIN, (len(both), lost, won, points, 100 * low, 100 * high, mcnemar_p(lost, won)), strict=True))


def same_requests(table: pd.DataFrame) -> pd.DataFrame:
    """Each system on two tests that share requests (by id): columns AGAIN, shares in [0, 1] of the common requests."""
    rows = []
    for system, own in table.groupby("system", sort=False):
        tests = {str(test): group for test, group in own.groupby("test", sort=False)}
        for (test, left), (other, right) in combinations(tests.items(), 2):
            both = {*left["id"]} & {*right["id"]}
            if both:
                sides = [side[side["id"].isin(both)] for side in (left, right)]
                shares = [side["exact"].mean() for side in sides]
                found = _gain(*sides)
                rows.append((system, test, other, found["n"], *shares, found["points"], found["p"]))
    table = pd.DataFrame(rows, columns=AGAIN[:-1])
    return table.assign(holm=holm(table["p"]))


def reasons(table: pd.DataFrame, by: Sequence[str] = ("system", "test")) -> pd.DataFrame:
    """How many answers were wrong for which reason: a row a group, a column a reason."""
    wrong = table[~table["exact"].astype(bool)]
    return wrong.groupby([*by, "reason"], sort=False).size().unstack(fill_value=0).reset_index()


def agreement(table: pd.DataFrame, left: str, right: str, test: str) -> dict[str, float]:
    """Share of requests of ``test`` with the same calls of two systems, n, Wilson's interval, by the local metric."""
    import evaluate

    calls = table[table["test"] == test].pivot(index="id", columns="system", values="calls")[[left, right]].dropna()
    texts = [calls[name].map(canonical).tolist() for name in (left, right)]
    metric = evaluate.load(str(Path(__file__).parent / "exact_match_metric"), experiment_id="agreement")
    return dict(metric.compute(predictions=texts[1], references=texts[0]))


def canonical(calls: Sequence[dict[str, Any]]) -> str:
    """Calls as one text that does not depend on their order or that of their arguments."""
    return json.dumps(sorted(json.dumps(c, sort_keys=True, ensure_ascii=False) for c in calls), ensure_ascii=False)
