"""From prediction records to tables: accuracy with Wilson's 95% score interval, McNemar's exact test, latency.

Both are scipy's; Brown, Cai and DasGupta (2001) say why not Wald's interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

COLUMNS = ["system", "test", "level"]
PAIRED = ["test", "system", "reference", "n", "only_reference", "only_system", "points", "p"]


def wilson(right: int, n: int) -> tuple[float, float]:
    """Lower and upper end (shares in [0, 1]) of Wilson's interval for ``right`` out of ``n``; (0, 1) for n = 0."""
    low, high = binomtest(right, n).proportion_ci(method="wilson") if n else (0.0, 1.0)
    return float(low), float(high)


def mcnemar_p(only_left: int, only_right: int) -> float:
    """Two-sided exact p-value for the requests that exactly one of two systems got right."""
    n = only_left + only_right
    return float(binomtest(only_left, n).pvalue) if n else 1.0


def frame(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Prediction records as a table, one row each; ``calls`` stay lists."""
    columns = [*COLUMNS, "id", "calls", "exact", "reward", "reason", "latency_ms", "prompt_tokens", "new_tokens"]
    table = pd.DataFrame(list(records))
    return table if len(table) else pd.DataFrame(columns=columns)


def summary(table: pd.DataFrame, by: Sequence[str] = ("system", "test")) -> pd.DataFrame:
    """A row for each group in order of appearance: n, right, accuracy with its interval, mean reward, latency, tokens.

    Accuracies are shares in [0, 1]; latencies milliseconds; tokens are means per request.
    """
    rows = [dict(zip(by, key, strict=True)) | _row(group) for key, group in table.groupby(list(by), sort=False)]
    return pd.DataFrame(rows, columns=[*by, *_row(table.head(0))])


def _row(group: pd.DataFrame) -> dict[str, Any]:
    n, right, times = len(group), int(group["exact"].sum()), group["latency_ms"].astype(float)
    low, high = wilson(right, n)
    found = {"n": n, "right": right, "accuracy": right / n if n else math.nan, "low": low, "high": high}
    found |= {name: float(group[name].mean()) for name in ("reward", "prompt_tokens", "new_tokens")}
    return found | {"p50_ms": times.quantile(0.5), "p95_ms": times.quantile(0.95), "mean_ms": times.mean()}


def by_level(table: pd.DataFrame) -> pd.DataFrame:
    """``summary`` by system, test and level in order, each followed by the test as a whole as level 'all'."""
    groups = [group for _, group in table.groupby(["system", "test"], sort=False)]
    parts = [part for g in groups for part in (g.sort_values("level", kind="stable"), g.assign(level="all"))]
    return summary(pd.concat(parts or [table], ignore_index=True), COLUMNS)


def paired(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Every other system against ``reference`` on each test, over the requests that both answered.

    ``only_reference`` and ``only_system``: requests that one alone got right; ``points``: the system's gain.
    """
    rows = []
    for (test, system), group in table[table["system"] != reference].groupby(["test", "system"], sort=False):
        other = table[(table["system"] == reference) & (table["test"] == test)].set_index("id")["exact"]
        exact = group.set_index("id")["exact"]
        both = exact.index.intersection(other.index)
        ours, theirs = exact[both].astype(bool), other[both].astype(bool)
        lost, won = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
        points = 100 * (won - lost) / len(both) if len(both) else math.nan
        rows.append((test, system, reference, len(both), lost, won, points, mcnemar_p(lost, won)))
    return pd.DataFrame(rows, columns=PAIRED)


def reasons(table: pd.DataFrame, by: Sequence[str] = ("system", "test")) -> pd.DataFrame:
    """How many answers were wrong for which reason: a row for each group, a column for each reason."""
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
