"""The index's cascade: rules, then the released models by size, then the teacher; and what all keep of the teacher.

Each system answers what it is sure of and what can be carried out (lib.decision.routing); the threshold makes a curve
of cost and quality. Without the teacher it is fitted on one half of the development requests and shown on the other;
with it on the requests that the teacher's recording has, which nothing was fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core.files import RecordError, Row
from lib.core.params import ParamsError
from lib.data.study_data import DEV, TEST
from lib.decision import candidates, costs
from lib.decision.candidates import SURE
from lib.decision.costs import Need
from lib.decision.records import KEY, numbered
from lib.decision.routing import CHECKED, DEVELOPED, HELD_OUT, LEAST, Route, Router
from lib.evaluation import bootstrap
from lib.evaluation.comparison import overall
from lib.evaluation.metrics import wilson
from lib.evaluation.prices import Prices, local_usd
from lib.report import charts, choice, svg
from lib.teacher.contract import PIPELINE

OF_ANSWER = ["system", "test", "id", "exact", "acted", "executes", "confidence", "latency_ms"]
AXIS = "US dollars a million requests, log scale"


def rules(last: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """Systems without a model that know a sentence or do not, the one first that is right most often where it does."""
    own = answers[answers["system"].isin(choice.without_model(last)) & (answers["test"] == DEV)]
    sure = own["confidence"].isin([0, 1]).groupby(own["system"]).all()
    known = own[own["system"].isin(sure[sure].index) & (own["confidence"] > 0)].astype({"exact": float})
    return [str(name) for name in known.groupby("system")["exact"].mean().sort_values(ascending=False).index]


def chain(last: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """The first rules and the released models, smallest first; [] if fewer than two have records."""
    files = overall(last[last["released"] | last["deployed"]], DEV).sort_values("size_mb")["system"]
    names = [*rules(last, answers)[:1], *(str(name) for name in files if name in {*answers["system"]})]
    return names if len(names) > 1 else []


def section(last: pd.DataFrame, answers: pd.DataFrame, metas: Row, prices: Prices) -> Row:
    """What the index shows of the cascade: ``curves``, and ``choices``, rows of the table of choices; {} without."""
    names, sizes = chain(last, answers), overall(last, DEV).set_index("system")["size_mb"]
    if not names:
        return {}
    model = metas.get("01", {}).get("parameters", {}).get("hosted_model", "")
    found = [_alone(names, answers, prices), _with_teacher(names, answers, metas, prices, model)]
    shown = [one for one in found if one]
    for one in shown:
        one["choice"]["mb"] = float(sizes[sizes.index.isin(names)].sum())
    return {"names": names, "curves": shown, "choices": [one["choice"] for one in shown]} if shown else {}


def _alone(names: Sequence[str], answers: pd.DataFrame, prices: Prices) -> Row:
    """The cascade of own systems."""
    asked = answers[answers["test"].isin([*DEVELOPED, TEST])]
    try:
        router = Router(asked.assign(usd_per_million=local_usd(prices, asked["latency_ms"])), names)
    except ParamsError:
        return {}
    route = Route(tuple(names), CHECKED)
    fitted = router.fit(route)
    rows, tables = list[Row](), {t: router.answers(Route(route.systems, CHECKED, t)) for t in LEAST}
    for threshold, table in tables.items():
        rows.append(_row(table[table["test"].isin(DEVELOPED)], threshold, threshold == fitted.threshold))
    own = router.answers(fitted)
    tests = {name: _row(own[own["test"] == name]) if (own["test"] == name).any() else {} for name in (DEV, TEST)}
    held = own[own["test"] == TEST] if tests[TEST] else own
    need = Need(float(held["latency_ms"].mean()) / 1000)
    made = _choice(names, f"each answers what it is {100 * fitted.threshold:g} % sure of", prices)
    made |= {"test": choice.share(tests[TEST]) if tests[TEST] else "–", "each": costs.anyway(prices, need) / 1e6}
    made |= {"dev": choice.share(tests[DEV]) + ", not fitted on" if tests[DEV] else "–"}
    made |= {"warm": float(held["latency_ms"].median()), "wrong_action": _row(held)["wrong_action"]}
    alone = [_named(p, name) for name in names for p in router.points(Route((name,))) if p["test"] == HELD_OUT]
    where = f"the half of {' and '.join(DEVELOPED)} that was not fitted on"
    return {"systems": list(names), "where": where, "choice": made, **_curve(rows, alone)}


def _with_teacher(names: Sequence[str], answers: pd.DataFrame, metas: Row, prices: Prices, model: str) -> Row:
    """The cascade with the teacher behind it, by its recording and the list price of ``model``."""
    said = teacher(metas)
    if not len(said):
        return {}
    answers = answers[answers["system"].isin(names) & answers["test"].isin([DEV, *said["test"].unique()])][OF_ANSWER]
    if model not in prices.hosted or not len(both := candidates.before_teacher(answers, names, said)):
        return {}

    def priced(table: pd.DataFrame) -> pd.DataFrame:
        each = [Need(0.0, *tokens) for tokens in zip(table["read"], table["written"], strict=True)]
        large = pd.Series([costs.hosted(prices, model, need) for need in each], table.index)
        return table.assign(usd_per_million=local_usd(prices, table["latency_ms"]) + large, large=large)

    tables = {t: priced(candidates.before_teacher(answers, names, said, t)) for t in LEAST}
    rows = [_row(table, t, t == SURE) for t, table in tables.items()]
    own, tests = priced(both), " and ".join(both["test"].unique())
    need = Need(float(own["latency_ms"].mean()) / 1000)
    made = _choice([*names, PIPELINE], f"the large model answers {100 * own['up'].mean():.0f} %", prices)
    made |= {"test": "–", "dev": f"{choice.share(_row(own))}, of {tests}", "wrong_action": _row(own)["wrong_action"]}
    made |= {"each": (costs.anyway(prices, need) + float(own["large"].mean())) / 1e6}
    large = said.assign(by=PIPELINE, acted=said["calls"].map(bool), latency_ms=0.0)
    large = priced(large.assign(read=said["prompt_tokens"], written=said["new_tokens"]))
    alone = [answers[answers["system"] == name].assign(by=name) for name in names]
    alone = [numbered(table).merge(own[KEY], on=KEY) for table in alone]
    kept = [table.assign(usd_per_million=local_usd(prices, table["latency_ms"])) for table in alone]
    points = [_named(_row(t), str(t["by"].iloc[0])) for t in [*kept, large]]
    return {"systems": [*names, PIPELINE], "where": tests, "choice": made, "answers": own, **_curve(rows, points)}


def teacher(metas: Row, system: str = PIPELINE) -> pd.DataFrame:
    """What the teacher's ``system`` answered in the recording of a report ("": all of its systems)."""
    folder = choice.recording(metas)
    return candidates.said_by_teacher(folder, system) if folder else pd.DataFrame()


