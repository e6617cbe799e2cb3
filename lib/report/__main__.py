"""``python -m lib.report --profile cpu`` writes ``reports/cpu`` from the finished stages of ``runs/cpu``.

A stage becomes self-contained HTML without code, beside its figures as CSV and charts. Prose is that of ``notebooks/``
as it is now if the code cells are still those that ran. The index and README.md (``--readme``) show what each profile
deploys, by the files of ``reports/<profile>`` alone, so that its run need not be here.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from nbconvert import HTMLExporter

from lib.core import files, notebook_files, paths
from lib.core.files import Row
from lib.decision import records
from lib.evaluation.comparison import drawn, overall
from lib.report import charts, pages, safety
from lib.report.index import about, index, made, named, read, rendered, reported
from lib.report.release import TEMPLATES, ReportError
from lib.runtime.careful import RELEASE

DEV = "dev"


def build(profile: str, reports: Path = paths.REPORTS) -> list[Path]:
    """Writes the report of a profile's finished stages and the index; returns the files. Raises ReportError."""
    run, folder = paths.run_dir(profile), reports / profile
    books = [p for p in sorted((run / "notebooks").glob("[0-9][0-9]_*.ipynb")) if ".part" not in p.name]
    found = [(p, run / f"{paths.stage_number(p)}_meta.json") for p in books]
    metas = {book: _clean(files.read_json(meta)) for book, meta in found if meta.exists()}
    if not metas:
        raise ReportError(f"nothing to report: no stage of profile '{profile}' is finished; run 'make reproduce'")
    known = {paths.stage_number(p): meta for p, meta in metas.items()}
    parts = [(p, meta, pages.split(_prose_and_outputs(p), p.stem)) for p, meta in metas.items()]
    titles = {name: pages.title(book, name) for _, _, books in parts for name, book in books.items()}
    tables = _tables(run, list(known))
    csvs = [f"{name}.csv" for name in tables] + [p.relative_to(folder).as_posix() for p in folder.glob("*/*.csv")]
    rows = tables.get("metrics")
    page = {**named(profile), "titles": titles}
    texts = {
        name: render(name, book, page, meta, csvs, rows) for _, meta, books in parts for name, book in books.items()
    }
    texts["provenance.json"] = _provenance(known)
    written = [_write(folder / name, text) for name, text in texts.items()] + _metrics(tables, folder)
    kept = sorted(run.glob(f"[0-9][0-9]_{records.FILE}"))[-1:]
    written += [_write(folder / records.FILE, path.read_bytes()) for path in kept]
    for stale in set(folder.glob("*.html")) - set(written):
        stale.unlink()
    return [*written, index(reports)]


def _provenance(metas: Mapping[str, Row]) -> str:
    return json.dumps(metas, indent=1, ensure_ascii=False) + "\n"


def _prose_and_outputs(path: Path) -> Any:
    """An executed notebook without code and progress bars."""
    book = _with_prose(notebook_files.read(path), paths.NOTEBOOKS / path.name)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = notebook_files.without_progress(cell.outputs)
            cell.source = ""
    return book


def render(name: str, book: Any, page: Row, meta: Row, csvs: Collection[str], rows: pd.DataFrame | None) -> str:
    """One page of an executed notebook: prose, outputs, what it was made with. Raises ReportError.

    ``page``: how its profile is ``named``, and the ``titles`` of all pages by name; ``csvs``: the tables beside them;
    ``rows``: metrics.csv. A page with a path of this machine is an error.
    """
    parameters = json.dumps(meta["parameters"], indent=1, ensure_ascii=False)
    about = {**page, "name": name, "made": made(meta), "parameters": parameters}
    about |= {"finding": pages.finding(book, _own(rows, name[:2]))}
    book.cells = [cell for cell in book.cells if not {"finding", "banner"} & {*cell.metadata.get("tags", [])}]
    exporter = HTMLExporter(template_name=TEMPLATES.name, extra_template_basedirs=[str(TEMPLATES.parent)])
    exporter.exclude_input = exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    text, _ = exporter.from_notebook_node(book, resources={"page": about})
    for place in {str(paths.ROOT), str(Path.home()), str(paths.runs())} - {"/"}:
        if place + "/" in text:
            where = f"{name}: the page shows a path of this machine"
            raise ReportError(f"{where}: print paths by lib.core.paths.relative")
    return pages.finished(text, csvs)


def _own(rows: pd.DataFrame | None, stage: str) -> pd.DataFrame:
    """What systems reached on dev in a stage, those alone that charts show."""
    here = rows[rows["stage"] == stage] if rows is not None else pd.DataFrame(columns=["system", "test", "level"])
    return overall(drawn(here, here.dropna(axis=1, how="all")), DEV)


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


