"""What can be deployed by a report: its systems, cascades of two, what each costs, and what they are measured by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.core import files
from lib.core.files import RecordError
from lib.data.recording import KINDS, PREDICTIONS
from lib.data.study_data import DEV, DEV_HUMAN, TEST
from lib.decision import calibration, records
from lib.decision.costs import Need
from lib.decision.routing import CHECKED, Route, Router
from lib.evaluation.comparison import drawn, overall
from lib.evaluation.prices import Prices, local_usd

ROUTED = " → "
"""What is in the names of cascades."""
SURE = 0.9
"""With which probability a model's answer must be right so that the teacher is not asked."""


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
    made = pd.concat([found, *_cascades(found, names, reference)], ignore_index=True)
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


def before_teacher(found: pd.DataFrame, name: str, recording: Path, teacher: str) -> pd.DataFrame:
    """The answers of ``name`` in a report's records to the requests that the recorded ``teacher`` answered, too.

    ``exact`` is the teacher's where ``up``: where the model's confidence, calibrated on DEV, is below SURE, or its
    answer cannot be carried out. ``read`` and ``written``: the teacher's tokens. None without records or recording.
    """
    said = pd.DataFrame(files.read_rows(recording / PREDICTIONS, KINDS[PREDICTIONS])[0])
    own = found[found["system"] == name]
    if not len(said) or not len(own[own["test"] == DEV]):
        return pd.DataFrame()
    sure = calibration.fit(own[own["test"] == DEV])[name].predict(own["confidence"])
    own = own.assign(up=(sure < SURE) | ~own["executes"].astype(bool))
    said = said[said["system"] == teacher].rename(columns={"prompt_tokens": "read", "new_tokens": "written"})
    sides = [rows.assign(again=rows.groupby(["test", "id"]).cumcount()) for rows in (own, said)]
    both = sides[0].merge(sides[1], on=["test", "id", "again"], suffixes=("", "_said"))
    return both.assign(exact=both["exact_said"].where(both["up"], both["exact"]).astype(bool))


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
