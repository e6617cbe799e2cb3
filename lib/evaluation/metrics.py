"""From prediction records to tables: accuracy with Wilson's 95% score interval, McNemar's exact test, latency.

Brown, Cai and DasGupta (2001) say why not Wald's interval. A request asked in several orders of its context counts
once, as the share of its orders that were right: its answers are not independent. Wilson's interval with the mean of
these shares is then too wide rather than too narrow, since shares vary less than right or wrong; McNemar's test becomes
the sign test of which system is right more often.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest, norm

COLUMNS = ["system", "test", "level"]
ORDER = "order"  # of the context; records without it are of the first
Z = float(norm.ppf(0.975))
PAIRED = ["test", "system", "reference", "n", "only_reference", "only_system", "points", "p"]
AGAIN = ["system", "test", "other", "n", "accuracy", "other_accuracy", "points", "p"]


def wilson(right: float, n: int) -> tuple[float, float]:
    """Lower and upper end (shares in [0, 1]) of Wilson's interval for ``right`` out of ``n``; (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    share, spread = right / n, Z * Z / n
    middle, half = share + spread / 2, math.sqrt(spread * (share * (1 - share) + spread / 4))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def mcnemar_p(only_left: int, only_right: int) -> float:
    """Two-sided exact p-value for the requests that exactly one of two systems got right."""
    n = only_left + only_right
    return float(binomtest(only_left, n).pvalue) if n else 1.0


