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
from lib.core.files import Row
from lib.decision import records
from lib.evaluation.comparison import ALL, STEPS, hosted_usd, load_prices, overall
from lib.evaluation.metrics import wilson
from lib.report import charts, svg
from lib.report.choice import DEV, TEST, break_even, cells_of, choices, dollars, verdict, wins, yearly
from lib.report.release import TEMPLATES

VOLUMES = (50, 500, 5000)
"""Requests a day in the tables; the middle one is where the slider starts."""


def index(reports: Path = paths.REPORTS) -> Path:
    """Writes reports/index.html: every profile that has a report, those that deploy a model first."""
    found = [about(folder) for folder in sorted(reports.iterdir()) if (folder / "provenance.json").exists()]
    found.sort(key=lambda run: ("verdict" not in run, "limits" not in run or not run["limits"]))
    files.write_text(reports / "index.html", rendered("runs.html.j2", runs=found, volumes=VOLUMES))
    return reports / "index.html"


def rendered(name: str, **values: Any) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=name.endswith(".html.j2"))
    return (
        environment.get_template(name).render(values | {"yearly": yearly, "dollars": dollars, "break_even": break_even})
        + "\n"
    )


def read(folder: Path) -> pd.DataFrame:
    """metrics.csv with its marks as booleans; empty if it is not there."""
    rows = pd.read_csv(folder / "metrics.csv") if (folder / "metrics.csv").exists() else pd.DataFrame()
    for column in ("deployed", "released"):
        rows[column] = rows[column].fillna(False).astype(bool) if column in rows else False
    return rows


