"""Notebooks are thin, run in order, keep their outputs, and show nothing that they must not."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbformat.v4 as v4
import pytest

from lib.core import notebook_files, paths

BOOKS = paths.notebooks()
each = pytest.mark.parametrize("path", BOOKS, ids=lambda p: p.stem)
THIRD_PARTY = paths.ROOT / "../shared/third_party"


def cells(path: Path, kind: str) -> list[Any]:
    return [c for c in notebook_files.read(path).cells if c.cell_type == kind]


@each
def test_no_cell_defines_an_algorithm(path: Path) -> None:
    for cell in cells(path, "code"):
        tree = ast.parse(cell.source)
        defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.While | ast.Try)]
        assert not defined, cell.source
        assert len(cell.source.splitlines()) <= 30 or "parameters" in cell.metadata.get("tags", [])


@each
def test_a_notebook_reads_lower_numbers_and_writes_its_own(path: Path) -> None:
    code = notebook_files.code(notebook_files.read(path))
    number = paths.stage_number(path)
    named = set(re.findall(r"[\"'](\d\d)_", code))
    assert max(named) == number
    writes = re.findall(r"(?:write_\w+|Resumable)\(run / [\"'](\d\d)_", code)
    assert writes and set(writes) == {number}


@each
def test_a_newcomer_is_told_what_it_is_about(path: Path) -> None:
    first, *rest = cells(path, "markdown")
    assert first.source.startswith(f"# {int(paths.stage_number(path))} · ")
    assert len(rest) >= 3


@each
def test_outputs_are_kept_and_normalised(path: Path) -> None:
    book = notebook_files.read(path)
    assert any(c.outputs for c in cells(path, "code"))
    assert notebook_files.normalised(book) == book
    assert "injected-parameters" not in json.dumps(book)


@each
def test_nothing_of_this_machine_is_shown(path: Path) -> None:
    text = path.read_text()
    for place in (str(paths.ROOT), str(Path.home()), "/tmp/", "/usr/"):
        assert place + ("" if place.endswith("/") else "/") not in text


@each
@pytest.mark.skipif(not THIRD_PARTY.exists(), reason="the third-party test sentences are absent")
def test_no_sentence_of_others(path: Path) -> None:
    text = " ".join(re.findall(r"\w+", json.dumps(notebook_files.read(path), ensure_ascii=False).casefold()))
    for file in THIRD_PARTY.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            words = re.findall(r"\w+", json.loads(line)["text"].casefold())
            assert len(words) < 4 or f" {' '.join(words)} " not in text, json.loads(line)["id"]


def test_normalising_drops_what_differs_between_runs() -> None:
    outputs = [
        v4.new_output("stream", name="stderr", text="50%"),
        v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "50%"}),
        v4.new_output("stream", name="stdout", text="kept"),
        v4.new_output("display_data", data={"image/png": "AAAA", "text/plain": "a chart"}, metadata={"x": 1}),
    ]
    run = v4.new_code_cell("x", outputs=outputs, metadata={"tags": ["a"], "papermill": {"duration": 3}})
    injected = v4.new_code_cell("seed = 2", metadata={"tags": ["injected-parameters"]})
    language = {"name": "python", "version": "3.11"}
    book = v4.new_notebook(cells=[injected, run], metadata={"papermill": {}, "language_info": language})
    (cell,) = notebook_files.normalised(book).cells
    assert [o.get("text") or o["data"] for o in cell.outputs] == ["kept", {"text/plain": "a chart"}]
    assert cell.execution_count == 1 and dict(cell.metadata) == {"tags": ["a"]}
    assert book.cells[0] is injected and len(run.outputs) == 4


def test_unreadable_notebook_is_named(tmp_path: Path) -> None:
    (tmp_path / "01_x.ipynb").write_text("{")
    with pytest.raises(paths.StageError, match="01_x.ipynb: not a readable notebook"):
        notebook_files.read(tmp_path / "01_x.ipynb")
