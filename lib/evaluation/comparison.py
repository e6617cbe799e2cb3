"""Systems and models compared: quality with intervals, latency, size and cost; which model to deploy.

``table`` has a row for each system, test and level; ``frontier`` a row for each model of a list, all compared with one
of them, the parent, on the development set and the third-party tests together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lib.core.files import Row
from lib.core.params import ParamsError
from lib.evaluation import cost, metrics
from lib.evaluation.cost import Prices

ALL = "all"
GAIN = ["test", "n", "rival", "accuracy", "rival_accuracy", "points", "p"]
TIMED = ["p50_ms", "p95_ms", "mean_ms", "usd_per_million"]
TOGETHER = "together"
WARM = 0.5
"""The share of a prompt that is in the cache when a request of the same context came before."""


def check(names: Sequence[str], **asked: str) -> None:
    """Raises ParamsError for a parameter of ``asked`` that names no model of the list."""
    for key, name in asked.items():
        if name not in names:
            raise ParamsError(f"{key}: '{name}' is not in models: use one of {', '.join(names)}")


def table(
    predictions: pd.DataFrame,
    prices: Prices,
    size_mb: Mapping[str, float],
    deployed: str = "",
    untimed: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of metrics.by_level with their cost on the machine of ``prices`` (``usd_per_million`` requests),

    ``size_mb`` (10^6 bytes) and ``deployed``. Systems of ``untimed`` were asked in batches or elsewhere: no latency.
    """
    rows = metrics.by_level(predictions)
    rows = rows.assign(usd_per_million=[cost.local(prices, ms) for ms in rows["mean_ms"]])
    rows[TIMED] = rows[TIMED].where(~rows["system"].isin(list(untimed)))
    sizes = rows["system"].map(lambda name: size_mb.get(name))
    return rows.assign(size_mb=sizes, deployed=rows["system"] == deployed)


def mark(rows: pd.DataFrame, shown: Sequence[str], released: Sequence[str]) -> pd.DataFrame:
    """``table`` with the columns ``released`` and ``shown``: named, released, deployed or without a file."""
    public = rows["system"].isin(list(released))
    drawn = rows["system"].isin(list(shown)) | public | rows["deployed"] | rows["size_mb"].isna()
    return rows.assign(released=public, shown=drawn & ~rows["system"].str.endswith(" free"))


def drawn(rows: pd.DataFrame, marked: pd.DataFrame) -> pd.DataFrame:
    """Those of ``rows`` whose system is shown in charts: all, if none was marked."""
    if "shown" not in marked:
        return rows
    names = marked.loc[marked["shown"].fillna(False).astype(bool), "system"]
    return rows[rows["system"].isin(names)].reset_index(drop=True)


def overall(rows: pd.DataFrame, test: str) -> pd.DataFrame:
    """The rows of one test with all its levels together."""
    return rows[(rows["test"] == test) & (rows["level"] == ALL)].reset_index(drop=True)


def deploy(predictions: pd.DataFrame, size_mb: Mapping[str, float], test: str, alpha: float = 0.05) -> str:
    """The smallest model file that the most accurate one does not beat (McNemar's exact test, p < ``alpha``)."""
    chosen = predictions[(predictions["test"] == test) & predictions["system"].isin(list(size_mb))]
    ranked = metrics.summary(chosen).sort_values("accuracy", ascending=False, kind="stable")["system"]
    p = metrics.paired(chosen, ranked.iloc[0]).set_index("system")["p"]
    return str(min((name for name in ranked if p.get(name, 1.0) >= alpha), key=lambda name: size_mb[name]))


def llm_costs(predictions: pd.DataFrame, prices: Prices, hosted: str, test: str) -> pd.DataFrame:
    """A row for each system on ``test``: what its large model is asked and what that costs.

    Means per request, and ``usd_per_million`` requests at the prices of the model ``hosted``. Raises ParamsError.
    """
    if hosted not in prices.hosted:
        raise ParamsError(f"hosted model '{hosted}': no price; known: {', '.join(prices.hosted)}")
    chosen = predictions[predictions["test"] == test].assign(seconds=lambda t: t["latency_ms"] / 1000)
    columns = ["llm_calls", "prompt_tokens", "cached_tokens", "new_tokens", "seconds"]
    means = chosen.groupby("system", sort=False)[columns].mean().reset_index()
    price = prices.hosted[hosted]
    usd = [cost.hosted(price, r.prompt_tokens, r.new_tokens, r.cached_tokens) for r in means.itertuples()]
    return means.assign(usd_per_million=usd)