def _tables(run: Path, numbers: list[str]) -> dict[str, pd.DataFrame]:
    """The figures of the stages, by the name of their file: ``metrics``, and the last one's other tables."""
    found = [file for n in numbers if (file := run / f"{n}_metrics.jsonl").exists()]
    parts = [pd.DataFrame(files.read_jsonl(f)).assign(stage=f.name[:2]) for f in found]
    parts = [t for t in parts if {"system", "test", "level"} <= set(t.columns)]
    made = {"metrics": pd.concat(parts, ignore_index=True)} if parts else {}
    for name in ("frontier", "cuts", "trainings") if parts else ():
        rows = [row for file in sorted(run.glob(f"[0-9][0-9]_{name}.jsonl"))[-1:] for row in files.read_jsonl(file)]
        made |= {name: pd.DataFrame(rows)} if rows else {}
    return made


def _metrics(tables: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Writes ``tables`` and the charts of them."""
    how: Any = {"index": False, "float_format": "%.6g", "lineterminator": "\n"}
    return [_write(folder / f"{name}.csv", table.to_csv(**how)) for name, table in tables.items()] + _charts(folder)


def _charts(folder: Path) -> list[Path]:
    """Draws, from a report's CSV files alone, the last stage if it compares costs, and the frontier of its models."""
    edge = folder / "frontier.csv"
    shown = charts.frontier(pd.read_csv(edge)) if edge.is_file() else {}
    if len(rows := read(folder)):
        last = rows[rows["stage"] == rows["stage"].max()]
        shown |= charts.comparison(last, DEV) if last["usd_per_million"].notna().any() else {}
    return [_write(folder / "charts" / f"{name}.png", charts.png(figure)) for name, (figure, _) in shown.items()]


def _write(path: Path, content: str | bytes) -> Path:
    with files.replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _clean(meta: Row) -> Row:
    values = {k: Path(v).name if isinstance(v, str) and v.startswith("/") else v for k, v in meta["parameters"].items()}
    return {**meta, "parameters": values}


def readme(profile: str = "gpu", path: Path = paths.ROOT / "README.md", reports: Path = paths.REPORTS) -> None:
    """Writes a profile's verdict and choices between README's two marks, and the table of ``make robust``.

    Raises ReportError.
    """
    run = about(reports / profile, profile)
    if "verdict" not in run:
        raise ReportError(f"reports/{profile}/metrics.csv names no deployed model: make the report first")
    text = _marked(path.read_text(encoding="utf-8"), "headline", rendered("readme.md.j2", **run), path.name)
    if (robust := reports / "robust.json").is_file():
        release = files.known(reports / profile / "model" / RELEASE)
        told = safety.read(reports / profile, release.get("models", {}))
        block = reliability(files.read_json(robust, "run make robust"), told)
        text = _marked(text, "reliability", block, path.name)
    files.write_text(path, text)


def _marked(text: str, name: str, block: str, where: str) -> str:
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text, count = re.subn(marks, lambda m: f"{m[1]}{block}{m[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ReportError(f"{where}: expected one block from '<!-- {name} -->' to '<!-- /{name} -->'")
    return text


def reliability(found: Row, told: Sequence[Row]) -> str:
    """The table of ``reports/robust.json``: cases by kind, and how many went wrong.

    ``told``: of lib.report.safety, by model: sensitive actions that nobody asked for, where it asks back.
    """
    rows = found["rows"]
    titles = {"kills": "kills", "faults": "faults", "fuzz": "fuzzed inputs", "requests": "requests"}
    cells = {t: f"{sum(row['cases'] for row in rows if row['kind'] == kind):,}" for kind, t in titles.items()}
    cells["wrong"] = f"{sum(row['wrong'] for row in rows):,}"
    for row in told:
        whole = row["parts"]["all"]
        cells[f"unasked sensitive actions, {row['file']}"] = f"{whole['left']} of {whole['n']:,}"
    lines = [cells, ["---"] * len(cells), cells.values()]
    return "".join(f"|{'|'.join(line)}|\n" for line in lines)


def again(reports: Path = paths.REPORTS) -> list[Path]:
    """Writes each report once more whose run is here, of the others the charts; and the index with the galleries."""
    for profile in reported(reports):
        folder = reports / profile
        found = sorted(paths.run_dir(profile).glob("[0-9][0-9]_meta.json"))
        known = {meta.name[:2]: _clean(files.read_json(meta)) for meta in found}
        if _provenance(known) == (folder / "provenance.json").read_text("utf-8"):
            build(profile, reports)
        else:
            _charts(folder)
            print(f"{profile}: its run is not here, so the pages of its notebooks stay as they are")
    return [index(reports)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.report")
    parser.add_argument("--profile", help="whose finished stages are reported; default: the reports that are there")
    parser.add_argument("--readme", action="store_true", help="only the index and README.md, from the committed report")
    options = parser.parse_args(arguments)
    try:
        written = build(options.profile) if options.profile else [index()] if options.readme else again()
        for path in written:
            print(f"wrote {paths.relative(path)}")
        if options.readme:
            readme()
    except (ValueError, OSError) as error:
        print(f"error: {files.told(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
