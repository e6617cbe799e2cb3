"""All systems in one table: quality with intervals, latency, size and cost; the charts of it; which model to deploy.

>>> smallest_as_good([("big", 500, 0.0), ("small", 60, 0.4), ("tiny", 20, 0.001)])
'small'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lib.evaluation import cost, metrics
from lib.report import charts

ALL = "all"
GAIN = ["test", "n", "rival", "accuracy", "rival_accuracy", "points", "p"]
TIMED = ["p50_ms", "p95_ms", "mean_ms", "usd_per_million"]


def table(
    predictions: pd.DataFrame,
    prices: dict[str, Any],
    size_mb: Mapping[str, float],
    deployed: str = "",
    untimed: Sequence[str] = (),
) -> pd.DataFrame:
    """A row for each system, test and level (and level 'all'): the columns of metrics.summary and

    ``usd_per_million`` (USD a million requests on the machine of ``prices``, from the mean latency of the group),
    ``size_mb`` (10^6 bytes; missing for systems without a file) and ``deployed``. Systems of ``untimed`` were asked in
    batches or on other hardware: they get no latency and no cost.
    """
    rows = metrics.by_level(predictions)
    timed = ~rows["system"].isin(list(untimed))
    rows = rows.assign(usd_per_million=[cost.local(prices, ms) for ms in rows["mean_ms"]])
    rows[TIMED] = rows[TIMED].where(timed)
    sizes = rows["system"].map(lambda name: size_mb.get(name))
    return rows.assign(size_mb=sizes, deployed=rows["system"] == deployed)


def mark(rows: pd.DataFrame, shown: Sequence[str], released: Sequence[str]) -> pd.DataFrame:
    """``table`` with the columns ``released`` and ``shown``: the systems that charts of all systems show.

    These are the ones named, the released, the deployed, and all without a file.
    """
    public = rows["system"].isin(list(released))
    drawn = rows["system"].isin(list(shown)) | public | rows["deployed"] | rows["size_mb"].isna()
    return rows.assign(released=public, shown=drawn & ~rows["system"].str.endswith(" free"))


def drawn(rows: pd.DataFrame, marked: pd.DataFrame) -> pd.DataFrame:
    """Those of ``rows`` whose system is shown in charts: all, if none was marked."""
    if "shown" not in marked:
        return rows
    names = marked.loc[marked["shown"].fillna(False).astype(bool), "system"]
    return rows[rows["system"].isin(names)].reset_index(drop=True)


def deploy(predictions: pd.DataFrame, size_mb: Mapping[str, float], test: str, alpha: float = 0.05) -> str:
    """The smallest model file that the most accurate one does not beat (McNemar's exact test, p < ``alpha``)."""
    chosen = predictions[(predictions["test"] == test) & predictions["system"].isin(list(size_mb))]
    ranked = metrics.summary(chosen).sort_values("accuracy", ascending=False, kind="stable")
    best = str(ranked["system"].iloc[0])
    against = metrics.paired(chosen, best).set_index("system")["p"].to_dict()
    return smallest_as_good([(name, size_mb[name], against.get(name, 1.0)) for name in ranked["system"]], alpha)


def smallest_as_good(candidates: Sequence[tuple[str, float, float]], alpha: float = 0.05) -> str:
    """``candidates``: (name, size, p-value against the first, which is the best). The smallest with p >= alpha."""
    as_good = [candidates[0], *(c for c in candidates[1:] if c[2] >= alpha)]
    return min(as_good, key=lambda c: c[1])[0]


def overall(rows: pd.DataFrame, test: str) -> pd.DataFrame:
    """The rows of one test with all its levels together."""
    return rows[(rows["test"] == test) & (rows["level"] == ALL)].reset_index(drop=True)


def figures(rows: pd.DataFrame, test: str) -> dict[str, tuple[Figure, str]]:
    """The charts of a comparison on ``test``, each with its alternative text: cost_quality, latency, levels."""
    rows = drawn(rows, rows)
    whole = overall(rows, test)
    levels = rows[(rows["test"] == test) & (rows["level"] != ALL)]
    timed = whole[whole["usd_per_million"].notna()]
    quality = charts.describe(timed, "accuracy", "%", 100)
    usd = charts.describe(timed, "usd_per_million", "dollars")
    times = charts.describe(timed, "p50_ms", "ms")
    n = int(whole["n"].max())
    return {
        "cost_quality": (
            charts.cost_quality(timed, f"Cost versus quality ({test}, n = {n}, 95% intervals)"),
            f"Chart of accuracy against cost. Exactly right on {test}: {quality}. Cost of a million requests: {usd}.",
        ),
        "latency": (charts.latency(timed, f"Time to answer one request ({test})"), f"Chart of median times: {times}."),
        "levels": (
            charts.levels(levels, f"Accuracy by level of difficulty ({test}, 95% intervals)"),
            f"Chart of accuracy by level for {', '.join(whole['system'])}; the figures stand in the table.",
        ),
    }


def with_published(
    rows: pd.DataFrame, test: str, published: Mapping[str, float], hosted: pd.DataFrame
) -> tuple[Figure, str]:
    """cost_quality on ``test`` with hosted models added: published accuracy (no interval), price from ``hosted``.

    ``published``: model to share in [0, 1]; models without a price are left out.
    """
    whole = overall(drawn(rows, rows), test)
    usd = hosted.set_index("model")["usd_per_million"]
    extra = [
        {"system": f"{name} (published)", "usd_per_million": usd[name], "accuracy": share, "low": share, "high": share}
        for name, share in published.items()
        if name in usd.index
    ]
    added = pd.DataFrame(extra, index=range(len(whole), len(whole) + len(extra)))
    both = pd.concat([whole[whole["usd_per_million"].notna()], added])
    n = int(whole["n"].max())
    title = f"Cost versus quality ({test}, n = {n}, 95% intervals)"
    alt = f"Chart of accuracy against cost. Exactly right on {test}: {charts.describe(both, 'accuracy', '%', 100)}."
    return charts.cost_quality(both, title), alt


def llm_costs(predictions: pd.DataFrame, prices: dict[str, Any], hosted: str, test: str) -> pd.DataFrame:
    """A row for each system on ``test``: what its large model is asked and what that costs.

    Means a request: ``llm_calls``, ``prompt_tokens``, ``cached_tokens``, ``new_tokens``, ``seconds``; and
    ``usd_per_million`` requests at the token prices of the hosted model named ``hosted``. Raises cost.PriceError.
    """
    if hosted not in prices["hosted"]:
        raise cost.PriceError(f"hosted model '{hosted}': no price; known: {', '.join(prices['hosted'])}")
    chosen = predictions[predictions["test"] == test].assign(seconds=lambda t: t["latency_ms"] / 1000)
    columns = ["llm_calls", "prompt_tokens", "cached_tokens", "new_tokens", "seconds"]
    means = chosen.groupby("system", sort=False)[columns].mean().reset_index()
    price = prices["hosted"][hosted]
    usd = [cost.hosted(price, r.prompt_tokens, r.new_tokens, r.cached_tokens) for r in means.itertuples()]
    return means.assign(usd_per_million=usd)


def gain(predictions: pd.DataFrame, system: str, rivals: Sequence[str]) -> pd.DataFrame:
    """A row for each test: ``system`` against the most accurate of ``rivals`` there, in points, with a paired test.

    Columns: test, n, rival, accuracy, rival_accuracy, points, p (McNemar's exact test). No row where none answered.
    """
    rows: list[dict[str, Any]] = []
    if predictions.empty:
        return pd.DataFrame(columns=GAIN)
    for test, group in predictions.groupby("test", sort=False):
        shares = group.groupby("system")["exact"].mean()
        best = max((name for name in rivals if name in shares), key=lambda name: shares[name], default="")
        if best and system in shares:
            pair = metrics.paired(group[group["system"].isin([system, best])], best)
            p = float(pair.loc[pair["system"] == system, "p"].iloc[0])
            own, other = float(shares[system]), float(shares[best])
            row = {"test": test, "n": int((group["system"] == system).sum()), "rival": best, "accuracy": own}
            rows.append({**row, "rival_accuracy": other, "points": 100 * (own - other), "p": p})
    return pd.DataFrame(rows, columns=GAIN)
