"""The page that lists all profiles with what each deploys, and the same figures for README.md.

Everything is read from ``reports/<profile>/metrics.csv`` and ``provenance.json``, so that it holds for committed
reports whose run is not here. The figures are those of the rows marked ``deployed``.
"""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core import files, paths
from lib.evaluation import comparison
from lib.report import charts

TEMPLATES = Path(__file__).parent / "template"


class ReportError(ValueError):
    """A report that cannot be made; the message says of what and the remedy."""


def index(reports: Path = paths.REPORTS) -> Path:
    """reports/index.html: every profile that has a report, with its headline figures and chart."""
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("runs.html.j2")
    runs = [_run(folder) for folder in sorted(reports.iterdir()) if (folder / "provenance.json").exists()]
    style = jinja2.utils.markupsafe.Markup(css())
    files.write_text(reports / "index.html", page.render(runs=runs, css=style) + "\n")
    return reports / "index.html"


def _run(folder: Path) -> dict[str, Any]:
    metas = read_json(folder / "provenance.json")
    pages = [{"file": p.name, "title": _html_title(p)} for p in sorted(folder.glob("[0-9][0-9]_*.html"))]
    chart = "charts/cost_quality.png"
    found = {"profile": folder.name, "pages": pages, "made": made(metas[max(metas)]), "headline": headline(folder)}
    if not (folder / chart).exists():
        return found
    rows = pd.read_csv(folder / "metrics.csv")
    rows = rows[rows["stage"] == rows["stage"].max()]
    whole = comparison.overall(comparison.drawn(rows, rows), main_test(rows))
    alt = f"Chart of accuracy against cost. Exactly right: {charts.describe(whole, 'accuracy', '%', 100)}."
    return {**found, "chart": f"{folder.name}/{chart}", "alt": alt}


def headline(folder: Path) -> dict[str, Any] | None:
    """What a run deploys and its figures, as name, value and note; None without a deployed model."""
    found = _marked(folder, "deployed")
    return found[0] if found else None


def _marked(folder: Path, mark: str) -> list[dict[str, Any]]:
    """The systems that a column of metrics.csv marks, each with its figures."""
    rows = pd.read_csv(folder / "metrics.csv") if (folder / "metrics.csv").exists() else pd.DataFrame()
    rows = rows[rows[mark].fillna(False).astype(bool)] if mark in rows else rows.head(0)
    return [_figures(group) for _, group in rows.groupby("system", sort=False)] if len(rows) else []


def _figures(rows: pd.DataFrame) -> dict[str, Any]:
    """A system and its figures."""
    test = main_test(rows)
    main = comparison.overall(rows, test).iloc[0]
    easiest = rows[(rows["test"] == test) & (rows["level"] == rows.loc[rows["test"] == test, "level"].min())]
    whole = rows[rows["level"] == comparison.ALL]
    figures = [_accuracy(row) for row in pd.concat([easiest, whole]).drop_duplicates().to_dict("records")]
    times = f"median; 95 % within {main['p95_ms']:.0f} ms"
    figures += [
        {"name": "size", "value": f"{main['size_mb']:.0f} MB", "note": "one file"},
        {"name": "time to answer", "value": f"{main['p50_ms']:.0f} ms", "note": times},
        {"name": "cost", "value": f"${main['usd_per_million']:.2f}", "note": "a million requests, own machine"},
    ]
    return {"system": main["system"], "figures": figures}


def _accuracy(row: dict[str, Any]) -> dict[str, str]:
    name = f"right on {row['test']}" + ("" if row["level"] == "all" else f", {row['level']}")
    note = f"{row['low'] * 100:.1f}–{row['high'] * 100:.1f} %, n = {row['n']:.0f}"
    return {"name": name, "value": f"{row['accuracy'] * 100:.1f} %", "note": note}


def readme(profile: str = "gpu", path: Path = paths.ROOT / "README.md", reports: Path = paths.REPORTS) -> None:
    """Writes a profile's headline figures between README's two marks: of what it releases, or else deploys.

    Raises ReportError.
    """
    folder = paths.report_dir(profile, reports)
    models, word = _marked(folder, "released"), "Released"
    if not models:
        models, word = _marked(folder, "deployed"), "Deployed"
    if not models:
        raise ReportError(f"reports/{profile}/metrics.csv names no deployed model: make the report first")
    block = f"{word}: {' and '.join(m['system'] for m in models)} (profile {profile}).\n\n{_columns(models)}"
    text, count = re.subn(
        r"(<!-- headline -->\n).*?(<!-- /headline -->)",
        lambda m: f"{m[1]}{block}\n{m[2]}",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if count != 1:
        raise ReportError(f"{path.name}: expected one block from '<!-- headline -->' to '<!-- /headline -->'")
    files.write_text(path, text)


def _columns(models: list[dict[str, Any]]) -> str:
    """A Markdown table: a row for each figure, a column for each model."""
    lines = ["| |" + "".join(f" {model['system']} |" for model in models), "|---|" + "---|" * len(models)]
    for row in zip(*(model["figures"] for model in models), strict=True):
        lines.append(f"| {row[0]['name']} |" + "".join(f" {f['value']} ({f['note']}) |" for f in row))
    return "\n".join(lines)


def main_test(rows: pd.DataFrame) -> str:
    return "dev" if "dev" in set(rows["test"]) else str(rows["test"].iloc[0])


def made(meta: dict[str, Any]) -> str:
    hardware, commit = meta["hardware"], meta["commit"]
    short = commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")
    machine = ", ".join([f"{hardware['cores']} cores of {hardware['cpu']}", *hardware["gpu"]])
    return f"Made at commit {short} on {machine}; {meta['wall_s']:.0f} s."


def read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path.name}: not readable ({error}): run the stage again") from error


def _html_title(path: Path) -> str:
    match = re.search(r"<title>(.*?)</title>", path.read_text(encoding="utf-8"))
    return html.unescape(match[1]) if match else path.stem


@cache
def css() -> str:
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")
