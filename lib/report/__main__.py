"""Renders finished stages as self-contained HTML without code, and an index that lists the profiles.

``python -m lib.report --profile cpu`` writes ``reports/cpu/*.html``, ``metrics.csv``, ``provenance.json``,
``charts/*.png`` and ``reports/index.html``; ``--readme`` writes the headline table of the committed profile into the
marked block of README.md. Test sentences of others (the ``text`` fields in the folder that a parameter ``third_party``
points to) are withheld, and a page with a path of this machine is an error.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core import files, notebook_files, paths
from lib.evaluation import comparison, frontier
from lib.report import charts
from lib.report.overview import TEMPLATES, ReportError, css, index, made, main_test, read_json, readme

WITHHELD = "[a third-party test sentence, withheld]"


def build(profile: str, reports: Path = paths.REPORTS) -> list[Path]:
    """Writes the report of a profile's finished stages and the index; returns the files. Raises ReportError."""
    run, folder = paths.run_dir(profile), paths.report_dir(profile, reports)
    done = _finished(run)
    if not done:
        raise ReportError(f"nothing to report: no stage of profile '{profile}' is finished; run 'make reproduce'")
    raw = {paths.stage_number(p): read_json(run / f"{paths.stage_number(p)}_meta.json") for p in done}
    metas = {number: _clean(meta) for number, meta in raw.items()}
    pages = [{"file": f"{p.stem}.html", "title": _title(notebook_files.read(p), p.stem)} for p in done]
    secret = _sentences(raw)
    rows = zip(done, pages, metas.values(), strict=True)
    texts = [render(path, page, pages, meta, secret) for path, page, meta in rows]
    written = [_write(folder / page["file"], text) for page, text in zip(pages, texts, strict=True)]
    files.write_json(folder / "provenance.json", metas)
    written += [folder / "provenance.json", *_metrics(run, folder, list(metas))]
    for stale in set(folder.glob("*.html")) - set(written):
        stale.unlink()
    return [*written, index(reports)]


def _finished(run: Path) -> list[Path]:
    """The executed notebooks of finished stages."""
    books = [p for p in sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb")) if ".part" not in p.name]
    return [p for p in books if (run / f"{paths.stage_number(p)}_meta.json").exists()]


def render(path: Path, page: dict[str, str], pages: list[dict[str, str]], meta: dict[str, Any], secret: Any) -> str:
    """One executed notebook as a page: prose, outputs, what it was made with; no code. Raises ReportError."""
    from nbconvert import HTMLExporter

    book = notebook_files.read(path)
    book.cells = [_shown(cell) for cell in book.cells]
    about: dict[str, Any] = {"title": page["title"], "css": css(), "made": made(meta)}
    about |= {"pages": [{**p, "current": p["file"] == page["file"]} for p in pages]}
    about |= {"parameters": json.dumps(meta["parameters"], indent=1, ensure_ascii=False)}
    exporter = HTMLExporter(template_name="report_template", extra_template_basedirs=[str(TEMPLATES.parent)])
    exporter.exclude_input = exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    text, _ = exporter.from_notebook_node(book, resources={"page": about})
    return _checked(secret.sub(WITHHELD, text) if secret else text, path.name)


def _shown(cell: Any) -> Any:
    if cell.cell_type == "code":
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        cell.source = ""
    return cell


def _checked(text: str, name: str) -> str:
    for place in {str(paths.ROOT), str(Path.home()), str(paths.runs())} - {"/"}:
        if place + "/" in text:
            raise ReportError(f"{name}: the page shows a path of this machine: print paths by lib.core.paths.relative")
    return text


def _sentences(metas: dict[str, dict[str, Any]]) -> Any:
    """A pattern of all third-party test sentences as they look in HTML; None if there are none here."""
    folders = {str(m["parameters"].get("third_party") or "") for m in metas.values()} - {""}
    tests = [file for folder in folders for file in sorted((paths.ROOT / folder).glob("*.jsonl"))]
    texts = {str(row.get("text", "")).strip() for file in tests for row in files.iter_jsonl(file)}
    whole = [html.escape(t, quote=quote) for t in texts for quote in (False, True) if t]
    long = sorted({t for t in whole if len(t.split()) > 2}, key=len, reverse=True)
    short = sorted({t for t in whole if len(t.split()) <= 2}, key=len, reverse=True)
    parts = [rf"(?<!\w){re.escape(t)}(?!\w)" for t in long] + [rf"(?<=<td>){re.escape(t)}(?=</td>)" for t in short]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _metrics(run: Path, folder: Path, numbers: list[str]) -> list[Path]:
    """metrics.csv of the stages, the charts of the last one if it compares costs, and the frontier of its models."""
    metrics = [file for n in numbers if (file := run / f"{n}_metrics.jsonl").exists()]
    tables = [pd.DataFrame(files.read_jsonl(f)).assign(stage=f.name[:2]) for f in metrics]
    tables = [t for t in tables if {"system", "test", "level"} <= set(t.columns)]
    if not tables:
        return []
    written = [_write(folder / "metrics.csv", _csv(pd.concat(tables, ignore_index=True)))]
    if "usd_per_million" in tables[-1]:
        for name, (figure, _) in comparison.figures(tables[-1], main_test(tables[-1])).items():
            written.append(_write_bytes(folder / "charts" / f"{name}.png", figure))
    return [*written, *_frontier(run, folder)]


def _frontier(run: Path, folder: Path) -> list[Path]:
    """frontier.csv and its charts, if a list of models was compared, and cuts.csv, if some of them were cut."""
    tables = {name: _last(run, name) for name in ("frontier", "cuts")}
    written = [_write(folder / f"{name}.csv", _csv(table)) for name, table in tables.items() if len(table)]
    if len(tables["frontier"]):
        for name, (figure, _) in frontier.figures(tables["frontier"]).items():
            written.append(_write_bytes(folder / "charts" / f"{name}.png", figure))
    return written


def _last(run: Path, name: str) -> pd.DataFrame:
    """The rows of that name that the last stage left, no rows if none did."""
    found = sorted(run.glob(f"[0-9][0-9]_{name}.jsonl"))
    return pd.DataFrame(files.read_jsonl(found[-1]) if found else [])


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _write(path: Path, text: str) -> Path:
    files.write_text(path, text)
    return path


def _write_bytes(path: Path, figure: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(charts.png(figure))
    return part.replace(path)


def _clean(meta: dict[str, Any]) -> dict[str, Any]:
    values = {k: Path(v).name if isinstance(v, str) and v.startswith("/") else v for k, v in meta["parameters"].items()}
    return {**meta, "parameters": values}


def _title(book: Any, fallback: str) -> str:
    titles = [re.search(r"^# (.+)$", c.source, re.MULTILINE) for c in book.cells if c.cell_type == "markdown"]
    return next((t[1].strip() for t in titles if t), fallback)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--readme", action="store_true", help="write the committed profile's figures into README.md")
    options = parser.parse_args(arguments)
    try:
        if options.readme:
            readme()
            return 0
        for path in build(options.profile):
            print(f"wrote {paths.relative(path)}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
