"""What can be deployed by a report: its systems, cascades of two, what each costs, and what they are measured by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.core import files
from lib.core.files import RecordError
from lib.data.recording import KINDS, PREDICTIONS
from lib.data.study_data import DEV, DEV_HUMAN, TEST
from lib.decision import calibration, records
from lib.decision.costs import Need
from lib.decision.records import KEY, numbered
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


def said_by_teacher(recording: Path, teacher: str = "") -> pd.DataFrame:
    """What a recording's systems (or ``teacher`` alone) answered, by test, id and how often it came before (KEY)."""
    said = pd.DataFrame(files.read_rows(recording / PREDICTIONS, KINDS[PREDICTIONS])[0])
    own = said[said["system"] == teacher] if teacher and len(said) else said
    return numbered(own) if len(own) else own


def before_teacher(found: pd.DataFrame, names: Sequence[str], said: pd.DataFrame, least: float = SURE) -> pd.DataFrame:
    """The answers of a cascade to the requests of a report's records that the teacher answered, too (``said``).

    ``names``: its systems, cheapest first, with the teacher behind them. A system's answer is taken where its
    confidence, calibrated on DEV, is at least ``least``, and it can be carried out; rules that do not know a sentence
    have none. Columns: KEY, ``exact`` and ``acted`` of the answer, ``by``, ``up`` (the teacher was asked),
    ``latency_ms`` of all others that were asked, and the teacher's tokens: ``read`` and ``written``, 0 if it was not.
    None if they have no request in common.
    """
    own = found[found["system"].isin(list(names))]
    known = own[own["test"] == DEV]
    if not len(said) or {*names} - {*known["system"]}:
        return pd.DataFrame()
    fitted = calibration.fit(known)
    sides = [numbered(own[own["system"] == name]).set_index(KEY) for name in names]
    last = said.set_index(KEY)
    for side in sides:
        last = last[last.index.isin(side.index)]
    if not len(last):
        return pd.DataFrame()
    sides = [side.loc[last.index] for side in sides]
    left, ms, parts = np.ones(len(last), bool), np.zeros(len(last)), list[pd.DataFrame]()
    for name, side in zip(names, sides, strict=True):
        sure = (fitted[name].predict(side["confidence"]) >= least) & (side["confidence"] > 0)
        taken = left & sure.to_numpy() & side["executes"].to_numpy(bool)
        ms += np.where(left, side["latency_ms"], 0.0)
        parts.append(side.loc[taken, ["exact", "acted"]].assign(by=name))
        left = left & ~taken
    parts.append(pd.DataFrame({"exact": last["exact"], "acted": last["calls"].map(bool), "by": last["system"]})[left])
    tokens = {"read": last["prompt_tokens"] * left, "written": last["new_tokens"] * left}
    made = pd.concat(parts).reindex(last.index).assign(up=left, latency_ms=ms, **tokens)
    return made.astype({"exact": bool, "acted": bool}).reset_index()


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
