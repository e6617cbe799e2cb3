"""Reports of small runs: self-contained, without code, test sentences or this machine's paths; and the pages."""

import json
import re
from pathlib import Path

import nbformat.v4 as v4
import pandas as pd
import pytest
from toy_report import compared, finished_run, predictions

from lib.core import files, notebook_files, paths
from lib.evaluation import comparison, metrics, prices
from lib.report import __main__ as pages
from lib.report import charts, show


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of profile 'smoke' with one stage, in tmp_path/runs/smoke."""
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    return finished_run(paths.run_dir("smoke"))


def test_a_report_is_self_contained_without_code_and_paths_and_the_same_twice(run: Path, tmp_path: Path) -> None:
    written = pages.build("smoke", tmp_path / "reports")
    folder = tmp_path / "reports" / "smoke"
    page = (folder / "06_x.html").read_text()
    assert {p.name for p in written} >= {"06_x.html", "metrics.csv", "provenance.json", "index.html"}
    assert "<title>What it costs</title>" in page and "Prose." in page
    assert "secret_code" not in page and "a progress bar" not in page
    assert re.findall(r'<img[^>]*alt="([^"]*)"', page, re.DOTALL) == ["A &amp; B"]
    assert len(re.sub(r'src="[^"]*"', "", page)) < 32_000
    assert files.read_json(folder / "provenance.json")["06"]["parameters"]["base"] == "model"
    before = {p: p.read_bytes() for p in (tmp_path / "reports").rglob("*") if p.is_file()}
    index = (tmp_path / "reports" / "index.html").read_text()
    for text in ("Deploy small, 60 MB: right on 90.0 %", "rules", "most accurate", "What it costs", "A CPU"):
        assert text in index
    assert folder / "charts" / "cost_quality.png" in before and folder / "frontier.csv" not in before
    pages.build("smoke", tmp_path / "reports")
    assert before == {p: p.read_bytes() for p in (tmp_path / "reports").rglob("*") if p.is_file()}


def test_prose_is_that_of_the_notebook_unless_its_code_changed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    book = notebook_files.read(run / "notebooks" / "06_x.ipynb")
    book.cells[0].source = "# Edited since"
    for code, title in (("secret_code = 1", "Edited since"), ("secret_code = 2", "What it costs")):
        book.cells[1].source = code
        files.write_text(tmp_path / "06_x.ipynb", json.dumps(book))
        pages.build("smoke", tmp_path / "reports")
        page = (tmp_path / "reports" / "smoke" / "06_x.html").read_text()
        assert f'<h1 id="{title.replace(" ", "-")}">{title}' in page and 'alt="A &amp; B"' in page


def test_a_page_with_a_path_of_this_machine_is_an_error(run: Path, tmp_path: Path) -> None:
    book = v4.new_notebook(cells=[v4.new_markdown_cell(f"See {paths.ROOT}/runs.")])
    files.write_text(run / "notebooks" / "06_x.ipynb", json.dumps(book))
    with pytest.raises(pages.ReportError, match="06_x.html: the page shows a path of this machine"):
        pages.build("smoke", tmp_path / "reports")
    assert not (tmp_path / "reports" / "smoke").exists()


def test_unfinished_stages_are_left_out(run: Path, tmp_path: Path) -> None:
    pages.build("smoke", tmp_path / "reports")
    (run / "06_meta.json").unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "reports").rglob("*") if p.is_file()}
    assert pages.again(tmp_path / "reports") == [tmp_path / "reports" / "index.html"]
    assert before == {p: p.read_bytes() for p in (tmp_path / "reports").rglob("*") if p.is_file()}
    with pytest.raises(pages.ReportError, match="no stage of profile 'smoke' is finished"):
        pages.build("smoke", tmp_path / "reports")


def test_readme_has_what_is_released_side_by_side_between_its_marks(run: Path, tmp_path: Path) -> None:
    rows = comparison.mark(compared(), [], ["small", "big"])
    files.write_jsonl(run / "06_metrics.jsonl", rows.to_dict("records"))
    pages.build("smoke", tmp_path / "reports")
    page = (tmp_path / "reports" / "index.html").read_text()
    assert page.index(">small</th>") < page.index(">big</th>")
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- headline -->\nold\n<!-- /headline -->\nafter\n")
    for _ in range(2):
        pages.readme("smoke", path, tmp_path / "reports")
    text = path.read_text()
    assert text.startswith("before\n<!-- headline -->\n**Deploy small, 60 MB: right on 90.0 %")
    assert text.endswith("\n<!-- /headline -->\nafter\n") and "\nold\n" not in text
    assert text.index("| small | recommended, most accurate, released |") < text.index("| big | released |")
    robust = [{"kind": kind, "cases": 1_500, "wrong": 0} for kind in ("kills", "fuzz", "fuzz", "runs")]
    files.write_json(
        tmp_path / "reports" / "robust.json", {"rows": [*robust, {"kind": "faults", "cases": 2, "wrong": 1}]}
    )
    path.write_text(text + "<!-- reliability -->\nold\n<!-- /reliability -->\n")
    part = {"part": "all", "left": 2, "n": 22_618}
    files.write_json(tmp_path / "reports" / "smoke" / "safety" / "small.json", {"sha256": "abc", "parts": [part]})
    files.write_json(tmp_path / "reports" / "smoke" / "model" / "release.json", {"models": {"small.gguf": "abc"}})
    pages.readme("smoke", path, tmp_path / "reports")
    table = (
        "|kills|faults|fuzzed inputs|requests|wrong|unasked sensitive actions, small.gguf|\n|---|---|---|---|---|---|\n"
    )
    table += "|1,500|2|3,000|0|1|2 of 22,618|\n"
    assert path.read_text() == f"{text}<!-- reliability -->\n{table}<!-- /reliability -->\n"
    path.write_text("no marks")
    with pytest.raises(pages.ReportError, match="expected one block"):
        pages.readme("smoke", path, tmp_path / "reports")
    assert (paths.ROOT / "README.md").read_text().count("<!-- headline -->") == 1


def test_the_frontier_is_part_of_the_report(run: Path, tmp_path: Path) -> None:
    row = {"system": "a", "step": "parent", "n": 9, "accuracy": 0.5, "low": 0.2, "high": 0.8, "size_mb": 9.0}
    files.write_jsonl(run / "06_frontier.jsonl", [row | {"p50_ms": 3.0}])
    files.write_jsonl(run / "06_cuts.jsonl", [])
    written = {path.name for path in pages.build("smoke", tmp_path / "reports")}
    assert written >= {"frontier.csv", "frontier_size.png", "frontier_latency.png"} and "cuts.csv" not in written
    files.write_jsonl(run / "06_cuts.jsonl", [{"model": "a", "kl_after": 0.1}])
    assert "cuts.csv" in {path.name for path in pages.build("smoke", tmp_path / "reports")}


def test_a_comparison_has_every_group_and_charts_the_marked_systems() -> None:
    rows = compared()
    whole = comparison.overall(rows, "dev").set_index("system")
    assert set(rows["level"]) == {"L0", "L1", "all"}
    assert whole["deployed"].to_dict() == {"rules": False, "small": True, "big": False}
    assert whole.loc["big", "usd_per_million"] == pytest.approx(prices.local_usd(prices.load_prices(), 60.0))
    assert pd.isna(whole.loc["rules", "size_mb"])
    marked = comparison.mark(rows, ["big"], [])
    assert set(comparison.drawn(marked, marked)["system"]) == {"rules", "small", "big"}
    marked = comparison.mark(rows.assign(deployed=False), ["big"], [])
    assert set(comparison.drawn(marked, marked)["system"]) == {"rules", "big"}
    for figure, alt in charts.comparison(marked, "dev").values():
        assert charts.png(figure) and "big" in alt and "small" not in alt and len(alt) <= 200


def test_tables_show_what_is_missing_and_escape(capsys: pytest.CaptureFixture[str]) -> None:
    rows = metrics.summary(predictions(), ("system", "level"))
    show.accuracies(rows[rows.index != 1], "level")
    show.table([{"a": "<b>", "n": None}], {"a": "A"})
    assert show._text(float("nan"), None) == show._text(None, "{}") == "–"
    assert show._text(1234.5, "{:,.0f} ms") == "1,234 ms"