def gain(predictions: pd.DataFrame, system: str, rivals: Sequence[str]) -> pd.DataFrame:
    """A row (GAIN) for each test: ``system`` against the most accurate of ``rivals`` there, by McNemar's exact test."""
    rows: list[dict[str, Any]] = []
    for test, group in predictions.groupby("test", sort=False) if len(predictions) else []:
        shares = group.groupby("system")["exact"].mean()
        best = max((name for name in rivals if name in shares), key=lambda name: shares[name], default="")
        if best and system in shares:
            pair = metrics.paired(group[group["system"].isin([system, best])], best).iloc[0]
            own, other = float(shares[system]), float(shares[best])
            row = {"test": test, "n": int((group["system"] == system).sum()), "rival": best, "accuracy": own}
            rows.append({**row, "rival_accuracy": other, "points": 100 * (own - other), "p": pair["p"]})
    return pd.DataFrame(rows, columns=GAIN)


def frontier(
    predictions: pd.DataFrame, models: Sequence[Row], parent: str, dev: Sequence[str], others: Sequence[str]
) -> pd.DataFrame:
    """A row for each of ``models`` (name, step, weights, size_mb): how often it is right, what it lost, its time.

    ``dev``, ``others``: names of tests. Columns: system, step, weights, size_mb; n_dev, dev, dev_low, dev_high;
    n_others, others, others_low, others_high (missing without such tests); n, accuracy, low, high (together);
    pairs, ``lost`` (points against the parent, of the requests that both answered) and ``p`` (McNemar's exact test);
    p50_ms and p95_ms of requests whose context was in the cache, and ``faster``, the parent's median over the model's.
    Accuracies and their Wilson intervals are shares in [0, 1].
    """
    own = predictions[predictions["system"].isin([row["name"] for row in models])]
    rows = pd.DataFrame(list(models)).set_index("name")[["step", "weights", "size_mb"]].rename_axis("system")
    for name, tests in {"dev": dev, "others": others, "": [*dev, *others]}.items():
        prefix = f"{name}_" if name else ""
        names = {"n": f"n_{name}".strip("_"), "accuracy": name or "accuracy", "low": f"{prefix}low"}
        names |= {"high": f"{prefix}high"}
        found = metrics.summary(pooled(own, tests)).set_index("system")[list(names)].astype(float)
        rows = rows.join(found.rename(columns=names)).fillna({names["n"]: 0}).astype({names["n"]: int})
    together = pooled(own, [*dev, *others])
    pairs = metrics.paired(together, parent).set_index("system")
    rows["pairs"] = pairs["n"].reindex(rows.index).fillna(rows["n"]).astype(int)
    rows = rows.assign(lost=0 - pairs["points"], p=pairs["p"])
    rows = rows.join(metrics.summary(_warm(together)).set_index("system")[["p50_ms", "p95_ms"]])
    return rows.assign(faster=rows.loc[parent, "p50_ms"] / rows["p50_ms"]).reset_index()


def pooled(predictions: pd.DataFrame, tests: Sequence[str]) -> pd.DataFrame:
    """The records of ``tests`` as those of one test; ids stay distinct."""
    chosen = predictions[predictions["test"].isin(list(tests))]
    return chosen.assign(id=chosen["test"] + "/" + chosen["id"], test=TOGETHER)


def _warm(rows: pd.DataFrame) -> pd.DataFrame:
    """Requests whose context was in the cache; of a system that had none such, all."""
    warm = rows["cached_tokens"] >= WARM * rows["prompt_tokens"]
    return rows[warm | ~rows["system"].isin(rows.loc[warm, "system"])]
