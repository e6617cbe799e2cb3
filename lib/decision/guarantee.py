"""The cheapest system that is guaranteed to be as good as a reference, in the manner of SMART (arXiv 2403.13835).

The target, such as 0.95, is a share: of the requests that the reference gets right, those that a system gets right as
well. The ratio of the two accuracies is at least this share, since requests that the system alone gets right only add
to it. Each request is right or wrong, so that the one-sided interval of Clopper and Pearson (1934) is exact. Bounds
hold for all candidates together (Bonferroni).

The guarantee is for requests drawn like those that it was calibrated on, those of one context as independently as
others. ``verify`` tells what is left of it elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta

from lib.core.params import ParamsError, suggest
from lib.decision.records import KEY, numbered

GOLD = "gold"
"""As a reference: the right answer, so that the target is an accuracy."""
CONFIDENCE = 0.95
ERROR = round(1 - CONFIDENCE, 9)
DRAWS = 1_000
HOLDS, OPEN, FAILS = "holds", "open", "fails"


@dataclass(frozen=True)
class Choice:
    """``system``: the cheapest that is guaranteed, "" for none; ``table``: a row for each candidate (``bounds``)."""

    system: str
    reference: str
    target: float
    table: pd.DataFrame

    @property
    def best(self) -> float:
        """The highest target that some candidate is guaranteed to reach; 0 without candidates."""
        return float(self.table["low"].max()) if len(self.table) else 0.0


def kept(records: pd.DataFrame, reference: str = GOLD) -> pd.DataFrame:
    """Whether each system (columns) gets right what the reference gets right (rows): 1, 0, or NaN if not asked.

    Raises ParamsError if the reference has no records.
    """
    wide = numbered(records).pivot(index=KEY, columns="system", values="exact").astype(float)
    if reference == GOLD:
        return wide
    if reference not in wide:
        raise ParamsError(f"reference: no records of '{reference}'; {suggest(reference, [GOLD, *wide.columns])}")
    return wide[wide[reference] == 1].drop(columns=reference)


def lower(right: Any, n: Any, error: float) -> NDArray[np.float64]:
    """The exact lower bound of a share that ``right`` of ``n`` were counted of; it is too high with at most ``error``.

    >>> float(lower(100, 100, 0.05).round(4))
    0.9705
    """
    right, n = np.asarray(right, dtype=float), np.asarray(n, dtype=float)
    return np.where(right > 0, beta.ppf(error, np.maximum(right, 1e-9), n - right + 1), 0.0)


def upper(wrong: int, n: int, error: float) -> float:
    """The exact upper bound of a share that ``wrong`` of ``n`` were counted of; 1 of none."""
    return 1 - float(lower(n - wrong, n, error)) if n else 1.0


def _ranked(kept: pd.DataFrame, usd: Mapping[str, float]) -> list[str]:
    """The candidates, the cheapest first."""
    return sorted((name for name in kept if name in usd), key=lambda name: (usd[name], name))


def bounds(kept: pd.DataFrame, usd: Mapping[str, float], target: float) -> pd.DataFrame:
    """A row for each candidate, the cheapest first: usd, n, lost, share, low (its bound), most_lost, guaranteed.

    ``most_lost``: how many of n could be lost for ``target``; -1: n is too small even if none is.
    """
    names = _ranked(kept, usd)
    level = ERROR / max(1, len(names))
    right, n = kept[names].sum().to_numpy(), kept[names].count().to_numpy()
    low, most = lower(right, n, level), [most_lost(int(count), target, level) for count in n]
    found = {"system": names, "usd": [usd[name] for name in names], "n": n, "lost": (n - right).astype(int)}
    found |= {"share": right / np.maximum(n, 1), "low": low, "most_lost": most, "guaranteed": low >= target}
    return pd.DataFrame(found)


@cache
def most_lost(n: int, target: float, error: float) -> int:
    """How many of n requests may be lost so that ``target`` is still guaranteed; -1 if n is too small.

    >>> [most_lost(n, 0.95, 0.05) for n in (58, 59, 500)]
    [-1, 0, 16]
    """
    return int((lower(n - np.arange(n + 1), n, error) >= target).sum()) - 1


def least_n(target: float, error: float) -> int:
    """The fewest requests that can guarantee ``target``, if none of them is lost.

    >>> least_n(0.95, 0.05)
    59
    """
    return math.ceil(math.log(error) / math.log(target))


def cheaper(usd: Mapping[str, float], reference: str) -> dict[str, float]:
    """The systems that are cheaper than the reference, and their prices; all, if it has none."""
    return {name: price for name, price in usd.items() if price < usd.get(reference, math.inf)}


def choose(records: pd.DataFrame, reference: str, target: float, usd: Mapping[str, float]) -> Choice:
    """The cheapest candidate whose bound is at least ``target`` on these requests.

    Candidates are the systems in ``usd``, their prices in any unit, that are cheaper than the reference. A mixture or
    cascade is one like others: its outcomes are records with a system's name of their own. Raises ParamsError for a
    target outside (0, 1) or an unknown reference.
    """
    if not 0 < target < 1:
        raise ParamsError(f"target: {target:g}: use a share between 0 and 1, such as 0.95")
    table = bounds(kept(records, reference), cheaper(usd, reference), target)
    passed = table.loc[table["guaranteed"], "system"]
    return Choice(str(passed.iloc[0]) if len(passed) else "", reference, target, table)


def verify(records: pd.DataFrame, choice: Choice) -> dict[str, Any]:
    """How the chosen system does on requests that were not chosen by: n, lost, share, low, high and ``verdict``.

    ``low`` and ``high`` are one-sided bounds, for this system alone. HOLDS: low is at least the target; FAILS: high is
    below it; OPEN: there are too few requests to tell, or none that both answered.
    """
    both = {choice.system, choice.reference} <= {GOLD, *records["system"]}
    own = kept(records, choice.reference)[choice.system].dropna() if both else pd.Series(dtype=float)
    n, right = len(own), float(own.sum())
    low, high = float(lower(right, n, ERROR)), 1 - float(lower(n - right, n, ERROR))
    verdict = HOLDS if low >= choice.target else FAILS if high < choice.target else OPEN
    share = right / n if n else math.nan
    return {"n": n, "lost": int(n - right), "share": share, "low": low, "high": high, "verdict": verdict}


def resampled(kept: pd.DataFrame, usd: Mapping[str, float], targets: Sequence[float]) -> pd.DataFrame:
    """How often the choice misses its target: a row for each, over DRAWS calibration sets drawn with replacement.

    The requests of ``kept`` are taken for all that there are, so that the true share of each system is known. Columns:
    target, missed (share of draws in which the true share of the system chosen is below the target), and ``unbounded``:
    missed if the cheapest is chosen whose share on the set is at least the target, without a bound.
    """
    names, rng = _ranked(kept, usd), np.random.default_rng(0)
    values, true = kept[names].to_numpy(), kept[names].mean().to_numpy()
    times = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=DRAWS)
    n, right = times @ ~np.isnan(values), times @ np.nan_to_num(values)
    low, share = lower(right, n, ERROR / max(1, len(names))), right / np.maximum(n, 1)

    def missed(side: NDArray[np.float64], target: float) -> float:
        good = side >= target
        return float((good.any(axis=1) & (true[good.argmax(axis=1)] < target)).mean())

    rows = [(t, missed(low, t), missed(share, t)) for t in targets]
    return pd.DataFrame(rows, columns=["target", "missed", "unbounded"])
