"""What can be deployed by a report: its systems, cascades of two, what each costs, and what they are measured by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.core import files
from lib.core.files import RecordError
from lib.data.study_data import DEV, DEV_HUMAN, TEST
from lib.decision import records
from lib.decision.costs import Need
from lib.decision.routing import CHECKED, Route, Router
from lib.evaluation.comparison import drawn, overall
from lib.evaluation.metrics import first_order
from lib.evaluation.prices import Prices, local_usd

ROUTED = " → "
"""What is in the names of cascades."""


@dataclass(frozen=True)
class Candidates:
    """``records``: of all systems and of cascades; ``needs``: of a request, for those that can be deployed.

    ``usd``: of a million requests to each of these, by the formula of metrics.csv.
    """

    records: pd.DataFrame
    reference: str
    needs: dict[str, Need]
    usd: dict[str, float]

    def on(self, test: str) -> pd.DataFrame:
        """The records of one test."""
        return self.records[self.records["test"] == test]


def read(folder: Path, prices: Prices, reference: str = "") -> Candidates:
    """The candidates of a report's folder: its systems, and a cascade from each to the reference.

    The reference is by default the parent of the models. Raises RecordError.
    """
    found, reference = records.read(folder), reference or parent(folder)
    return of(found, rows(folder), reference, prices)


def of(found: pd.DataFrame, rows: pd.DataFrame, reference: str, prices: Prices) -> Candidates:
    """The same from records and the comparison's rows: of systems that were timed and are shown in charts."""
    names = [str(name) for name in drawn(rows, rows).dropna(subset="usd_per_million")["system"]]
    made = pd.concat([found, *_cascades(first_order(found), names, reference)], ignore_index=True)
    ms = made[made["test"] == DEV].groupby("system")["latency_ms"].mean()
    ms = ms[ms.index.isin(names) | ms.index.str.contains(ROUTED)]
    needs = {str(name): Need(seconds) for name, seconds in (ms / 1000).items()}
    return Candidates(made, reference, needs, local_usd(prices, ms).to_dict())


def _cascades(found: pd.DataFrame, names: Sequence[str], last: str) -> Iterator[pd.DataFrame]:
    """The answers of cascades that end with ``last``, to the requests that they were not fitted on."""
    asked = found[found["test"].isin([DEV, DEV_HUMAN, TEST])]
    asked = asked.assign(usd_per_million=asked["latency_ms"])  # of one machine: its price is no matter here
    cost = asked[asked["test"] == DEV].groupby("system")["latency_ms"].mean()
    for name in names if last in names else ():
        if cost.get(name, math.inf) < cost.get(last, 0.0):
            router = Router(asked, [name, last])
            yield router.answers(router.fit(Route((name, last), CHECKED)))


def rows(folder: Path) -> pd.DataFrame:
    """The last part's rows about DEV as a whole. Raises RecordError."""
    try:
        found = pd.read_csv(folder / "metrics.csv")
        return overall(found[found["stage"] == found["stage"].max()], DEV).dropna(subset="usd_per_million")
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"{folder.name}/metrics.csv: cannot be used ({error!r}): make the report again") from error


def parent(folder: Path) -> str:
    """The model that the last part compares all others with. Raises RecordError."""
    try:
        return str(files.read_json(folder / "provenance.json")["06"]["parameters"]["parent"])
    except KeyError as error:
        raise RecordError(f"{folder.name}/provenance.json: no {error} of part 6: give a reference") from error