def frame(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Prediction records as a table, one row each; ``calls`` stay lists."""
    columns = [*COLUMNS, "id", "calls", "exact", "reward", "reason", "latency_ms", "prompt_tokens", "new_tokens"]
    table = pd.DataFrame(list(records))
    return table.assign(order=orders(table)) if len(table) else pd.DataFrame(columns=[*columns, ORDER])


def orders(table: pd.DataFrame) -> pd.Series:
    """The order of each record."""
    return table[ORDER].fillna(0).astype(int) if ORDER in table else pd.Series(0, table.index)


def by_request(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each request of one system on one test: ``exact`` (share of its orders) and ``changed``.

    ``changed``: whether its calls are not the same in all orders; NaN where there is one order only. The index is the
    id and how often it occurred before in one order, since an id may stand for several requests. A column ``answer``,
    equal for equal calls to a request, stands in for ``calls``.
    """
    said = table["answer"] if "answer" in table else table["calls"].map(canonical)
    answers: dict[tuple[str, int], list[tuple[float, Any]]] = {}
    seen = Counter[tuple[str, int]]()
    for key, order, exact, answer in zip(table["id"], orders(table), table["exact"], said, strict=True):
        answers.setdefault((key, seen[key, order]), []).append((float(exact), answer))
        seen[key, order] += 1
    rows = [(sum(exact for exact, _ in some) / len(some), _differ([a for _, a in some])) for some in answers.values()]
    index = pd.MultiIndex.from_tuples(list(answers), names=["id", "again"])
    return pd.DataFrame(rows, index, ["exact", "changed"], dtype=float)


def _differ(answers: Sequence[Any]) -> float:
    return float(len(set(answers)) > 1) if len(answers) > 1 else math.nan


def first_order(table: pd.DataFrame) -> pd.DataFrame:
    """The records of contexts as they are."""
    return table[orders(table) == 0]


def summary(table: pd.DataFrame, by: Sequence[str] = ("system", "test")) -> pd.DataFrame:
    """A row for each group in order of appearance: n, right, accuracy with its interval, mean reward, latency, tokens.

    n: requests, in whatever many orders; right: their shares added up. Accuracies are shares in [0, 1], and so is
    ``changed``, of requests whose calls depend on the order; latencies milliseconds; tokens are means per request.
    """
    rows = [dict(zip(by, key, strict=True)) | _row(group) for key, group in table.groupby(list(by), sort=False)]
    return pd.DataFrame(rows, columns=[*by, *_row(table.head(0))])


def _row(group: pd.DataFrame) -> dict[str, Any]:
    requests, times = by_request(group), group["latency_ms"].astype(float)
    n, right = len(requests), float(requests["exact"].sum())
    low, high = wilson(right, n)
    found = {"n": n, "right": right, "accuracy": right / n if n else math.nan, "low": low, "high": high}
    found |= {"changed": float(requests["changed"].mean())}
    found |= {name: float(group[name].mean()) for name in ("reward", "prompt_tokens", "new_tokens")}
    return found | {"p50_ms": times.quantile(0.5), "p95_ms": times.quantile(0.95), "mean_ms": times.mean()}


def by_level(table: pd.DataFrame) -> pd.DataFrame:
    """``summary`` by system, test and level in order, each followed by the test as a whole as level 'all'."""
    groups = [group for _, group in table.groupby(["system", "test"], sort=False)]
    parts = [part for g in groups for part in (g.sort_values("level", kind="stable"), g.assign(level="all"))]
    return summary(pd.concat(parts or [table], ignore_index=True), COLUMNS)


def paired(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Every other system against ``reference`` on each test, over the requests that both answered.

    ``only_reference`` and ``only_system``: requests that one got right (in more orders); ``points``: the system's gain.
    """
    rows = []
    for (test, system), group in table[table["system"] != reference].groupby(["test", "system"], sort=False):
        other = table[(table["system"] == reference) & (table["test"] == test)]
        rows.append((test, system, reference, *_gain(other, group)))
    return pd.DataFrame(rows, columns=PAIRED)


def _gain(before: pd.DataFrame, after: pd.DataFrame) -> tuple[int, int, int, float, float]:
    """n, requests that ``before`` and that ``after`` got right in more orders, points gained, p; of common requests."""
    left, right = (by_request(side)["exact"] for side in (before, after))
    both = left.index.intersection(right.index)
    gained = right[both] - left[both]
    lost, won = int((gained < 0).sum()), int((gained > 0).sum())
    points = 100 * float(gained.mean()) if len(both) else math.nan
    return len(both), lost, won, points, mcnemar_p(lost, won)


def same_requests(table: pd.DataFrame) -> pd.DataFrame:
    """Each system on two tests that share requests (by id): columns AGAIN, shares in [0, 1] of the common requests."""
    rows = []
    for system, own in table.groupby("system", sort=False):
        tests = {str(test): group for test, group in own.groupby("test", sort=False)}
        for (test, left), (other, right) in combinations(tests.items(), 2):
            both = {*left["id"]} & {*right["id"]}
            if both:
                sides = [side[side["id"].isin(both)] for side in (left, right)]
                shares = [by_request(side)["exact"].mean() for side in sides]
                n, _, _, points, p = _gain(*sides)
                rows.append((system, test, other, n, *shares, points, p))
    return pd.DataFrame(rows, columns=AGAIN)


def reasons(table: pd.DataFrame, by: Sequence[str] = ("system", "test")) -> pd.DataFrame:
    """How many answers were wrong for which reason, in the first order: a row a group, a column a reason."""
    wrong = first_order(table)
    wrong = wrong[~wrong["exact"].astype(bool)]
    return wrong.groupby([*by, "reason"], sort=False).size().unstack(fill_value=0).reset_index()


def agreement(table: pd.DataFrame, left: str, right: str, test: str) -> dict[str, float]:
    """Share of requests of ``test`` with the same calls of two systems, n, Wilson's interval, by the local metric.

    In the first order.
    """
    import evaluate

    calls = (
        first_order(table[table["test"] == test])
        .pivot(index="id", columns="system", values="calls")[[left, right]]
        .dropna()
    )
    texts = [calls[name].map(canonical).tolist() for name in (left, right)]
    metric = evaluate.load(str(Path(__file__).parent / "exact_match_metric"), experiment_id="agreement")
    return dict(metric.compute(predictions=texts[1], references=texts[0]))


def canonical(calls: Sequence[dict[str, Any]]) -> str:
    """Calls as one text that does not depend on their order or that of their arguments."""
    return json.dumps(sorted(json.dumps(c, sort_keys=True, ensure_ascii=False) for c in calls), ensure_ascii=False)
