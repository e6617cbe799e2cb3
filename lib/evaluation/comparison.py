"""Systems, models and steps of the training compared: quality with intervals, latency, size, cost; what to deploy.

What a million requests cost, in US dollars, follows from measured tokens and seconds and params/prices.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import norm

from lib.core.files import Row, read_jsonl
from lib.core.params import ParamsError
from lib.evaluation import metrics
from lib.evaluation.prices import Prices, find, hosted_usd, local_usd
from lib.evaluation.prices import load_prices as load_prices

ALL, TOGETHER = "all", "together"
GAIN = ["test", "n", "rival", "accuracy", "rival_accuracy", "points", "p"]
TIMED = ["p50_ms", "p95_ms", "mean_ms", "usd_per_million"]
Names = Sequence[str]
MARGIN = 0.03  # a share by which a model may be less accurate and still count as good: one request in 33
WARM = 0.5  # share of a prompt that is in the cache when a request of the same context came before
ASSISTANT = "assistant"
STEPS = {
    "untrained": ("03", "untrained torch", ""),
    ASSISTANT: ("03", "assistant torch", "03_assistant"),
    "fine-tuned": ("03", "student torch", "03_student"),
    "distilled": ("04", "after", "04_student"),
    "reinforced": ("05", "after", "05_student"),
}
"""The training's steps, in order: the number of the notebook that answered, the system's name there, the model."""


def check(names: Names, **asked: str) -> None:
    """Raises ParamsError for a parameter of ``asked`` that names no model of the list."""
    for key, name in asked.items():
        if name not in names:
            raise ParamsError(f"{key}: '{name}' is not in models: use one of {', '.join(names)}")


def table(
    predictions: pd.DataFrame, prices: Prices, size_mb: Mapping[str, float], deployed: str = "", untimed: Names = ()
) -> pd.DataFrame:
    """metrics.by_level with ``usd_per_million`` requests on the machine of ``prices``, ``size_mb`` and ``deployed``.

    Systems of ``untimed`` were asked in batches or elsewhere: no latency.
    """
    rows = metrics.by_level(predictions)
    rows = rows.assign(usd_per_million=local_usd(prices, rows["mean_ms"]))
    rows[TIMED] = rows[TIMED].where(~rows["system"].isin(list(untimed)))
    return rows.assign(size_mb=rows["system"].map(dict(size_mb)), deployed=rows["system"] == deployed)


def mark(rows: pd.DataFrame, shown: Names, released: Names) -> pd.DataFrame:
    """``table`` with the columns ``released`` and ``shown``: named, released, deployed or without a file."""
    public = rows["system"].isin(list(released))
    drawn = rows["system"].isin(list(shown)) | public | rows["deployed"] | rows["size_mb"].isna()
    return rows.assign(released=public, shown=drawn & ~rows["system"].str.endswith(" free"))


def drawn(rows: pd.DataFrame, marked: pd.DataFrame) -> pd.DataFrame:
    """Those of ``rows`` whose system is shown in charts: all, if none was marked."""
    names = marked.loc[marked["shown"].fillna(False).astype(bool), "system"] if "shown" in marked else rows["system"]
    return rows[rows["system"].isin(names)].reset_index(drop=True)


def overall(rows: pd.DataFrame, test: str) -> pd.DataFrame:
    """The rows of one test with all its levels together."""
    return rows[(rows["test"] == test) & (rows["level"] == ALL)].reset_index(drop=True)


def deploy(predictions: pd.DataFrame, size_mb: Mapping[str, float], test: str, released: Names = ()) -> str:
    """The smallest model file that is shown to be at most MARGIN less accurate than the most accurate one.

    Of ``released`` ones, if there are any. With few requests that can be shown of no file, and the most accurate one
    is deployed.
    """
    rows = margins(predictions, size_mb, test)
    rows = rows[rows["system"].isin(list(released))] if released else rows
    good = rows[rows["good"]].sort_values("size_mb", kind="stable")
    return str((good if len(good) else rows)["system"].iloc[0])


def margins(predictions: pd.DataFrame, size_mb: Mapping[str, float], test: str) -> pd.DataFrame:
    """A row for each model file, the most accurate first: system, n, accuracy, low, high, size_mb, and three more.

    ``points``: more than the most accurate; ``at_least``: the lower end of this difference's paired interval,
    one-sided, at 95% for all models together (Bonferroni); ``good``: it is not below MARGIN.
    """
    chosen = predictions[(predictions["test"] == test) & predictions["system"].isin(list(size_mb))]
    ranked = metrics.summary(chosen).sort_values("accuracy", ascending=False, kind="stable")
    z = float(norm.ppf(1 - 0.05 / max(1, len(ranked) - 1)))
    pairs = metrics.paired(chosen, ranked["system"].iloc[0], z).set_index("system")[["points", "low"]]
    points, low = pairs.reindex(ranked["system"]).fillna(0.0).to_numpy().T
    rows = ranked[["system", "n", "accuracy", "low", "high"]].assign(size_mb=ranked["system"].map(dict(size_mb)))
    return rows.assign(points=points, at_least=low, good=low >= -100 * MARGIN)


def llm_costs(predictions: pd.DataFrame, prices: Prices, hosted: str, test: str) -> pd.DataFrame:
    """A row for each system on ``test``: what its large model is asked and what that costs.

    Means per request, and ``usd_per_million`` requests at the prices of the model ``hosted``. Raises ParamsError.
    """
    price = find(prices.hosted, hosted, "hosted model")
    chosen = predictions[predictions["test"] == test].assign(seconds=lambda t: t["latency_ms"] / 1000)
    columns = ["llm_calls", "prompt_tokens", "cached_tokens", "new_tokens", "seconds"]
    means = chosen.groupby("system", sort=False)[columns].mean().reset_index()
    tokens = means["prompt_tokens"], means["new_tokens"], means["cached_tokens"]
    return means.assign(usd_per_million=hosted_usd(price, *tokens))


def hosted_table(prices: Prices, prompt_tokens: float, new_tokens: float, cached_share: float = 0.0) -> pd.DataFrame:
    """A row for each hosted model: ``model``, ``usd_per_million`` requests, ``source`` and ``date`` of its prices."""
    tokens = (prompt_tokens, new_tokens, prompt_tokens * cached_share)
    rows = [(name, hosted_usd(price, *tokens), price.source, price.date) for name, price in prices.hosted.items()]
    return pd.DataFrame(rows, columns=["model", "usd_per_million", "source", "date"])


def gain(predictions: pd.DataFrame, system: str, rivals: Names) -> pd.DataFrame:
    """A row (GAIN) for each test: ``system`` against the most accurate of ``rivals`` there, by McNemar's exact test."""
    rows: list[dict[str, Any]] = []
    for test, group in predictions.groupby("test", sort=False) if len(predictions) else []:
        shares = group.groupby("system")["exact"].mean()
        best = max((name for name in rivals if name in shares), key=lambda name: shares[name], default="")
        if best and system in shares:
            pair = metrics.paired(group[group["system"].isin([system, best])], best).iloc[0]
            own, other = float(shares[system]), float(shares[best])
            n = int((group["system"] == system).sum())
            row = {"test": test, "n": n, "rival": best, "accuracy": own}
            rows.append({**row, "rival_accuracy": other, "points": 100 * (own - other), "p": pair["p"]})
    return pd.DataFrame(rows, columns=GAIN)


