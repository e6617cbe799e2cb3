"""The page that lists all profiles with what each deploys, and the same figures for README.md.

Everything is read from the files of ``reports/<profile>``: it works for committed reports whose run is not here.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from lib.core import files, paths
from lib.core.files import Row
from lib.evaluation.comparison import ALL, drawn, overall
from lib.report import charts

TEMPLATES = Path(__file__).parent / "template"
DEV = "dev"


class ReportError(ValueError):
    """A report that cannot be made; the message says of what and the remedy."""


def index(reports: Path = paths.REPORTS) -> Path:
    """reports/index.html: every profile that has a report, with its headline figures and chart."""
    runs = [_run(folder) for folder in sorted(reports.iterdir()) if (folder / "provenance.json").exists()]
    files.write_text(reports / "index.html", _rendered("runs.html.j2", runs=runs))
    return reports / "index.html"


def _rendered(name: str, **values: Any) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=name.endswith(".html.j2"))
    return environment.get_template(name).render(values) + "\n"


def _run(folder: Path) -> Row:
    metas = files.read_json(folder / "provenance.json")
    pages = {p.name: re.search(r"<title>(.*?)</title>", p.read_text("utf-8")) for p in folder.glob("[0-9][0-9]_*.html")}
    titles = {name: html.unescape(found[1]) if found else name for name, found in sorted(pages.items())}
    run = {"profile": folder.name, "pages": titles, "made": made(metas[max(metas)]), "models": headline(folder)}
    if not (folder / "charts" / "cost_quality.png").exists():
        return run
    rows = _metrics(folder)
    rows = rows[rows["stage"] == rows["stage"].max()]
    whole = overall(drawn(rows, rows), DEV)
    alt = f"Chart of accuracy against cost. Exactly right: {charts.describe(whole, 'accuracy', '%', 100)}."
    return {**run, "chart": f"{folder.name}/charts/cost_quality.png", "alt": alt}


def _metrics(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "metrics.csv") if (folder / "metrics.csv").exists() else pd.DataFrame()
    for column in ("deployed", "released"):
        rows[column] = rows[column].fillna(False).astype(bool) if column in rows else False
    return rows


def headline(folder: Path) -> list[Row]:
    """What a report deploys or releases, the deployed first: ``system``, ``deployed``, ``figures`` (name to text)."""
    rows = _metrics(folder)
    marked = rows[rows["deployed"] | rows["released"]].sort_values("deployed", ascending=False, kind="stable")
    return [_figures(folder, group) for _, group in marked.groupby("system", sort=False)] if len(marked) else []


def _figures(folder: Path, rows: pd.DataFrame) -> Row:
    main: Row = overall(rows, DEV).iloc[0].to_dict()
    easiest = rows[(rows["test"] == DEV) & (rows["level"] == rows.loc[rows["test"] == DEV, "level"].min())]
    found = {}
    for row in pd.concat([easiest, rows[rows["level"] == ALL]]).drop_duplicates().to_dict("records"):
        name = f"right on {row['test']}" + ("" if row["level"] == ALL else f", {row['level']}")
        note = f"{row['low'] * 100:.1f}–{row['high'] * 100:.1f} %, n = {row['n']:.0f}"
        found[name] = f"{row['accuracy'] * 100:.1f} %", note
    edge = pd.read_csv(folder / "frontier.csv") if (folder / "frontier.csv").is_file() else pd.DataFrame([main])
    own = [row for row in edge.to_dict("records") if row["system"] == main["system"]]
    time = latency(folder, (own or [main])[0])
    found["size"] = f"{main['size_mb']:.0f} MB", "one file"
    note = f"median, context in the cache; 95 % within {time['p95_ms']:.0f} ms; {time['by']}"
    found["time to answer"] = f"{time['p50_ms']:.0f} ms", note
    found["cost"] = f"${main['usd_per_million']:.2f}", "a million requests, own machine"
    return {"system": main["system"], "deployed": bool(main["deployed"]), "figures": found}


def latency(folder: Path, own: Row, sha256: str = "") -> Row:
    """p50_ms and p95_ms of a model's requests whose context is in the cache, and ``by``, what measured them.

    Those of ``make bench`` in ``folder``/bench if it measured this file (``sha256``; by default the one in
    ``folder``/model), else those of ``own``, its row of the evaluation.
    """
    name, bench = own["system"].replace(" ", "-"), folder / "bench" / "bench.csv"
    file = folder / "model" / f"{name}.gguf"
    digest = sha256 or (files.sha256(file) if file.is_file() else "none")
    rows = pd.read_csv(bench).to_dict("records") if bench.is_file() else []
    for row in (row for row in rows if (row["system"], row["sha256"]) == (name, digest)):
        machine = files.read_json(bench.with_suffix(".json"))["machine"]
        by = f"make bench, {machine['threads']} threads of {machine['cpu']}"
        return {"p50_ms": row["warm_p50_ms"], "p95_ms": row["warm_p95_ms"], "by": by}
    return {"p50_ms": own["p50_ms"], "p95_ms": own["p95_ms"], "by": "in the evaluation"}


def readme(profile: str = "gpu", path: Path = paths.ROOT / "README.md", reports: Path = paths.REPORTS) -> None:
    """Writes a profile's headline figures between README's two marks. Raises ReportError."""
    models = headline(paths.report_dir(profile, reports))
    if not models:
        raise ReportError(f"reports/{profile}/metrics.csv names no deployed model: make the report first")
    block = _rendered("readme.md.j2", models=models, profile=profile)
    old, marks = path.read_text(encoding="utf-8"), r"(<!-- headline -->\n).*?(<!-- /headline -->)"
    text, count = re.subn(marks, lambda m: f"{m[1]}{block}{m[2]}", old, flags=re.DOTALL)
    if count != 1:
        raise ReportError(f"{path.name}: expected one block from '<!-- headline -->' to '<!-- /headline -->'")
    files.write_text(path, text)


def made(meta: Row) -> str:
    hardware, (commit, *dirty) = meta["hardware"], meta["commit"].split("-dirty")
    machine = ", ".join([f"{hardware['cores']} cores of {hardware['cpu']}", *hardware["gpu"]])
    changes = " with local changes" if dirty else ""
    return f"Made from commit {commit[:12]}{changes} on {machine}; {meta['wall_s']:.0f} s."
