"""Variants with several seeds compared: paired differences with bootstrap intervals over seeds and requests.

The requests that both answered are drawn with replacement 2,000 times, and so are the seeds of each (Efron 1979;
scipy's bootstrap draws along one axis only). p is (k + 1) / (B + 1) for k of B draws at least as extreme (Davison and
Hinkley 1997, section 4.2).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
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

    ``records``: variant, seed, test, id, exact. ``against``: by variant, those it is
    compared with, a row for each; others are compared with ``reference``. ``mean``: a share in [0, 1]; ``by_seed``: the
    same for each seed, in order; ``against``: the variant that ``points`` are measured from, "" for none. ``low``,
    ``high``: 95 % interval of the difference; ``p``: twice the share of draws beyond zero.
    """
    rows: list[dict[str, Any]] = []
    for test, part in records.groupby("test", sort=False):
        tables = {name: _table(own) for name, own in part.groupby("variant", sort=False)}
        for name, table in tables.items():
            row = {"test": test, "variant": name, "seeds": table.shape[0], "n": table.shape[1]}
            row |= {"mean": table.mean(), "by_seed": table.mean(axis=1).tolist()}
            for other in (against or {}).get(str(name)) or [reference]:
                found = _difference(tables[other], table) if name != other else dict.fromkeys(DIFFERENCE)
                rows.append({**row, "against": other if name != other else "", **found})
    return pd.DataFrame(rows)


def _table(records: pd.DataFrame) -> NDArray[np.float64]:
    """Which were right, (seeds, requests), requests by their ids; an id may stand for several."""
    again = records.assign(again=records.groupby(["seed", "id"]).cumcount())
    wide = again.pivot(index="seed", columns=["id", "again"], values="exact")
    return np.asarray(wide.sort_index(axis=1), dtype=np.float64)


def _difference(left: NDArray[np.float64], right: NDArray[np.float64]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    requests = rng.integers(left.shape[1], size=(DRAWS, left.shape[1]))
    seeds = zip(*(rng.integers(len(side), size=(DRAWS, len(side))) for side in (left, right)), strict=True)
    means = [
        right[np.ix_(own, asked)].mean() - left[np.ix_(other, asked)].mean()
        for asked, (other, own) in zip(requests, seeds, strict=True)
    ]
    draws = 100 * np.array(means)
    low, high = np.percentile(draws, [2.5, 97.5])
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (beyond + 1) / (DRAWS + 1))
    return {"points": 100 * (right.mean() - left.mean()), "low": float(low), "high": float(high), "p": float(p)}


def ratio(right: Sequence[bool], reference: Sequence[bool]) -> tuple[float, float, float]:
    """How often a system is right for each time that the reference is, on the same requests, with its 95 % interval.

    >>> ratio([True, True, False, True], [True, True, False, True])
    (1.0, 1.0, 1.0)
    """
    sides = np.array([right, reference], dtype=np.float64)
    drawn = np.random.default_rng(0).integers(sides.shape[1], size=(DRAWS, sides.shape[1]))
    own, other = sides[:, drawn].sum(axis=2)
    low, high = np.percentile(own[other > 0] / other[other > 0], [2.5, 97.5])
    return float(sides[0].sum() / sides[1].sum()), float(low), float(high)