def frontier(predictions: pd.DataFrame, models: Sequence[Row], parent: str, dev: Names, others: Names) -> pd.DataFrame:
    """A row for each of ``models`` (name, step, weights, size_mb) with its accuracy on these tests.

    n, accuracy, low, high: of all together; the same with ``dev`` or ``others`` in their names: of these, if any.
    ``lost``: points against the parent, over the ``pairs`` that both answered, with McNemar's ``p``, and ``holm``, p
    corrected. p50_ms, p95_ms: of requests whose context was in the cache, or of all if none was; ``faster``: the
    parent's median over the model's.
    """
    own = predictions[predictions["system"].isin([row["name"] for row in models])]
    rows = pd.DataFrame(list(models)).set_index("name")[["step", "weights", "size_mb"]].rename_axis("system")
    together = pooled(own, [*dev, *others])
    for name, chosen in {"dev": pooled(own, dev), "others": pooled(own, others), "": together}.items():
        found = metrics.summary(chosen).set_index("system")[["n", "accuracy", "low", "high"]].astype(float)
        found.columns = [f"n_{name}", name, f"{name}_low", f"{name}_high"] if name else found.columns
        rows = rows.join(found).fillna({found.columns[0]: 0}).astype({found.columns[0]: int})
    pairs = metrics.paired(together, parent).set_index("system")
    rows["pairs"] = pairs["n"].reindex(rows.index).fillna(rows["n"]).astype(int)
    rows = rows.assign(lost=0 - pairs["points"], p=pairs["p"], holm=pairs["holm"])
    warm = together["cached_tokens"] >= WARM * together["prompt_tokens"]
    timed = together[warm | ~together["system"].isin(together.loc[warm, "system"])]
    rows = rows.join(metrics.summary(timed).set_index("system")[["p50_ms", "p95_ms"]])
    return rows.assign(faster=rows.loc[parent, "p50_ms"] / rows["p50_ms"]).reset_index()


