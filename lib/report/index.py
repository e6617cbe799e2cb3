"""reports/index.html: which model to deploy, how good it is, how sure that is, what it costs, and when not to use it.

Everything is computed from the files of ``reports/<profile>`` and params/prices.yaml; the run need not be here. A part
whose source is not there says which file is missing.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from lib.core import files, paths
from lib.core.files import RecordError, Row
from lib.data.study_data import DEV, DEV_HUMAN, TEST
from lib.decision import candidates, records
from lib.decision.candidates import SURE
from lib.decision.costs import Need, dollars, hosted
from lib.evaluation import bootstrap
from lib.evaluation.comparison import ALL, STEPS, overall
from lib.evaluation.metrics import holm, wilson
from lib.evaluation.prices import load_prices
from lib.report import cascade, charts, choice, gallery, guaranteed, related, svg
from lib.report.choice import BATCH, assumptions, break_even, cells_of, choices, loads, taught, verdict, wins, yearly
from lib.report.release import STAGE, TEMPLATES
from lib.runtime.requests import calls
from lib.teacher.contract import PIPELINE

NEEDED = {"stage", "system", "test", "level", "n", "right", "accuracy", "low", "high", "prompt_tokens", "new_tokens"}
NEEDED |= {"mean_ms", "p50_ms", "p95_ms", "usd_per_million", "size_mb", "wrong_action"}
PEOPLE = "human"
"""The folder of the ablation of params/human.yaml."""
VOLUMES = (50, 500, 5000)
"""Requests a day in the tables; the middle one is where the slider starts."""


def index(reports: Path = paths.REPORTS, out: Path | None = None) -> Path:
    """Writes reports/index.html: every report, those of the main task and that deploy a model first; the galleries;
    and what related systems gave.

    A gallery whose records are gone is removed. ``out``: the folder to write them to, if not ``reports``.
    """
    found = [about(reports / profile, profile) for profile in reported(reports)]
    found.sort(key=lambda run: ("/" in run["profile"], "verdict" not in run, not run.get("limits")))
    for run in found:
        page = (out or reports) / run["profile"] / gallery.FILE
        page.unlink(missing_ok=True)
        if run.get("gallery"):
            files.write_text(page, rendered("gallery.html.j2", run=run))
    if told := related.page(reports):
        files.write_text((out or reports) / related.FILE, rendered("related.html.j2", page=told))
    given = {"volumes": VOLUMES, "prices": load_prices(), "batch": BATCH, "sure": SURE}
    text = rendered("runs.html.j2", runs=found, related=told, **given)
    files.write_text(page := (out or reports) / "index.html", text)
    return page


def reported(reports: Path) -> list[str]:
    """The profiles that have a report."""
    return [profile for profile in paths.profiles() if (reports / profile / "provenance.json").exists()]


def named(profile: str) -> Row:
    """How pages name a profile: ``id``, without a slash, and ``up``, from its report's folder to that of the index."""
    return {"profile": profile, "id": profile.replace("/", "--"), "up": "../" * (1 + profile.count("/"))}


def rendered(name: str, **values: Any) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=name.endswith(".html.j2"))
    environment.globals |= {f.__name__: f for f in (yearly, dollars, break_even, calls)}
    return environment.get_template(name).render(values) + "\n"


def read(folder: Path) -> pd.DataFrame:
    """metrics.csv with its marks as booleans; empty if it is not there or of another schema."""
    rows = pd.read_csv(folder / "metrics.csv") if (folder / "metrics.csv").exists() else pd.DataFrame()
    rows = rows if set(rows) >= NEEDED else pd.DataFrame()
    for column in ("deployed", "released"):
        rows[column] = rows[column].fillna(False).astype(bool) if column in rows else False
    return rows


