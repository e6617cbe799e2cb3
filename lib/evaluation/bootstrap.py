"""Variants with several seeds compared: paired differences with bootstrap intervals over seeds and requests.

Both variants answered the same requests, which are drawn with replacement 2,000 times from a fixed seed, and so are the
seeds of each (Efron 1979; scipy's bootstrap draws along one axis only). A p-value out of B draws, k of them at least as
extreme, is (k + 1) / (B + 1) and never 0 (Davison and Hinkley 1997, section 4.2).

>>> rows = [{"variant": v, "seed": s, "test": "t", "id": str(i), "exact": i < n} for v, n in (("a", 5), ("b", 8))
...         for s in (1, 2) for i in range(10)]
>>> compare(pd.DataFrame(rows), "a")[["variant", "mean", "points", "low", "high"]].round(1).values.tolist()
[['a', 0.5, nan, nan, nan], ['b', 0.8, 30.0, 0.0, 60.0]]
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lib.core import paths
from lib.core.files import RecordError

RECORDS, TABLE = "records.jsonl.xz", "table.csv"
"""The files of a packed comparison."""
DRAWS = 2_000
DIFFERENCE = ("points", "low", "high", "p")
COLUMNS: dict[str, Any] = {"test": str, "variant": str, "seeds": int, "n": int, "mean": float, "by_seed": str}
COLUMNS |= {"against": str, **dict.fromkeys(DIFFERENCE, float), "seconds": float}
"""Those of TABLE; ``seconds``: of training, the mean of the seeds."""


def read(folder: Path) -> pd.DataFrame:
    """What ``compare`` found, as it was packed. Raises RecordError."""
    path = folder / TABLE
    if not path.is_file():
        raise RecordError(f"{paths.relative(folder)}: there is no {TABLE}: run make ablation, or restore it")
    try:
        table = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=dict.fromkeys(DIFFERENCE, [""]))
        by_seed = [[float(mean) for mean in json.loads(text)] for text in table["by_seed"]]
        return table.assign(by_seed=by_seed)[[*COLUMNS]]
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{TABLE}: damaged ({error}): restore the file") from error


def merged(folders: Sequence[Path]) -> pd.DataFrame:
    """The tables of several folders for the variants of the first; what two compared comes from that of more seeds."""
    tables = [read(folder) for folder in folders]
    rank = [*tables[0]["test"].unique(), *tables[0]["variant"].unique()]
    found = pd.concat([t[t["variant"].isin(rank)] for t in tables]).sort_values("seeds", kind="stable")
    found = found.drop_duplicates(["test", "variant", "against"], keep="last")
    return found.sort_values(["test", "variant", "against"], key=lambda c: c.map(["", *rank].index), kind="stable")


def pooled(records: pd.DataFrame, tests: Collection[str], name: str) -> pd.DataFrame:
    """``records`` and, after them, those of ``tests`` once more as one test ``name``, ids with their test's before."""
    chosen = records[records["test"].isin(list(tests))]
    return pd.concat([records, chosen.assign(id=chosen["test"] + "/" + chosen["id"], test=name)], ignore_index=True)


def compare(records: pd.DataFrame, reference: str, against: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """A row for each test and variant: seeds, n, mean accuracy, and its difference from another variant in points.

    ``records``: variant, seed, test, id, exact. ``against``: by variant, those it is compared with, a row for each;
    others are compared with ``reference``. ``mean``: a share in [0, 1]; ``by_seed``: the same for each seed, in order;
    ``against``: the variant that ``points`` are measured from, "" for none. ``low``, ``high``: 95 % interval of the
    difference; ``p``: twice the share of draws beyond zero.
    """
    tests = records.groupby("test", sort=False)
    return pd.DataFrame([row for test, part in tests for row in _rows(test, part, reference, against or {})])


def _rows(
    test: Any, records: pd.DataFrame, reference: str, against: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    tables = {name: _table(part) for name, part in records.groupby("variant", sort=False)}
    for name, table in tables.items():
        row = {"test": test, "variant": name, "seeds": table.shape[0], "n": table.shape[1]}
        row |= {"mean": table.mean(), "by_seed": table.mean(axis=1).tolist()}
        for other in against.get(str(name)) or [reference]:
            found = _difference(tables[other], table) if name != other else dict.fromkeys(DIFFERENCE)
            yield {**row, "against": other if name != other else "", **found}


def _table(records: pd.DataFrame) -> NDArray[np.float64]:
    """Right or wrong, (seeds, requests), requests in the order of their ids; an id may stand for several."""
    again = records.assign(again=records.groupby(["seed", "id"]).cumcount())
    wide = again.pivot(index="seed", columns=["id", "again"], values="exact").astype(float)
    return np.asarray(wide.sort_index(axis=1), dtype=np.float64)


def _difference(left: NDArray[np.float64], right: NDArray[np.float64]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    requests = rng.integers(left.shape[1], size=(DRAWS, left.shape[1]))
    seeds = [rng.integers(side.shape[0], size=(DRAWS, side.shape[0])) for side in (left, right)]
    means = [
        np.array([side[np.ix_(s, q)].mean() for s, q in zip(chosen, requests, strict=True)])
        for side, chosen in zip((left, right), seeds, strict=True)
    ]
    draws = 100 * (means[1] - means[0])
    low, high = np.percentile(draws, [2.5, 97.5])
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (beyond + 1) / (DRAWS + 1))
    return {"points": 100 * (right.mean() - left.mean()), "low": float(low), "high": float(high), "p": float(p)}
