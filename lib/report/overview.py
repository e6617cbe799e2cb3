"""The page that lists all profiles with what each deploys, and the same figures for README.md.

Everything is read from the files of ``reports/<profile>``: it works for committed reports whose run is not here.
"""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from lib.core import files, paths
from lib.core.files import Row
from lib.evaluation.comparison import ALL, drawn, overall
from lib.report import charts

TEMPLATES = Path(__file__).parent / "template"


class ReportError(ValueError):
    """A report that cannot be made; the message says of what and the remedy."""


def index(reports: Path = paths.REPORTS) -> Path:
    """reports/index.html: every profile that has a report, with its headline figures and chart."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    runs = [_run(folder) for folder in sorted(reports.iterdir()) if (folder / "provenance.json").exists()]
    text = environment.get_template("runs.html.j2").render(runs=runs, css=Markup(css()))
    files.write_text(reports / "index.html", text + "\n")
    return reports / "index.html"


def _run(folder: Path) -> dict[str, Any]:
    metas = read_json(folder / "provenance.json")
    pages = [{"file": p.name, "title": _html_title(p)} for p in sorted(folder.glob("[0-9][0-9]_*.html"))]
    found = {"profile": folder.name, "pages": pages, "made": made(metas[max(metas)]), "models": headline(folder)}
    if not (folder / "charts" / "cost_quality.png").exists():
        return found
    rows = _metrics(folder)
    rows = rows[rows["stage"] == rows["stage"].max()]
    whole = overall(drawn(rows, rows), main_test(rows))
    alt = f"Chart of accuracy against cost. Exactly right: {charts.describe(whole, 'accuracy', '%', 100)}."
    return {**found, "chart": f"{folder.name}/charts/cost_quality.png", "alt": alt}


def _metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv") if (folder / "metrics.csv").exists() else pd.DataFrame()


def headline(folder: Path) -> list[dict[str, Any]]:
    """The systems that a report deploys or releases, the deployed first: ``system``, ``deployed``, and ``figures`` as

    name, value and note.
    """
    rows = _metrics(folder)
    for column in ("deployed", "released"):
        rows[column] = rows[column].fillna(False).astype(bool) if column in rows else False
    marked = rows[rows["deployed"] | rows["released"]].sort_values("deployed", ascending=False, kind="stable")
    return [_figures(folder, group) for _, group in marked.groupby("system", sort=False)] if len(marked) else []


def _figures(folder: Path, rows: pd.DataFrame) -> dict[str, Any]:
    test = main_test(rows)
    main: Row = overall(rows, test).iloc[0].to_dict()
    easiest = rows[(rows["test"] == test) & (rows["level"] == rows.loc[rows["test"] == test, "level"].min())]
    both = pd.concat([easiest, rows[rows["level"] == ALL]]).drop_duplicates()
    time = latency(folder, _frontier(folder, main))
    figures = [_accuracy(row) for row in both.to_dict("records")]
    note = f"median, context in the cache; 95 % within {time['p95_ms']:.0f} ms; {time['by']}"
    figures += [
        {"name": "size", "value": f"{main['size_mb']:.0f} MB", "note": "one file"},
        {"name": "time to answer", "value": f"{time['p50_ms']:.0f} ms", "note": note},
        {"name": "cost", "value": f"${main['usd_per_million']:.2f}", "note": "a million requests, own machine"},
    ]
    return {"system": main["system"], "deployed": bool(main["deployed"]), "figures": figures}


def _frontier(folder: Path, main: Row) -> Row:
    """The model's row of frontier.csv, whose times are those of warm requests; ``main`` if it has none."""
    table = pd.read_csv(folder / "frontier.csv") if (folder / "frontier.csv").is_file() else pd.DataFrame([main])
    return next((row for row in table.to_dict("records") if row["system"] == main["system"]), main)


def _accuracy(row: Row) -> dict[str, str]:
    name = f"right on {row['test']}" + ("" if row["level"] == ALL else f", {row['level']}")
    note = f"{row['low'] * 100:.1f}–{row['high'] * 100:.1f} %, n = {row['n']:.0f}"
    return {"name": name, "value": f"{row['accuracy'] * 100:.1f} %", "note": note}


def latency(folder: Path, own: Row, sha256: str = "") -> Row:
    """p50_ms and p95_ms of a model's requests whose context is in the cache, and ``by``, what measured them.

    Those of ``make bench`` in ``folder``/bench if it measured this file (``sha256``; by default the one in
    ``folder``/model), else those of ``own``, its row of the evaluation.
    """
    name, bench = own["system"].replace(" ", "-"), folder / "bench" / "bench.csv"
    file = folder / "model" / f"{name}.gguf"
    digest = sha256 or (files.sha256(file) if file.is_file() else "none")
    if bench.is_file():
        rows = pd.read_csv(bench)
        for row in rows[(rows["system"] == name) & (rows["sha256"] == digest)].to_dict("records"):
            machine = read_json(bench.with_suffix(".json"))["machine"]
            by = f"make bench, {machine['threads']} threads of {machine['cpu']}"
            return {"p50_ms": row["warm_p50_ms"], "p95_ms": row["warm_p95_ms"], "by": by}
    return {"p50_ms": own["p50_ms"], "p95_ms": own["p95_ms"], "by": "in the evaluation"}


def readme(profile: str = "gpu", path: Path = paths.ROOT / "README.md", reports: Path = paths.REPORTS) -> None:
    """Writes a profile's headline figures between README's two marks. Raises ReportError."""
    models = headline(paths.report_dir(profile, reports))
    if not models:
        raise ReportError(f"reports/{profile}/metrics.csv names no deployed model: make the report first")
    names = [f"{m['system']} (deployed)" if m["deployed"] else m["system"] for m in models]
    lines = ["| |" + "".join(f" {m['system']} |" for m in models), "|---|" + "---|" * len(models)]
    for row in zip(*(model["figures"] for model in models), strict=True):
        lines.append(f"| {row[0]['name']} |" + "".join(f" {f['value']} ({f['note']}) |" for f in row))
    block = "\n".join([f"Released: {' and '.join(names)} (profile {profile}).", "", *lines])
    old, marks = path.read_text(encoding="utf-8"), r"(<!-- headline -->\n).*?(<!-- /headline -->)"
    text, count = re.subn(marks, lambda m: f"{m[1]}{block}\n{m[2]}", old, flags=re.DOTALL)
    if count != 1:
        raise ReportError(f"{path.name}: expected one block from '<!-- headline -->' to '<!-- /headline -->'")
    files.write_text(path, text)


def main_test(rows: pd.DataFrame) -> str:
    return "dev" if "dev" in set(rows["test"]) else str(rows["test"].iloc[0])


def made(meta: dict[str, Any]) -> str:
    hardware, (commit, *dirty) = meta["hardware"], meta["commit"].split("-dirty")
    machine = ", ".join([f"{hardware['cores']} cores of {hardware['cpu']}", *hardware["gpu"]])
    changes = " with local changes" if dirty else ""
    return f"Made from commit {commit[:12]}{changes} on {machine}; {meta['wall_s']:.0f} s."


def read_json(path: Path) -> dict[str, Any]:
    try:
        return files.read_json(path)
    except (OSError, ValueError) as error:
        raise ReportError(f"{path.name}: not readable ({error}): run the stage again") from error


def _html_title(path: Path) -> str:
    match = re.search(r"<title>(.*?)</title>", path.read_text(encoding="utf-8"))
    return html.unescape(match[1]) if match else path.stem


@cache
def css() -> str:
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")