MISSING = {
    "limits": "model/README.md has no section 'Limits' (make release).",
    "errors": "records.jsonl.xz is not there or cannot be read: no examples of errors (make reproduce).",
    "guarantee": "No records.jsonl.xz or metrics.csv, or no parent that got something right: no guarantee.",
    "trainings": "No trainings.csv with all columns: no predicted times of trainings (run part 6).",
    "taught": "The teacher's recording is not there: no cost of its data.",
    "cascade": "No records of two systems of the cascade: no cascade (make reproduce).",
    "of": "No records of the teacher or the assistant: no percent of their accuracy.",
    "chart": "metrics.csv has no test that large models answered, too, or prices.yaml no price: no chart.",
}
"""What is said of a part that cannot be shown."""


def about(folder: Path, profile: str = "") -> Row:
    """All that the index shows of the report of ``profile``, by default the folder's name; ``missing``: what not."""
    metas = {n: meta for n, meta in files.read_json(folder / "provenance.json").items() if n <= STAGE}
    pages = {p.name: re.search(r"<title>(.*?)</title>", p.read_text("utf-8")) for p in folder.glob("[0-9][0-9]_*.html")}
    titles = {name: html.unescape(found[1]) if found else name for name, found in sorted(pages.items())}
    kept = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in (".csv", ".json", ".xz"))
    run: Row = {
        **named(profile or folder.name),
        "pages": titles,
        "made": made(meta := metas[max(metas)]),
        "files": kept,
    }
    run["task"] = meta["parameters"].get("task", "")
    rows = read(folder)
    if not rows["deployed"].any():
        return {**run, "missing": ["metrics.csv deploys no model or lacks columns: no choice (run part 6)."]}
    last = rows[rows["stage"] == rows.loc[rows["deployed"], "stage"].max()]
    table = choices(folder, last, rows, metas)
    found = answers(folder)
    routed = cascade.section(last, found, metas, load_prices())
    run |= {"choices": choice.labelled(table, routed.get("choices", ()), cascade.rules(last, found))}
    run |= {"cascade": routed, "of": cascade.of_reference(last, found, metas, folder, routed)}
    run["verdict"] = verdict(last, table, found)
    run |= {"assumptions": assumptions(last), "heat": heat(last)}
    run |= {"chart": chart(rows, last, metas, found), "steps": steps(folder, rows, metas)}
    run |= {"limits": _card(folder, "Limits"), "variants": variants(folder), "wrong": _card(folder, "Wrong actions")}
    run |= {"errors": errors(found, str(last[last["deployed"]].iloc[0]["system"]))}
    run |= {"guarantee": guaranteed.section(folder, found, load_prices())}
    run |= {"shown": list(overall(charts.drawn(last, last), DEV)["system"]), "loads": loads(folder, last)}
    run |= {"gallery": gallery.requests(found, run["shown"]), "taught": taught(metas)}
    checked = folder / "checking.json"
    run["checked"] = files.read_json(checked)["rows"] if checked.is_file() else []
    run["trainings"] = choice.trainings(folder)
    run["saturated"] = files.known(folder / "throughput.json")
    stream = folder / "stream.csv"
    run["streamed"] = pd.read_csv(stream).to_dict("records") if stream.is_file() else []
    return {**run, "missing": [why for part, why in MISSING.items() if not run[part]]}


def _card(folder: Path, title: str) -> str:
    """A section of the model card as HTML, empty if there is none."""
    card = folder / "model" / "README.md"
    text = card.read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0] if card.is_file() else ""
    html = str(markdown2html_mistune(text.partition("\n<!--")[0])).strip()
    return html.replace("<th>", '<th scope="col">')


def made(meta: Row) -> str:
    hardware, (commit, *dirty) = meta["hardware"], meta["commit"].split("-dirty")
    machine = ", ".join([f"{hardware['cores']} cores of {hardware['cpu']}", *hardware["gpu"]])
    changes = " with local changes" if dirty else ""
    return f"Made from commit {commit[:12]}{changes} on {machine}; {meta['wall_s']:.0f} s."


