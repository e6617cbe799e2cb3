"""The choice between the systems of a report: a table, and in sentences which to deploy and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from lib.core import files
from lib.core.files import Row
from lib.data.study_data import DEV, TEST
from lib.decision import costs, training_cost
from lib.decision.costs import Need, dollars
from lib.evaluation import metrics
from lib.evaluation.comparison import ALL, overall
from lib.evaluation.prices import DAYS, Prices, load_prices
from lib.llm.replay import REPLIES
from lib.model.flops import Shape
from lib.model.gguf_read import GgufError, GgufFile
from lib.report.release import latency
from lib.tasks import load
from lib.teacher.contract import has_teacher, teacher_task

TEACHER_DEV = "teacher_dev"
BATCH = 64  # requests that a GPU answers together


def share(row: Row) -> str:
    """An accuracy with its interval and n, as in '93.3 % (91.2–94.9), n = 700'."""
    around = f"{row['low'] * 100:.1f}–{row['high'] * 100:.1f}"
    return f"{row['accuracy'] * 100:.1f} % ({around}), n = {row['n']:.0f}"


def _on(rows: pd.DataFrame, test: str) -> dict[str, Row]:
    return {row["system"]: row for row in overall(rows, test).to_dict("records")}


def _best(dev: dict[str, Row]) -> str:
    """The most accurate system that is a file; of several, the deployed one."""
    made = [name for name, row in dev.items() if row["size_mb"] > 0]
    return max(made, key=lambda name: (dev[name]["accuracy"], dev[name]["deployed"]))


def choices(folder: Path, last: pd.DataFrame, rows: pd.DataFrame, metas: Row) -> list[Row]:
    """The rows of the table of choices: own models, systems without a model, large models at list price."""
    dev, test, prices = _on(last, DEV), _on(last, TEST), load_prices()
    best, rules = _best(dev), without_model(last)
    released = {name for name, row in dev.items() if row["size_mb"] > 0 and (row["released"] or row["deployed"])}
    chosen = sorted(released | {best}, key=lambda name: (not dev[name]["deployed"], dev[name]["size_mb"]))
    found = []
    for name in [*chosen, *rules]:
        marks = {"recommended": dev[name]["deployed"], "most accurate": name == best, "no model": name in rules}
        marks |= {"released": name in released, "not released": name == best and name not in released}
        row = {"system": name, "what": ", ".join(m for m, holds in marks.items() if holds), "mb": dev[name]["size_mb"]}
        row |= {"dev": share(dev[name]), "test": share(test[name]) if name in test else "–"}
        row |= {"wrong_action": test.get(name, dev[name]).get("wrong_action"), "label": ""}
        each = costs.anyway(prices, _need(dev[name])) / 1e6
        row |= {"fixed": costs.waiting(prices), "each": each, "hosted": False}
        found.append({**row, **_times(folder, dev[name])})
    return found + _large(rows, metas, prices)


def labelled(table: Sequence[Row], cascades: Sequence[Row], rules: Sequence[str]) -> list[Row]:
    """The table with ``cascades`` before the large models, and each row's ``label``: which kind of choice it is."""
    released = [row["mb"] for row in table if "released" in row["what"].split(", ")]
    rows = []
    for row in table:
        what = row["what"].split(", ")
        marks = {"smallest": "released" in what and row["mb"] == min(released), "balanced": "recommended" in what}
        marks |= {"most accurate": "most accurate" in what, "rules": row["system"] in rules}
        rows.append({**row, "label": row["label"] or ", ".join(m for m, holds in marks.items() if holds)})
    own = [row for row in rows if not row["hosted"]]
    return [*own, *cascades, *(row for row in rows if row["hosted"])]


def _times(folder: Path, own: Row) -> Row:
    """warm and cold milliseconds, those of ``make bench`` if it measured this file, and where to download it."""
    file, times = folder / "model" / f"{own['system'].replace(' ', '-')}.gguf", latency(folder, own)
    digest, cold = files.sha256(file) if file.is_file() else "", times.get("cold_ms")
    known = {"warm": times["p50_ms"], "cold": cold, "benched": cold is not None}
    return {**known, "link": f"model/{file.name}" if digest else "", "sha256": digest}


