"""What can be deployed by a report: its systems, what a request costs each, and the one that they are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.core import files
from lib.core.files import RecordError
from lib.data.study_data import DEV
from lib.decision import costs, records
from lib.decision.costs import Need
from lib.evaluation.comparison import drawn, overall
from lib.evaluation.prices import Prices


@dataclass(frozen=True)
class Candidates:
    """``records``: of all systems; ``needs``: of those that can be deployed; ``usd``: of a million more requests each,

    on a machine that is there anyway.
    """

    records: pd.DataFrame
    reference: str
    needs: dict[str, Need]
    usd: dict[str, float]

    def on(self, test: str) -> pd.DataFrame:
        """The records of one test."""
        return self.records[self.records["test"] == test]


def read(folder: Path, prices: Prices, reference: str = "") -> Candidates:
    """The candidates of a report's folder; the reference is by default the parent of its models. Raises RecordError."""
    found, reference = records.read(folder), reference or _parent(folder)
    times = found[found["test"] == DEV].groupby("system")["latency_ms"].mean() / 1000
    needs = {name: Need(float(times[name])) for name in _deployable(folder) if name in times}
    return Candidates(found, reference, needs, {name: costs.anyway(prices, need) for name, need in needs.items()})


def _deployable(folder: Path) -> list[str]:
    """The systems that were timed and are rules, references or files to publish."""
    try:
        rows = pd.read_csv(folder / "metrics.csv")
        rows = overall(rows[rows["stage"] == rows["stage"].max()], DEV)
        return [str(name) for name in drawn(rows, rows).dropna(subset="usd_per_million")["system"]]
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"{folder.name}/metrics.csv: cannot be used ({error!r}): make the report again") from error


def _parent(folder: Path) -> str:
    try:
        return str(files.read_json(folder / "provenance.json")["06"]["parameters"]["parent"])
    except KeyError as error:
        raise RecordError(f"{folder.name}/provenance.json: no {error} of part 6: give a reference") from error
