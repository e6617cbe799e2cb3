"""The index's section about guarantees."""

import re
from pathlib import Path

import pytest
from toy_choice import write_answers
from toy_report import finished_run

from lib.core import paths
from lib.core.files import read_json, write_json
from lib.decision.guarantee import FAILS, HOLDS
from lib.evaluation.prices import load_prices
from lib.report import __main__ as report
from lib.report import guaranteed, index


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a toy run whose small model keeps 99% of what the big one gets right."""
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    finished_run(paths.run_dir("smoke"))
    report.build("smoke", tmp_path / "reports")
    found = tmp_path / "reports" / "smoke"
    write_answers(found, {"rules": (0.5, 1.0), "small": (0.99, 20.0), "big": (1.0, 60.0)})
    metas = read_json(found / "provenance.json")
    metas["06"]["parameters"]["parent"] = "big"
    write_json(found / "provenance.json", metas)
    return found


def test_each_target_has_its_system_and_what_is_left_elsewhere(folder: Path) -> None:
    shown = guaranteed.section(folder, index.answers(folder), load_prices())
    rows = {row["target"]: row for row in shown["rows"]}
    assert list(rows) == list(guaranteed.TARGETS) and shown["systems"] == ["rules", "small"]
    assert rows[0.95]["system"] == "small" and rows[0.99]["system"] == ""
    assert {test: e["verdict"] for test, e in rows[0.95]["elsewhere"].items()} == {"test": HOLDS, "dev_human": FAILS}
    assert 0.95 < rows[0.95]["low"] == rows[0.99]["best"] < 0.99 and rows[0.95]["lost"] <= rows[0.95]["most_lost"]
    assert shown["worst"]["missed"] <= 0.08 < shown["worst"]["unbounded"]


def test_the_index_shows_it_and_its_drawing_is_inside_its_frame(folder: Path) -> None:
    text = report.index(folder.parent).read_text()
    assert "What is guaranteed" in text and "none; big itself" in text and "does not hold: " in text
    drawing = guaranteed.section(folder, index.answers(folder), load_prices())["drawing"]
    points = [pair.split(",") for line in re.findall(r'points="(.*?)"', drawing) for pair in line.split()]
    assert len(points) == 2 * len(guaranteed.DRAWN)
    assert all(0 <= float(x) <= guaranteed.WIDTH and 0 <= float(y) <= guaranteed.BASE for x, y in points)


def test_without_its_sources_it_says_what_is_missing(folder: Path) -> None:
    assert guaranteed.section(folder, index.answers(folder).assign(exact=False), load_prices()) == {}, "none is right"
    (folder / "records.jsonl.xz").unlink()
    assert guaranteed.section(folder, index.answers(folder), load_prices()) == {}
    text = report.index(folder.parent).read_text()
    assert "got something right: no guarantee" in text and "What is guaranteed" not in text