def _large(rows: pd.DataFrame, metas: Row, prices: Prices) -> list[Row]:
    """Large models: those that part 1 measured, at the price it names, and published accuracies."""
    first, last = metas.get("01", {}).get("parameters", {}), metas[max(metas)]["parameters"]
    model = first.get("hosted_model", "")
    asked = rows[(rows["stage"] == rows["stage"].min()) & (rows["test"] == TEACHER_DEV) & (rows["level"] == ALL)]
    asked = asked[asked["prompt_tokens"] > 0].sort_values("accuracy", ascending=False).head(1)
    found = []
    for row in asked.to_dict("records"):
        what, right = f"local LLM of part 1, priced as {model}", f"{share(row)}, a sample of dev"
        need = Need(0.0, row["prompt_tokens"], row["new_tokens"])
        found.append((row["system"], what, right, model, need, row.get("wrong_action")))
    for name, accuracy in last.get("published", {}).items():
        right = f"{accuracy * 100:.1f} % on {last['published_test']} (published)"
        found.append((name, "large model, list price", right, name, costs.hosted_need(prices), None))
    return [
        {"system": system, "what": what, "dev": right, "test": "–", "fixed": 0.0, "hosted": True, "label": "LLM"}
        | {"each": costs.hosted(prices, priced, need) / 1e6, "wrong_action": wrong}
        for system, what, right, priced, need, wrong in found
        if priced in prices.hosted
    ]


def verdict(last: pd.DataFrame, table: Sequence[Row], answers: pd.DataFrame) -> list[str]:
    """Sentences: the model, the distance to the best, what it costs, and when not to use it.

    ``answers``: the report's records, or none; the distance has an interval only with them.
    """
    dev, test = _on(last, DEV), _on(last, TEST)
    own, best = next(row for row in dev.values() if row["deployed"]), _best(dev)
    name = own["system"]
    held = f"{share(test[name])}, of requests held out for this, and on " if name in test else ""
    rival = max((r for _, r in wins(last, name) if r["test"] == TEST), key=lambda r: r["accuracy"], default=None)
    lead = "Of the models deploy" if rival else "Deploy"
    said = [f"{lead} {name}, {own['size_mb']:.0f} MB: right on {held}{share(own)}, of the set that it was chosen on."]
    said[0] += f" Without a model {rival['system']} has {share(rival)}, held out." if rival else ""
    if best != name:
        both = answers[(answers["test"] == DEV) & answers["system"].isin([name, best])]
        rows = metrics.paired(both, best).to_dict("records") if len(set(both["system"])) == 2 else []
        ends = ", ".join(f" (95% interval of the paired difference {r['low']:+.1f} to {r['high']:+.1f})" for r in rows)
        points = 100 * (dev[best]["accuracy"] - own["accuracy"])
        said.append(f"There it is {points:.1f} points below the most accurate file, {best}{ends.replace('-', '−')}.")
    row = next(row for row in table if row["system"] == name)
    said += [] if row["link"] else ["Its file is not kept with this report: a run makes it."]
    return [*said, *_costs(row, table), weakness(last, name)]


def _costs(own: Row, table: Sequence[Row]) -> list[str]:
    bought, there = ([dollars(yearly(own, v, b)) for v in (50, 5000)] for b in (True, False))
    said = [
        f"At 50 or 5,000 requests a day it costs {' or '.join(bought)} a year on a machine bought for it, "
        f"and {' or '.join(there)} for electricity on one that is there anyway."
    ]
    large = min((row for row in table if row["hosted"]), key=lambda row: row["each"], default=None)
    if large:
        spent = [dollars(yearly(large, v)) for v in (50, 5000)]
        said.append(
            f"The cheapest LLM ({large['system']}: {large['what']}) costs {' or '.join(spent)}, less than "
            f"a machine bought for {own['system']} below {break_even(own, large):,.0f} requests a day."
        )
    return said


def weakness(last: pd.DataFrame, name: str) -> str:
    """Its worst level on DEV, and where a system without a model is better."""
    levels = last[(last["system"] == name) & (last["test"] == DEV) & (last["level"] != ALL)]
    weak, won = levels.sort_values("accuracy", kind="stable").iloc[0], wins(last, name)
    better = {test: [s for s, row in won if row["test"] == test] for test in dict.fromkeys(r["test"] for _, r in won)}
    told = "; ".join(f"{test} ({', '.join(systems)})" for test, systems in better.items())
    rest = f" Systems without a model are more accurate on {told}." if better else ""
    return f"Its weakest level on {DEV} is {weak['level']}: {share(weak.to_dict())}.{rest}"


def without_model(last: pd.DataFrame) -> list[str]:
    dev = overall(last, DEV)
    return list(dev[dev["size_mb"].isna() & (dev["prompt_tokens"] == 0)]["system"])


