"""notebooks/explore.ipynb: it says what is missing, and its knobs show the rest."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_choice import write_answers
from toy_report import finished_run

from lib.core import notebook_files, paths
from lib.report import __main__ as report
from lib.report import show

BOOK = notebook_files.read(paths.NOTEBOOKS / "explore.ipynb")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of profile gpu without a model."""
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    finished_run(paths.run_dir("smoke"))
    report.build("smoke", tmp_path)
    shutil.move(tmp_path / "smoke", tmp_path / "gpu")
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    return tmp_path / "gpu"


def run(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str], list[str]]:
    """What the cells define, what they show, and the knobs that they offer."""
    texts, knobs = list[str](), list[str]()
    monkeypatch.setattr(show, "display", lambda data, **_: texts.append(data["text/plain"]))
    monkeypatch.setattr("ipywidgets.interact", lambda function, **_: knobs.append(function.__name__))
    names: dict[str, Any] = {}
    exec(notebook_files.code(BOOK), names)
    return names, texts, knobs


def test_what_is_missing_is_said_and_the_rest_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, texts, knobs = run(monkeypatch)
    assert "model is not in reports/gpu" in texts[0] and "records.jsonl.xz is not in reports/gpu" in texts[0]
    assert knobs == ["costs"] and "small" in texts[2]


def test_records_have_thresholds_and_pairs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_answers(folder, {"small": (0.9, 20.0), "big": (1.0, 60.0)}, unsure=0.5)
    names, texts, knobs = run(monkeypatch)
    assert "records" not in texts[0] and knobs == ["costs", "errors", "pair"]
    names["errors"]("small", 0.99)
    assert texts[-1].split()[-2:] == ["90.0%", "0.0%"], "nothing of which it is sure is wrong"
    names["pair"]("big", "big")
    assert isinstance(names["answered"], pd.DataFrame)


def test_it_is_no_stage_and_keeps_its_pictures() -> None:
    assert paths.NOTEBOOKS / "explore.ipynb" not in paths.notebooks()
    assert any("image/png" in output.get("data", {}) for cell in BOOK.cells for output in cell.get("outputs", []))
