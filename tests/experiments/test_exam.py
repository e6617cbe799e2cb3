"""Part 6's examination: models that are there are made and asked ahead, and nothing is done twice."""

import pytest
from toy_model import saved_student
from toy_task import TASK, examples

from lib.compression import models
from lib.experiments import compare_models, predictions
from lib.experiments.compare_models import Exam

TESTS = {"dev": examples(1, 3)[0], "test": examples(1, 2, seed=1)[0]}
MODELS = {
    "parent": {"of": "03_assistant", "kind": "q8_0", "step": "parent"},
    "cut": {"of": "03_assistant", "kind": "q8_0", "cut": {"layers": 1}, "step": "pruned only"},
    "student": {"of": "05_student", "kind": "q8_0", "step": "student"},
}


@pytest.fixture
def whole(tmp_path):
    saved_student(tmp_path / "03_assistant", layers=2)
    few = {"dev": TESTS["dev"][:1], "test": []}
    entries = models.read(MODELS)
    return Exam(TASK, tmp_path, entries, TESTS, [], few, TESTS["dev"], [], "student", 1, 1)


def test_what_is_there_is_done_ahead_and_not_again(whole, monkeypatch):
    assert whole.ready() == ["parent", "cut"]
    whole.make(whole.ready())
    rows = whole.answers(whole.ready())
    assert [(r["system"], r["test"]) for r in rows] == [("parent", "dev")] * 3 + [("parent", "test")] * 2 + [
        ("cut", "dev")
    ]
    assert max(r["new_tokens"] for r in rows if r["system"] == "cut") <= compare_models.PRUNED_TOKENS
    times = {path: path.stat().st_mtime_ns for path in whole.run.glob("06_models/*.gguf")}
    saved_student(whole.run / "05_student", layers=1)
    assert whole.ready() == list(MODELS)
    assert [row["name"] for row in whole.make()] == list(MODELS)
    assert times.items() <= {path: path.stat().st_mtime_ns for path in whole.run.glob("06_models/*.gguf")}.items()
    asked = []
    opened = predictions.student
    monkeypatch.setattr(predictions, "student", lambda one, *given: asked.append(one.name) or opened(one, *given))
    after = whole.answers()
    assert after[: len(rows)] == rows
    assert asked == ["student", "student free"]
    assert [r["system"] for r in after[len(rows) :]] == ["student"] * 5 + ["student free"] * 3


def test_an_unknown_profile_is_one_line(capsys):
    assert compare_models.main(["--profile", "nonsense"]) == 1
    assert "unknown profile 'nonsense'" in capsys.readouterr().err