def cells_of(last: pd.DataFrame) -> pd.DataFrame:
    """Levels of dev, and every other test as a whole."""
    kept = last[(last["test"] == DEV) & (last["level"] != ALL) | (last["test"] != DEV) & (last["level"] == ALL)]
    return kept.assign(test=kept["test"].where(kept["test"] != DEV, DEV + " " + kept["level"]))


def wins(last: pd.DataFrame, name: str) -> list[tuple[str, Row]]:
    """Where a system without a model is more accurate than ``name`` on the same requests."""
    cells, found = cells_of(last), list[tuple[str, Row]]()
    own = cells[cells["system"] == name]
    for row in cells[cells["system"].isin(without_model(last))].to_dict("records"):
        same = own[(own["test"] == row["test"]) & (own["n"] == row["n"])]
        found += [(row["system"], row)] if (same["accuracy"] < row["accuracy"]).any() else []
    return found


def _need(own: Row) -> Need:
    return Need(seconds=own["mean_ms"] / 1000)


def assumptions(last: pd.DataFrame) -> list[Row]:
    """What moves the cost of the deployed model on a machine bought for it by more than 10%, the strongest first.

    Rows of lib.decision.costs.sensitivity, at the requests a day of the prices; answers in USD a year.
    """
    need, prices = _need(overall(last[last["deployed"]], DEV).iloc[0].to_dict()), load_prices()
    day = prices.use.requests_per_day
    return costs.sensitivity(lambda p: costs.per_year(costs.own(p, need, day), day), prices).to_dict("records")


def loads(folder: Path, last: pd.DataFrame) -> list[Row]:
    """What a million requests to the deployed model cost by load: rows of lib.decision.costs.at_loads.

    GPUs are among them if its file is here: by the least time that their arithmetic and memory allow for BATCH
    requests at once, nothing cached.
    """
    own, prices = overall(last[last["deployed"]], DEV).iloc[0].to_dict(), load_prices()
    try:
        file = GgufFile(folder / "model" / f"{own['system'].replace(' ', '-')}.gguf")
        shape = Shape.of({**file.config(), "vocab_size": file.get("llama.vocab_size")})
    except GgufError:
        return costs.at_loads(prices, _need(own)).to_dict("records")
    rented = {name: price for name, price in prices.rented.items() if price.tflops and price.gb_per_second}
    asked = own["prompt_tokens"], own["new_tokens"], 0.0, BATCH
    least = {n: Need(shape.gpu_seconds(*asked, p.tflops * 1e12, p.gb_per_second)) for n, p in rented.items()}
    return costs.at_loads(prices, _need(own), least).to_dict("records")


def recording(metas: Row) -> Path | None:
    """The folder with the recorded teacher of a report's task; None if it is not here."""
    with suppress(KeyError, ValueError):  # no part 1, or a task that is not here
        task = load(metas["01"]["parameters"]["task"])
        return teacher_task(task).recordings if has_teacher(task) else None
    return None


def taught(metas: Row) -> list[Row]:
    """What the replies of the teacher's recording cost at list prices; [] if it is not here."""
    folder = recording(metas)
    replies = pd.read_json(folder / REPLIES, lines=True) if folder else pd.DataFrame()
    return costs.teacher_data(load_prices(), replies).to_dict("records") if len(replies) else []


def trainings(folder: Path) -> list[Row]:
    """The run's trainings.csv, if it has the columns of today, and the recorded trainings of ``folder``.

    Rows of lib.decision.training_cost.compare, and ``kind``: fitted, beside (something took part of the hardware), near
    (the predicted time is at most 25% off) or far.
    """
    path = folder / "trainings.csv"
    own = pd.read_csv(path).fillna({"beside": ""}) if path.is_file() else pd.DataFrame()
    rows = own.to_dict("records") if {*training_cost.COLUMNS} <= {*own} else []
    rows += training_cost.compare(training_cost.of_reports(folder), load_prices()).to_dict("records")
    return [{**row, "kind": _kind(row)} for row in rows]


def _kind(row: Row) -> str:
    return "fitted" if row["fitted"] else "beside" if row["beside"] else "near" if abs(row["error"]) <= 0.25 else "far"


def break_even(own: Row, large: Row) -> float:
    """Requests a day above which a machine bought for ``own`` costs less than ``large``; infinite if it never does."""
    return costs.crossing(own["fixed"], own["each"] * 1e6, large["each"] * 1e6)


def yearly(row: Row, volume: float, bought: bool = True) -> float:
    """USD a year at ``volume`` requests a day, with the price of a machine or of electricity alone."""
    return float(row["fixed"] * bought + row["each"] * DAYS * volume)
