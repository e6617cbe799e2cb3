"""Routes: a request goes to a cheap system first, and on to a more expensive one where needed; what that costs.

Of the ways that the survey arXiv 2502.00409 distinguishes, those that need no further model. Before anything is
generated: by features of the request. After: by a system's calibrated confidence, by whether its answer can be carried
out, by both, or by whether two systems agree. All follows from the systems' records. Every system that a route asks is
paid for.

Calibrations and thresholds are fitted on one half of the development requests (``fitted_on``) and shown on all others.
The half goes by the request's id, which tests made of others keep, so that none is fitted on in any of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib.core.params import ParamsError, suggest
from lib.data.study_data import DEV, DEV_HUMAN
from lib.decision import calibration
from lib.decision.records import KEY, numbered
from lib.evaluation import metrics
from lib.evaluation.prices import Prices, find, hosted_usd, local_usd

DEVELOPED = (DEV, DEV_HUMAN)
HELD_OUT = "held out"
"""The other half of the requests that routes are fitted on, as one test."""
KINDS = "alone", "features", "confidence", "execution", "confidence and execution", "agreement"
ALONE, FEATURES, CONFIDENCE, EXECUTION, CHECKED, AGREEMENT = KINDS
LEAST = [0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99]
THRESHOLDS = {kind: LEAST if kind in (FEATURES, CONFIDENCE, CHECKED) else [0.0] for kind in KINDS}
"""For each kind the least probability to be right with which a system's answer is taken."""
OF_REQUEST = ["prompt_tokens", "words"]
"""What is known of a request before it is answered: the prompt's length tells how large its context is."""
SUMS = ["latency_ms", "prompt_tokens", "cached_tokens", "new_tokens", "llm_calls", "usd_per_million"]
USED = ["exact", "confidence", "executes", "answer", "latency_ms", "usd_per_million"]
POINT = ["route", "systems", "kind", "threshold", "chosen", "front", "test", "n", "accuracy", "low", "high", "points"]
POINT += ["usd_per_million", "mean_ms", "sent_up"]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Route:
    """``systems``, cheapest first: each answers what the one before it was not sure enough of, the last all the rest.

    >>> Route(("rules", "model"), CONFIDENCE, 0.9).name
    'rules → model by confidence 0.9'
    """

    systems: tuple[str, ...]
    kind: str = ALONE
    threshold: float = 0.0

    @property
    def name(self) -> str:
        by = f" by {self.kind}" if self.kind != ALONE else ""
        return f"{' → '.join(self.systems)}{by}{f' {self.threshold:g}' if self.threshold else ''}"


def priced(records: pd.DataFrame, prices: Prices, hosted: str) -> pd.DataFrame:
    """The records with ``usd_per_million`` requests like each, on the machine of ``prices``.

    Where a large model was asked, at the prices of the model ``hosted``. Raises ParamsError.
    """
    tokens = (records[name] for name in ("prompt_tokens", "new_tokens", "cached_tokens"))
    usd = hosted_usd(find(prices.hosted, hosted, "hosted model"), *tokens)
    return records.assign(usd_per_million=usd.where(records["llm_calls"] > 0, local_usd(prices, records["latency_ms"])))


