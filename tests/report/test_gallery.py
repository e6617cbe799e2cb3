"""What is shown from committed records alone: the same again, and nothing in the words of others."""

from pathlib import Path

import pandas as pd
import pytest
from toy_choice import write_answers
from toy_model import saved_student
from toy_report import compared, finished_run

from lib.core import paths
from lib.decision import costs, records, training_cost
from lib.evaluation.comparison import STEPS
from lib.model.gguf_write import export
from lib.report import __main__ as report
from lib.report import choice, gallery, index


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a toy run whose small model is wrong in 3 of 100 requests."""
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    finished_run(paths.run_dir("smoke"))
    report.build("smoke", tmp_path / "reports")
    write_answers(tmp_path / "reports" / "smoke", {"rules": (0.5, 1.0), "small": (0.97, 20.0), "big": (0.99, 60.0)})
    return tmp_path / "reports" / "smoke"


def test_the_gallery_has_what_some_system_got_wrong_once_and_in_our_own_words(folder: Path) -> None:
    answers = records.read(folder)
    wrong = answers[(answers["test"] == "dev") & ~answers["exact"].astype(bool)]
    found = gallery.requests(answers, ["small", "big"])
    assert {r["id"] for r in found} == {*wrong.loc[wrong["system"] != "rules", "id"]}
    assert {r["test"] for r in found} == {"dev"}, "test has the same requests, dev_human is in the words of others"
    for request in found:
        assert [name for a in request["answers"].values() for name in a["by"]] in (["small", "big"], ["big", "small"])
        assert len(request["answers"]) == len({a["reason"] for a in request["answers"].values()})
    assert gallery.requests(answers, []) == gallery.requests(answers.head(0), ["small"]) == []


def test_pages_from_records_are_the_same_again_without_the_run(folder: Path) -> None:
    report.again(folder.parent)
    made = [folder / "gallery.html", folder.parent / "index.html", *(folder / "charts").glob("*.png")]
    before = {path: path.read_bytes() for path in made}
    (paths.run_dir("smoke") / "06_meta.json").unlink()
    for path in made:
        path.unlink()
    report.again(folder.parent)
    assert before == {path: path.read_bytes() for path in made} and len(made) > 3
    (folder / records.FILE).unlink()
    text = report.index(folder.parent).read_text()
    assert not (folder / "gallery.html").exists() and "gallery.html" not in text, "its source is gone"


def test_the_distance_to_the_best_is_paired_and_has_an_interval_only_with_records(folder: Path) -> None:
    rows = compared()
    rows.loc[rows["system"] == "big", "accuracy"] += 0.05
    rows = rows.assign(stage=6, released=False)
    table, found = choice.choices(folder, rows, rows, {"06": {"parameters": {}}}), records.read(folder)
    said = [" ".join(choice.verdict(rows, table, some)) for some in (found, found.head(0))]
    assert "5.0 points below the most accurate file, big (95% interval of the paired difference −" in said[0]
    assert "5.0 points below the most accurate file, big." in said[1] and "interval of" not in said[1]


def test_gpus_have_a_cost_if_the_model_is_here(folder: Path) -> None:
    rows = index.read(folder)
    before = choice.loads(folder, rows)
    assert {row["option"] for row in before} == {costs.OWN, "vCPU"}
    (folder / "model").mkdir()
    export(saved_student(folder / "student"), folder / "model" / "small.gguf", "f16")
    more = choice.loads(folder, rows)
    assert more[: len(before)] == before and {"NVIDIA H200"} < {row["option"] for row in more}
    assert "NVIDIA H200" in report.index(folder.parent).read_text()


def test_the_teacher_s_data_has_a_price_if_its_recording_is_here() -> None:
    rows = choice.taught({"01": {"parameters": {"task": "home"}}})
    assert rows and all(row["usd"] > 0 for row in rows)
    assert choice.taught({}) == choice.taught({"01": {"parameters": {"task": "elsewhere"}}}) == []


def test_trainings_are_those_that_the_run_wrote_and_misses_are_named(folder: Path) -> None:
    told = [(False, "", 0.1), (False, "", -0.3), (True, "", 0.0), (False, "another process", -0.5)]
    rows = pd.DataFrame([{"fitted": f, "beside": b, "error": e} for f, b, e in told], columns=training_cost.COLUMNS)
    rows = rows.assign(training=["a", "b", "c", "d"]).fillna({"steps": 1, "seconds": 1.0, "predicted_s": 1.0})
    rows.to_csv(folder / "trainings.csv", index=False)
    assert [row["kind"] for row in choice.trainings(folder)] == ["near", "far", "fitted", "beside"]
    text = report.index(folder.parent).read_text()
    assert "of 2 whose time was predicted" in text and "1 were within 25% of it; not so b (-30%)." in text
    rows.drop(columns="predicted_gb").to_csv(folder / "trainings.csv", index=False)
    assert (
        choice.trainings(folder) == []
        and "No trainings.csv with all columns" in report.index(folder.parent).read_text()
    )


def test_every_released_model_has_the_steps_from_the_model_it_was_cut_from(tmp_path: Path) -> None:
    _, parent, _ = STEPS["assistant"]
    made = [(3, parent, 0.9), (6, "narrow", 0.2), (6, "small", 0.8), (6, "wide", 0.85)]
    rows = pd.DataFrame([{"stage": s, "system": name, "accuracy": a} for s, name, a in made])
    rows = rows.assign(test="dev", level="all", deployed=rows["system"] == "wide", released=rows["system"] == "small")
    models = {name: {"of": "03_assistant"} for name in ("small", "wide")}
    edge = pd.DataFrame({"system": ["narrow", "small", "wide"], "weights": [5, 5, 9], "step": ["pruned only", "", ""]})
    edge.to_csv(tmp_path / "frontier.csv", index=False)
    found = index.steps(tmp_path, rows, {"06": {"parameters": {"models": models}}})
    chains = {c: [(r["system"], r["change"]) for r in found if r["chain"] == c] for c in ("wide", "small")}
    assert chains["wide"] == [(parent, None), ("wide", pytest.approx(-5))]
    assert chains["small"] == [(parent, None), ("narrow", pytest.approx(-70)), ("small", pytest.approx(60))]