def pooled(predictions: pd.DataFrame, tests: Names) -> pd.DataFrame:
    """The records of ``tests`` as those of one test; ids stay distinct."""
    chosen = predictions[predictions["test"].isin(list(tests))]
    return chosen.assign(id=chosen["test"] + "/" + chosen["id"], test=TOGETHER)


def of_model(answered: Sequence[Path], model: str, name: str) -> list[Row]:
    """The records of the step that made ``model``, such as "05_student", with ``name`` as their system.

    ``answered``: the stages' ``NN_predictions.jsonl``. A notebook names them, so that it is run again when they change.

    Raises ValueError if no step made it.
    """
    made = {folder: step for step, (_, _, folder) in STEPS.items() if folder}
    if model not in made:
        raise ValueError(f"model: '{model}': use one of {', '.join(made)}")
    return _records(answered, made[model], name)


def _records(answered: Sequence[Path], step: str, name: str) -> list[Row]:
    stage, system, _ = STEPS[step]
    found = [row for path in answered if path.name[:2] == stage and path.exists() for row in read_jsonl(path)]
    return [{**row, "system": name} for row in found if row["system"] == system]


def steps(answered: Sequence[Path]) -> pd.DataFrame:
    """A row for each test and step of the training: n, accuracy with interval, ``points`` over the step before, ``p``.

    The first step and the assistant are compared with nothing, the others on the requests that both steps answered.
    """
    found = metrics.frame(row for step in STEPS for row in _records(answered, step, step))
    rows = [row for test, part in found.groupby("test", sort=False) for row in _steps(str(test), part)]
    return pd.DataFrame(rows, columns=["test", "system", "n", "accuracy", "low", "high", "points", "p"])


def _steps(test: str, predictions: pd.DataFrame) -> list[dict[str, Any]]:
    summary = metrics.summary(predictions).set_index("system")
    made: list[dict[str, Any]] = []
    before = ""
    for step in summary.index:
        row = {"test": test, "system": step, **summary.loc[step, ["n", "accuracy", "low", "high"]].to_dict()}
        if step != ASSISTANT:
            pairs = metrics.paired(predictions[predictions["system"].isin([step, before])], before)
            row |= pairs[["points", "p"]].iloc[0].to_dict() if before else {}
            before = step
        made.append(row)
    return made