def heat(last: pd.DataFrame) -> Row:
    """Accuracy by level and test of the shown systems: ``columns``, and ``rows`` of cells with value, n and mark."""
    name = str(last[last["deployed"]].iloc[0]["system"])
    better = {(system, row["test"]) for system, row in wins(last, name)}
    cells = charts.drawn(cells_of(last), last)
    columns, rows = list(dict.fromkeys(cells["test"])), []
    for system, group in cells.groupby("system", sort=False):
        known = group.set_index("test").to_dict("index")
        rows.append((system, [(known.get(c, {}), (system, c) in better) for c in columns]))
    return {"columns": columns, "rows": rows, "deployed": name}


def steps(folder: Path, rows: pd.DataFrame, metas: Row) -> list[Row]:
    """What each step did on dev, a row each: chain, step, accuracy with interval, and ``change`` in points.

    The student's chain is that of the training; those of released models go on from the model that they were cut from.
    """
    made_of = [(stage, system, step) for step, (stage, system, _) in STEPS.items()]
    given = metas[max(metas)]["parameters"]
    last = f"{max(rows['stage']):02d}"
    released = dict.fromkeys(rows[rows["deployed"]]["system"]) | dict.fromkeys(rows[rows["released"]]["system"])
    base, student = made_of[0], [m for m in made_of[1:] if m[2] != "assistant"]
    chains = {"student": [base, *student, (last, given.get("unquantised", ""), "quantised, under a grammar")]}
    for own in (name for name in released if given.get("models", {}).get(name, {}).get("of") == "03_assistant"):
        cut = [(last, name, "pruned") for name in _pruned(folder, own)]
        end = "recovered and quantised, under a grammar" if cut else "quantised, under a grammar"
        chains[str(own)] = [base, made_of[1], *cut, (last, own, end)]
    found: list[Row] = []
    for chain, parts in chains.items():
        before: float | None = None
        for stage, system, step in parts:
            here = rows[(rows["stage"] == int(stage)) & (rows["system"] == system)]
            for row in overall(here, DEV).to_dict("records")[:1]:
                change = None if before is None else 100 * (row["accuracy"] - before)
                found.append({**row, "chain": chain, "step": step, "change": change, "before": before or 0.0})
                before = row["accuracy"]
    return found


def variants(folder: Path) -> list[Row]:
    """What lib.evaluation.bootstrap found of data and steps left out or added; empty without records."""
    found = bootstrap.read(folder / PEOPLE) if (folder / PEOPLE).is_dir() else pd.DataFrame(columns=["test", "p"])
    found = found.assign(holm=holm(found["p"]))
    return found[found["test"].isin([DEV_HUMAN, DEV])].to_dict("records")


def _pruned(folder: Path, name: str) -> list[str]:
    """The model that is pruned only and has the weights of ``name``."""
    if not (folder / "frontier.csv").is_file():
        return []
    edge = pd.read_csv(folder / "frontier.csv")
    weights = edge.loc[edge["system"] == name, "weights"]
    return list(edge[edge["weights"].isin(weights) & (edge["step"] == "pruned only")]["system"])[:1]