def about(folder: Path) -> Row:
    """All that the index shows of one report; ``missing``: what it cannot show, and why."""
    metas = files.read_json(folder / "provenance.json")
    pages = {p.name: re.search(r"<title>(.*?)</title>", p.read_text("utf-8")) for p in folder.glob("[0-9][0-9]_*.html")}
    titles = {name: html.unescape(found[1]) if found else name for name, found in sorted(pages.items())}
    records = sorted(
        p.relative_to(folder).as_posix() for end in ("csv", "json", "xz") for p in folder.rglob(f"*.{end}")
    )
    run: Row = {"profile": folder.name, "pages": titles, "made": made(metas[max(metas)]), "files": records}
    rows, missing = read(folder), []
    if not rows["deployed"].any():
        return {**run, "missing": ["metrics.csv deploys no model: nothing is compared yet (run part 6)."]}
    last = rows[rows["stage"] == rows.loc[rows["deployed"], "stage"].max()]
    run |= {"choices": choices(folder, last, rows, metas), "heat": heat(last), "steps": steps(folder, rows, metas)}
    run |= {"verdict": verdict(last, run["choices"]), "chart": chart(rows, last, metas)}
    card = folder / "model" / "README.md"
    limits = card.read_text("utf-8").partition("\n## Limits\n")[2].partition("\n## ")[0] if card.is_file() else ""
    run |= {
        "limits": markdown2html_mistune(limits),
        "errors": errors(folder, str(last[last["deployed"]].iloc[0]["system"])),
    }
    for part, why in {
        "limits": "model/README.md has no section 'Limits' (make release)",
        "errors": "records.jsonl.xz has no answers of our own tests: no examples of errors (make reproduce)",
        "chart": "metrics.csv has no test that large models answered, too, or prices.yaml no price: no chart of all",
    }.items():
        missing += [] if run[part] else [f"{why}."]
    return {**run, "missing": missing}


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

    The student's chain is that of the training, the deployed model's goes on from the model it was cut from.
    """
    made_of = [(stage, system, step) for step, (stage, system, _) in STEPS.items()]
    given = metas[max(metas)]["parameters"]
    last = f"{max(rows['stage']):02d}"
    own = str(rows[rows["deployed"]].iloc[0]["system"])
    base, student = made_of[0], [m for m in made_of[1:] if m[2] != "assistant"]
    chains = {"student": [base, *student, (last, given.get("unquantised", ""), "quantised")]}
    if given.get("models", {}).get(own, {}).get("of") == "03_assistant":
        cut = [(last, name, "pruned") for name in _pruned(folder, own)]
        chains["deployed"] = [base, made_of[1], *cut, (last, own, "recovered and quantised" if cut else "quantised")]
    found = []
    for chain, parts in chains.items():
        before: float | None = None
        for stage, system, step in parts:
            here = rows[(rows["stage"] == int(stage)) & (rows["system"] == system)]
            for row in overall(here, DEV).to_dict("records")[:1]:
                change: float | None = None if before is None else 100 * (row["accuracy"] - before)
                found.append({**row, "chain": chain, "step": step, "change": change, "before": before or 0.0})
                before = row["accuracy"]
    return found


def _pruned(folder: Path, name: str) -> list[str]:
    """The model that is pruned only and has the weights of ``name``."""
    if not (folder / "frontier.csv").is_file():
        return []
    edge = pd.read_csv(folder / "frontier.csv")
    weights = edge.loc[edge["system"] == name, "weights"]
    return list(edge[edge["weights"].isin(weights) & (edge["step"] == "pruned only")]["system"])[:1]


def chart(rows: pd.DataFrame, last: pd.DataFrame, metas: Row) -> Row:
    """Cost and accuracy of all systems on the same requests: the tests that models and large models both answered."""
    price = load_prices().hosted.get(metas.get("01", {}).get("parameters", {}).get("hosted_model", ""))
    large = rows[(rows["stage"] == rows["stage"].min()) & rows["usd_per_million"].isna() & (rows["prompt_tokens"] > 0)]
    whole = last[(last["level"] == ALL) & last["usd_per_million"].notna()]
    sizes = whole.groupby("test")["n"].agg(["min", "max"])
    tests = [
        t
        for t in sorted(set(large["test"]) & set(whole["test"]))
        if set(large[large["test"] == t]["n"]) >= {sizes["max"][t]}
    ]
    if not price or not tests:
        return {}
    large = large[(large["level"] == ALL) & large["test"].isin(tests)]
    usd = hosted_usd(price, large["prompt_tokens"], large["new_tokens"])
    both = pd.concat([whole[whole["test"].isin(tests)], large.assign(usd_per_million=usd)])
    points = []
    for system, group in both.groupby("system", sort=False):
        n, right = int(group["n"].sum()), float(group["right"].sum())
        if n == sum(sizes["max"][t] for t in tests):
            low, high = wilson(right, n)
            x = float((group["usd_per_million"] * group["n"]).sum() / n)
            look = charts.look(str(system))
            points.append(
                {"system": system, "x": x, "n": n, "accuracy": right / n, "low": low, "high": high, "look": look}
            )
    points = [p for p in points if p["x"] > 0]
    front = charts.pareto(pd.DataFrame(points), "x").to_dict("records")
    names = ", ".join(p["system"] for p in front)
    alt = f"Accuracy against cost of {len(points)} systems; the table below has the figures."
    label = "US dollars a million requests, log scale"
    own = [p for p in points if p["system"] in set(whole[whole["size_mb"] > 0]["system"])]
    drawn = {"all": (points, front), "near": (own, charts.pareto(pd.DataFrame(own), "x").to_dict("records"))}
    made = {k: [svg.scatter(p, edge, w, label, alt) for w in (760, 350)] for k, (p, edge) in drawn.items()}
    return {"tests": tests, "points": points, "front": names, "n": points[0]["n"], **made}


def errors(folder: Path, name: str) -> list[Row]:
    """Up to five wrong answers of ``name`` in our own tests, one of each of the most frequent reasons."""
    if not (folder / records.FILE).is_file():
        return []
    rows = records.read(folder)
    own = rows[(rows["system"] == name) & rows["test"].isin([DEV, TEST, "field_cases"]) & ~rows["exact"].astype(bool)]
    own = own[own["text"].notna()].sort_values(["order", "test", "id"], kind="stable")
    reasons = own["reason"].value_counts(sort=True)
    order = sorted(reasons.index, key=lambda reason: (-reasons[reason], reason))[:5]
    return [{**own[own["reason"] == r].iloc[0].to_dict(), "times": int(reasons[r]), "of": len(own)} for r in order]
