"""Finished stages as self-contained HTML without code, beside their figures as CSV and charts.

Prose is that of ``notebooks/`` as it is now if the code cells are still those that ran. A page with a path of this
machine is an error. Texts of third-party tests never get into a page: ``lib.report.show`` masks them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from nbconvert import HTMLExporter

from lib.core import files, notebook_files, paths
from lib.report import charts, figures
from lib.report.overview import TEMPLATES, ReportError, css, index, made, main_test, read_json


def build(profile: str, reports: Path = paths.REPORTS) -> list[Path]:
    """Writes the report of a profile's finished stages and the index; returns the files. Raises ReportError."""
    run, folder = paths.run_dir(profile), paths.report_dir(profile, reports)
    books = [p for p in sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb")) if ".part" not in p.name]
    done = [p for p in books if (run / f"{paths.stage_number(p)}_meta.json").exists()]
    if not done:
        raise ReportError(f"nothing to report: no stage of profile '{profile}' is finished; run 'make reproduce'")
    metas = {paths.stage_number(p): _clean(read_json(run / f"{paths.stage_number(p)}_meta.json")) for p in done}
    pages = [{"file": f"{p.stem}.html", "title": _title(notebook_files.read(p), p.stem)} for p in done]
    texts = [render(p, page, pages, meta) for p, page, meta in zip(done, pages, metas.values(), strict=True)]
    written = [_write(folder / page["file"], text) for page, text in zip(pages, texts, strict=True)]
    written += [_write(folder / "provenance.json", json.dumps(metas, indent=1, ensure_ascii=False) + "\n")]
    written += _metrics(run, folder, list(metas))
    for stale in set(folder.glob("*.html")) - set(written):
        stale.unlink()
    return [*written, index(reports)]


def render(path: Path, page: dict[str, str], pages: list[dict[str, str]], meta: dict[str, Any]) -> str:
    """One executed notebook as a page: prose, outputs, what it was made with; no code. Raises ReportError."""
    book = _with_prose(notebook_files.read(path), paths.NOTEBOOKS / path.name)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            cell.source = ""
    about: dict[str, Any] = {"title": page["title"], "css": css(), "made": made(meta)}
    about |= {"pages": [{**p, "current": p["file"] == page["file"]} for p in pages]}
    about |= {"parameters": json.dumps(meta["parameters"], indent=1, ensure_ascii=False)}
    exporter = HTMLExporter(template_name=TEMPLATES.name, extra_template_basedirs=[str(TEMPLATES.parent)])
    exporter.exclude_input = exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    text, _ = exporter.from_notebook_node(book, resources={"page": about})
    for place in {str(paths.ROOT), str(Path.home()), str(paths.runs())} - {"/"}:
        if place + "/" in text:
            where = f"{path.name}: the page shows a path of this machine"
            raise ReportError(f"{where}: print paths by lib.core.paths.relative")
    return text


def _with_prose(book: Any, notebook: Path) -> Any:
    """``book`` with the prose of ``notebook``, if that has the same cells and the code that ran."""
    if not notebook.exists():
        return book
    ran, now = ({c.id: c for c in cells} for cells in (book.cells, notebook_files.read(notebook).cells))
    own = [c for c in ran.values() if "injected-parameters" not in c.metadata.get("tags", [])]
    if [c.id for c in own] == list(now) and all(now[c.id].source == c.source for c in own if c.cell_type == "code"):
        for cell in own:
            cell.source = now[cell.id].source
    return book


def _metrics(run: Path, folder: Path, numbers: list[str]) -> list[Path]:
    """metrics.csv of the stages, the charts of the last one if it compares costs, and the frontier of its models."""
    found = [file for n in numbers if (file := run / f"{n}_metrics.jsonl").exists()]
    tables = [pd.DataFrame(files.read_jsonl(f)).assign(stage=f.name[:2]) for f in found]
    tables = [t for t in tables if {"system", "test", "level"} <= set(t.columns)]
    if not tables:
        return []
    written, shown = [_write(folder / "metrics.csv", _csv(pd.concat(tables, ignore_index=True)))], {}
    if "usd_per_million" in tables[-1]:
        shown = figures.comparison(tables[-1], main_test(tables[-1]))
    for name in ("frontier", "cuts"):
        rows = [row for file in sorted(run.glob(f"[0-9][0-9]_{name}.jsonl"))[-1:] for row in files.read_jsonl(file)]
        written += [_write(folder / f"{name}.csv", _csv(pd.DataFrame(rows)))] if rows else []
        shown |= figures.frontier(pd.DataFrame(rows)) if rows and name == "frontier" else {}
    return written + [_write(folder / "charts" / f"{n}.png", charts.png(figure)) for n, (figure, _) in shown.items()]


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _write(path: Path, content: str | bytes) -> Path:
    with files.replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _clean(meta: dict[str, Any]) -> dict[str, Any]:
    values = {k: Path(v).name if isinstance(v, str) and v.startswith("/") else v for k, v in meta["parameters"].items()}
    return {**meta, "parameters": values}


def _title(book: Any, fallback: str) -> str:
    titles = [re.search(r"^# (.+)$", c.source, re.MULTILINE) for c in book.cells if c.cell_type == "markdown"]
    return next((t[1].strip() for t in titles if t), fallback)