def ladder(records: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """``models`` and the systems that read no token, which are rules, by their mean price, the cheapest first."""
    means = records.groupby("system")[["prompt_tokens", "usd_per_million"]].mean()
    means = means[(means["prompt_tokens"] == 0) | means.index.isin(list(models))]
    return [str(name) for name in means.sort_values("usd_per_million").index]


def fitted_on(records: pd.DataFrame) -> pd.Series:
    """Which records are of requests that routes are fitted on: half of the developed, wherever they are asked."""
    known = set(records.loc[records["test"].isin(DEVELOPED), "id"])
    half = {key for key in known if hashlib.sha256(str(key).encode()).digest()[0] % 2}
    return records["id"].isin(half)


def routes(systems: Sequence[str]) -> Iterator[Route]:
    """Each system alone, and all routes with every threshold through some of ``systems`` in their order."""
    yield from (Route((name,)) for name in systems)
    for size in range(2, len(systems) + 1):
        for chain in combinations(systems, size):
            kinds = KINDS[1:] if size > 2 else KINDS[1:-1]  # of two, the second decides
            yield from (Route(chain, kind, threshold) for kind in kinds for threshold in THRESHOLDS[kind])


class Router:
    """Routes through ``systems`` (cheapest first), on the requests that all of them answered."""

    def __init__(self, records: pd.DataFrame, systems: Sequence[str]) -> None:
        """``records``: of lib.decision.records, ``priced``.

        Raises ParamsError for a system without records, and where all answered no request that one can fit on.
        """
        self.systems = tuple(systems)
        for name in {*systems} - (known := {*records["system"]}):
            raise ParamsError(f"systems: no records of '{name}'; {suggest(name, sorted(known))}")
        self._tables = aligned(records, self.systems)
        rows = self._tables[0].reset_index()
        fitted, developed = fitted_on(rows).to_numpy(), rows["test"].isin(DEVELOPED).to_numpy()
        self._fitted, self._shown = fitted & developed, ~fitted
        if not self._fitted.any():
            raise ParamsError(f"systems {', '.join(systems)}: no request of {' or '.join(DEVELOPED)} that all answered")
        asked = {str(test): (rows["test"] == test).to_numpy() for test in rows["test"].unique()}
        self._tests = {test: of & self._shown for test, of in {**asked, HELD_OUT: developed}.items()}
        self._all = {name: np.stack([table[name].to_numpy(float) for table in self._tables]) for name in USED}

    @cached_property
    def _after(self) -> Floats:
        """The probability that each answer is right by its system's confidence, (systems, records)."""
        fitted = calibration.fit(pd.concat(table[self._fitted] for table in self._tables))
        own = zip(self.systems, self._all["confidence"], strict=True)
        return np.stack([fitted[name].predict(confidence) for name, confidence in own])

    @cached_property
    def _before(self) -> Floats:
        """The same by the request's features."""
        features = np.log1p(self._tables[-1][OF_REQUEST].to_numpy(float))
        return np.stack([_predicted(features, right > 0, self._fitted) for right in self._all["exact"]])

    def _taken(self, route: Route) -> Flags:
        """Whose answer would be taken, (systems of the route, records): that of the first of which this is true."""
        own = [self.systems.index(name) for name in route.systems]
        sure = self._all["confidence"][own] > 0  # rules that do not know a sentence are not
        if route.kind == AGREEMENT:
            answers = self._all["answer"][own]
            taken = np.zeros_like(sure)
            taken[1:] = (answers[1:] == answers[:-1]) & sure[1:] & sure[:-1]
        elif route.kind == FEATURES:
            taken = self._before[own] >= route.threshold
        else:
            executes = self._all["executes"][own] > 0 if route.kind in (EXECUTION, CHECKED) else True
            likely = self._after[own] >= route.threshold if route.kind in (CONFIDENCE, CHECKED) else True
            taken = sure & executes & likely
        taken[-1] = True
        return taken

    def _answered(self, route: Route) -> tuple[list[int], NDArray[np.int64], Flags]:
        """The route's systems, the place among them of the one that answers, and who is asked, (systems, records)."""
        own, place = [self.systems.index(name) for name in route.systems], self._taken(route).argmax(axis=0)
        number = np.arange(len(own))[:, None]
        return own, place, number == place if route.kind == FEATURES else number <= place

    def answers(self, route: Route) -> pd.DataFrame:
        """The records of a route as those of a system of its name, without those of requests that it was fitted on.

        ``by``: the system that answered; times, tokens and prices are sums over all that were asked.
        """
        own, place, asked = self._answered(route)
        tables = [self._tables[i] for i in own]
        found = pd.concat(tables).iloc[place * len(place) + np.arange(len(place))]
        sums = {name: sum(t[name].to_numpy() * a for t, a in zip(tables, asked, strict=True)) for name in SUMS}
        made = found.assign(**sums, by=found["system"], system=route.name)[self._shown]
        return made.reset_index().drop(columns="again")

    def points(self, route: Route) -> list[dict[str, Any]]:
        """A row (of POINT) for each test, HELD_OUT included."""
        named = {**vars(route), "route": route.name, "systems": " → ".join(route.systems)}
        exact, ms, usd, up = self._outcome(route)
        made = []
        for test, rows in self._tests.items():
            if rows.any():
                n, mean, last = int(rows.sum()), float(exact[rows].mean()), float(self._all["exact"][-1][rows].mean())
                low, high = metrics.wilson(mean * n, n)
                found = {"test": test, "n": n, "accuracy": mean, "low": low, "high": high}
                found |= {"points": 100 * (mean - last), "usd_per_million": float(usd[rows].mean())}
                made.append({**named, **found, "mean_ms": float(ms[rows].mean()), "sent_up": float(up[rows].mean())})
        return made

    def _outcome(self, route: Route) -> tuple[Floats, Floats, Floats, Flags]:
        """Whether right, milliseconds, price, and whether the first did not answer, of each record of a route."""
        own, place, asked = self._answered(route)
        right: Floats = np.take_along_axis(self._all["exact"][own], place[None], 0)[0]
        ms, usd = ((self._all[name][own] * asked).sum(axis=0) for name in ("latency_ms", "usd_per_million"))
        return right, ms, usd, place > 0

    def fit(self, route: Route) -> Route:
        """The route with the cheapest threshold that is right as often as its last system on the half to fit on.

        If there is none, with the one that is right most often.
        """
        rated = [self.rated(replace(route, threshold=t)) for t in THRESHOLDS[route.kind]]
        least = self.rated(Route(route.systems[-1:]))[0]
        good = [one for one in rated if one[0] >= least]
        best = min(good, key=lambda one: one[1]) if good else max(rated, key=lambda one: (one[0], -one[1]))
        return best[2]

    def rated(self, route: Route) -> tuple[float, float, Route]:
        """The accuracy and USD a million on the half to fit on, and the route."""
        exact, _, usd, _ = self._outcome(route)
        return float(exact[self._fitted].mean()), float(usd[self._fitted].mean()), route

    def front(self) -> list[Route]:
        """The routes that are right more often than all cheaper ones, on the half to fit on; the cheapest first."""
        found: list[tuple[float, float, Route]] = []
        for one in sorted(map(self.rated, routes(self.systems)), key=lambda one: (one[1], -one[0])):
            if not found or one[0] > found[-1][0]:
                found.append(one)
        return [route for _, _, route in found]


def aligned(records: pd.DataFrame, systems: Sequence[str]) -> list[pd.DataFrame]:
    """The records of each system for what all of them answered, in the same order, by KEY."""
    own = numbered(records[records["system"].isin(list(systems))])
    own = own[own.groupby(KEY)["system"].transform("size") == len(systems)].set_index(KEY)
    common = own.index[own["system"] == systems[-1]]
    return [own[own["system"] == name].loc[common] for name in systems]


def _predicted(features: Floats, right: Flags, fitted: Flags) -> Floats:
    """The probability to be right by a logistic regression; the share that is, where there is nothing to tell."""
    if len({*right[fitted]}) < 2:
        return np.full(len(right), float(right[fitted].mean()))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[fitted], right[fitted])
    found: Floats = model.predict_proba(features)[:, 1]
    return found


def curve(router: Router) -> pd.DataFrame:
    """A row (POINT) for each test and route, systems alone included: cost against quality, on the same requests.

    ``chosen``: the threshold is the one that ``fit`` finds; ``front``: it is of the router's front. ``n``: requests;
    ``accuracy`` with Wilson's interval; ``points``: accuracy over that of the last system; ``sent_up``: the share that
    the route's first system does not answer. On requests that nothing was fitted on.
    """
    found = [*routes(router.systems)]
    chosen = {router.fit(route) for route in {replace(route, threshold=0.0) for route in found}}
    front = {*router.front()}
    marks = {route: {"chosen": route in chosen, "front": route in front} for route in found}
    rows = [{**point, **marks[route]} for route in found for point in router.points(route)]
    return pd.DataFrame(rows, columns=POINT)
