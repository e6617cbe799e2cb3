"""``python -m lib.report --profile cpu`` writes ``reports/cpu`` from the finished stages of ``runs/cpu``.

A stage becomes self-contained HTML without code, beside its figures as CSV and charts. Prose is that of ``notebooks/``
as it is now if the code cells are still those that ran. ``--readme`` writes the headline figures into README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from nbconvert import HTMLExporter

from lib.core import files, notebook_files, paths
from lib.core.files import Row
from lib.report import charts
from lib.report.overview import DEV, TEMPLATES, ReportError, index, made, readme


def build(profile: str, reports: Path = paths.REPORTS) -> list[Path]:
    """Writes the report of a profile's finished stages and the index; returns the files. Raises ReportError."""
    run, folder = paths.run_dir(profile), paths.report_dir(profile, reports)
    books = [p for p in sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb")) if ".part" not in p.name]
    found = [(p, run / f"{paths.stage_number(p)}_meta.json") for p in books]
    metas = {book: _clean(files.read_json(meta)) for book, meta in found if meta.exists()}
    if not metas:
        raise ReportError(f"nothing to report: no stage of profile '{profile}' is finished; run 'make reproduce'")
    titles = {f"{p.stem}.html": _title(p) for p in metas}
    texts = {f"{p.stem}.html": render(p, titles, meta) for p, meta in metas.items()}
    known = {paths.stage_number(p): meta for p, meta in metas.items()}
    texts["provenance.json"] = json.dumps(known, indent=1, ensure_ascii=False) + "\n"
    written = [_write(folder / name, text) for name, text in texts.items()] + _metrics(run, folder, list(known))
    for stale in set(folder.glob("*.html")) - set(written):
        stale.unlink()
    return [*written, index(reports)]


def render(path: Path, titles: dict[str, str], meta: Row) -> str:
    """One executed notebook as a page: prose, outputs, what it was made with; no code. Raises ReportError.

    ``titles``: of all pages by name. A page with a path of this machine is an error.
    """
    book = _with_prose(notebook_files.read(path), paths.NOTEBOOKS / path.name)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            cell.source = ""
    parameters = json.dumps(meta["parameters"], indent=1, ensure_ascii=False)
    about = {"name": f"{path.stem}.html", "titles": titles, "made": made(meta), "parameters": parameters}
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
    made, shown = {"metrics": pd.concat(tables, ignore_index=True)}, {}
    if "usd_per_million" in tables[-1]:
        shown = charts.comparison(tables[-1], DEV)
    for name in ("frontier", "cuts"):
        rows = [row for file in sorted(run.glob(f"[0-9][0-9]_{name}.jsonl"))[-1:] for row in files.read_jsonl(file)]
        made |= {name: pd.DataFrame(rows)} if rows else {}
    shown |= charts.frontier(made["frontier"]) if "frontier" in made else {}
    how: Any = {"index": False, "float_format": "%.6g", "lineterminator": "\n"}
    written = [_write(folder / f"{name}.csv", table.to_csv(**how)) for name, table in made.items()]
    return written + [_write(folder / "charts" / f"{n}.png", charts.png(figure)) for n, (figure, _) in shown.items()]


def _write(path: Path, content: str | bytes) -> Path:
    with files.replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _clean(meta: Row) -> Row:
    values = {k: Path(v).name if isinstance(v, str) and v.startswith("/") else v for k, v in meta["parameters"].items()}
    return {**meta, "parameters": values}


def _title(notebook: Path) -> str:
    cells = [c.source for c in notebook_files.read(notebook).cells if c.cell_type == "markdown"]
    found = re.search(r"^# (.+)$", "\n".join(cells), re.MULTILINE)
    return found[1].strip() if found else notebook.stem


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.report")
    parser.add_argument("--profile", default="cpu", help="whose finished stages are reported (default: %(default)s)")
    parser.add_argument("--readme", action="store_true", help="only the index and README.md, from the committed report")
    options = parser.parse_args(arguments)
    try:
        for path in [index()] if options.readme else build(options.profile):
            print(f"wrote {paths.relative(path)}")
        if options.readme:
            readme()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