def _choice(names: Sequence[str], what: str, prices: Prices) -> Row:
    """A row of the table of choices, without its figures."""
    known: Row = {"system": " → ".join(names), "label": "cascade", "what": what, "hosted": False, "link": ""}
    return {**known, "fixed": costs.waiting(prices), "cold": None, "warm": None, "benched": False}


def _row(table: pd.DataFrame, threshold: float = 0.0, chosen: bool = False) -> Row:
    """A point of a curve; ``by``: the share that each system answers."""
    n, right = len(table), float(table["exact"].astype(float).sum())
    low, high = wilson(right, n)
    wrong = table["acted"].astype(bool) & ~table["exact"].astype(bool)
    known = {"n": n, "accuracy": right / n, "low": low, "high": high, "wrong_action": float(wrong.mean())}
    known |= {"threshold": threshold, "chosen": chosen, "by": table["by"].value_counts(normalize=True).to_dict()}
    return {**known, "x": float(table["usd_per_million"].mean())}


def _named(point: Row, name: str) -> Row:
    return {**point, "x": point.get("usd_per_million", point.get("x")), "system": name, "look": charts.look(name)}


def _curve(rows: Sequence[Row], alone: Sequence[Row]) -> Row:
    """``rows``, ``n``, and the ``drawing``, wide and narrow: the cascade's points are joined; equal ones are one.

    Systems that are far less accurate alone are in the text only, so that the axis fits the others.
    """
    merged: dict[tuple[float, float], Row] = {}
    for row in rows:
        merged.setdefault((row["x"], row["accuracy"]), row)
    line = [{**row, "system": f"cascade at {row['threshold']:g}", "look": ("#000000", "o")} for row in merged.values()]
    alt = f"Accuracy against cost of a cascade at {len(line)} thresholds, and of its systems alone; the table has them."
    far = min(row["accuracy"] for row in line) - charts.GAP
    points = [*(row for row in alone if row["accuracy"] > far), *line]
    drawing = [svg.scatter(points, line, width, AXIS, alt, stepped=False) for width in (760, 350)]
    return {"rows": list(rows), "n": rows[0]["n"], "alone": list(alone), "drawing": drawing}


def of_reference(last: pd.DataFrame, answers: pd.DataFrame, metas: Row, folder: Path, found: Row) -> Row:
    """What all keep of the reference's accuracy, on the same requests: ``shares`` (share, low, high) by system.

    ``name``: the teacher, on what its recording has; if none of it was asked of the deployed model, too: the model that
    the last part compares all others with, on TEST. ``found``: of ``section``. {} if neither has records.
    """
    deployed = str(last.loc[last["deployed"], "system"].iloc[0])
    both = candidates.before_teacher(answers, [deployed], teacher(metas))
    try:
        name = PIPELINE if len(both) else candidates.parent(folder)
    except RecordError:
        return {}
    own = answers[~answers["system"].isin([PIPELINE])] if len(both) else answers[answers["test"] == TEST]
    parts = [own[["system", "test", "id", "exact"]]]
    if len(both):
        parts.append(teacher(metas, "")[["system", "test", "id", "exact"]])
        routed = [one for one in found.get("curves", ()) if "answers" in one]
        parts.append(both.assign(system=f"{deployed} → {PIPELINE}")[parts[0].columns])
        parts += [one["answers"].assign(system=one["choice"]["system"])[parts[0].columns] for one in routed]
    rows: Any = numbered(pd.concat(parts, ignore_index=True))
    wide = rows.pivot(index=KEY, columns="system", values="exact")
    if name not in wide:
        return {}
    wide = wide[wide[name].notna() & wide[deployed].notna()].dropna(axis=1).astype(bool)
    if not len(wide) or not wide[name].any():
        return {}
    tests = " and ".join(dict.fromkeys(wide.index.get_level_values("test")))
    shares = {str(column): bootstrap.ratio(wide[column], wide[name]) for column in wide}
    return {"name": name, "taught": bool(len(both)), "tests": tests, "n": len(wide), "shares": shares}