def chart(rows: pd.DataFrame, last: pd.DataFrame, metas: Row, found: pd.DataFrame) -> Row:
    """Cost and accuracy of all systems on the same requests: the tests that models and large models both answered.

    Cost of own systems: that of metrics.csv; of large models: by their tokens at list price. ``found``: the report's
    records; with them and the teacher's recording, a cascade from the deployed model to the teacher is among them.
    """
    model, prices = metas.get("01", {}).get("parameters", {}).get("hosted_model", ""), load_prices()
    large = rows[(rows["stage"] == 1) & (rows["level"] == ALL) & (rows["prompt_tokens"] > 0)]
    large = large[large["usd_per_million"].isna()]
    whole = last[(last["level"] == ALL) & last["usd_per_million"].notna()]
    most = whole.groupby("test")["n"].max().to_dict()
    tests = [test for test in most if most[test] in set(large.loc[large["test"] == test, "n"])]
    if model not in prices.hosted or not tests:
        return {}
    asked = [Need(0.0, *tokens) for tokens in zip(large["prompt_tokens"], large["new_tokens"], strict=True)]
    both = pd.concat([whole, large.assign(usd_per_million=[hosted(prices, model, need) for need in asked])])
    points = _points(both[both["test"].isin(tests)], sum(most[test] for test in tests))
    own = [p for p in points if p["system"] in set(whole[whole["size_mb"] > 0]["system"])]
    cascade = _cascade([p for p in own if p["system"] in set(whole[whole["deployed"]]["system"])], metas, found)
    points += cascade
    alt = f"Accuracy against cost of {len(points)} systems; the table below has the figures."
    label = "US dollars a million requests, log scale"
    drawing: Row = {"tests": tests, "points": points, "n": points[0]["n"], "cascade": cascade}
    for name, chosen in (("near", own), ("all", points)):
        front = charts.pareto(pd.DataFrame(chosen), "x").to_dict("records")
        drawing[name] = [svg.scatter(chosen, front, width, label, alt) for width in (760, 350)]
        drawing["front"] = ", ".join(p["system"] for p in front)
    return drawing


def _points(both: pd.DataFrame, n: int) -> list[Row]:
    """The systems that answered all ``n`` requests of the tests."""
    points = []
    for system, group in both.groupby("system", sort=False):
        right, usd = float(group["right"].sum()), float((group["usd_per_million"] * group["n"]).sum() / n)
        if group["n"].sum() == n and usd > 0:
            low, high = wilson(right, n)
            row = {"system": system, "x": usd, "n": n, "look": charts.look(str(system))}
            row["wrong_action"] = float((group["wrong_action"] * group["n"]).sum() / n)
            points.append({**row, "accuracy": right / n, "low": low, "high": high})
    return points


def _cascade(own: list[Row], metas: Row, found: pd.DataFrame) -> list[Row]:
    """The point of the model of ``own`` with the teacher's pipeline behind it, if both answered the same requests."""
    given, prices, said = metas["01"]["parameters"], load_prices(), cascade.teacher(metas)
    for point in own:
        both = candidates.before_teacher(found, [point["system"]], said)
        if len(both) == point["n"]:
            right, up = float(both["exact"].sum()), both[both["up"]]
            need = Need(0.0, *(float(up[column].sum()) / len(both) for column in ("read", "written")))
            usd = point["x"] + hosted(prices, given["hosted_model"], need)
            low, high = wilson(right, len(both))
            made = {"system": f"{point['system']} → {PIPELINE}", "x": usd, "n": len(both), "up": len(up) / len(both)}
            made["wrong_action"] = float((both["acted"] & ~both["exact"]).mean())
            return [{**made, "look": charts.look("→"), "accuracy": right / len(both), "low": low, "high": high}]
    return []


def answers(folder: Path) -> pd.DataFrame:
    """A report's records; empty if they are not there or cannot be read."""
    try:
        return records.read(folder)
    except RecordError:
        return pd.DataFrame(columns=records.COLUMNS)


def errors(rows: pd.DataFrame, name: str) -> list[Row]:
    """Up to five wrong answers of ``name`` in our own tests, one of each of the most frequent reasons."""
    own = rows[(rows["system"] == name) & rows["test"].isin([DEV, TEST, "field_cases"]) & ~rows["exact"].astype(bool)]
    own = own[own["text"].notna()].sort_values(["test", "id"], kind="stable")
    reasons = own["reason"].value_counts(sort=True)
    order = sorted(reasons.index, key=lambda reason: (-reasons[reason], reason))[:5]
    return [{**own[own["reason"] == r].iloc[0].to_dict(), "times": int(reasons[r]), "of": len(own)} for r in order]
