"""Iterative pruning on tiny models: every step learns from the uncut assistant, and what is done is not done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_model import saved_student
from toy_task import TASK, examples

from lib.compression import models
from lib.compression.models import Job, compress
from lib.compression.shape import Shape
from lib.core.files import Row, sha256
from lib.core.params import ParamsError
from lib.model import student as students
from lib.model.student import StudentError, weights_digest
from lib.training import distill
from lib.training.finetune import train
from lib.training.layers import quantised
from lib.training.params import Distillation, TrainingError

PARAMS = {"row_tokens": 256, "learning_rate": 1.0e-3, "max_steps": 3, "precision": "fp32", "ce_weight": 0.0}
SHAPE = Shape(ffn_width=32, measured=4)


@pytest.fixture(scope="module")
def groups() -> list[list[Any]]:
    return examples(20, 6, items=3)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory, groups: list[list[Any]]) -> Path:
    folder = tmp_path_factory.mktemp("assistant")
    start = saved_student(folder / "start", layers=3, seed=1)
    settings = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 30, "precision": "fp32", "base": str(start)}
    train(settings, TASK, groups, folder / "assistant")
    return folder / "assistant"


def run(assistant: Path, groups: Any, out: Path, shape: Shape = SHAPE, **changes: Any) -> list[Row]:
    params = Distillation.read({**PARAMS, **changes}, "training")
    return compress(Job(TASK, assistant, groups[:16], groups[16:]), params, shape, out)


@pytest.fixture
def thirds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps: the embedding is a large part of a tiny model."""
    schedule = models.schedule
    monkeypatch.setattr(models, "schedule", lambda student, shape: schedule(student, shape, 0.25))


@pytest.mark.usefixtures("thirds")
def test_steps_their_models_and_rows(assistant: Path, groups: Any, tmp_path: Path) -> None:
    before, out = sha256(assistant), tmp_path / "06_tiny"
    rows = run(assistant, groups, out, max_steps=12)
    assert sha256(assistant) == before
    assert [row["step"] for row in rows] == [1, 2]
    assert (rows[-1]["ffn_width"], rows[-1]["layers"], rows[-1]["chosen"]) == (32, 3, "importance")
    assert all(row["kl_after"] < row["kl_before"] and 0 < row["removed"] < 0.3 for row in rows)
    assert all(row["tokens"] > 0 and row["train_steps"] == 12 for row in rows)
    assert [row["folder"] for row in rows] == ["06_tiny_steps/1_recovered", "06_tiny"]
    assert all((tmp_path / row["folder"] / "steps.csv").is_file() for row in rows)
    last, pruned = students.load(out), students.load(tmp_path / "06_tiny_steps" / "2_pruned")
    assert last.model.num_parameters() == pruned.model.num_parameters() == rows[-1]["parameters"]
    assert not torch.equal(last.model.model.embed_tokens.weight, pruned.model.model.embed_tokens.weight)
    assert pruned.info["pruned"]["of"][1] == rows[0]["ffn_width"]
    assert last.info["training"]["assistant"] == students.digest(assistant), "every step learns from the uncut one"


@pytest.mark.usefixtures("thirds")
def test_what_is_complete_is_not_done_again(
    assistant: Path, groups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made = tmp_path / "tiny", []
    rows = run(assistant, groups, out, max_steps=1)
    inner = distill.train
    monkeypatch.setattr(distill, "train", lambda *given: made.append(given[5].name) or inner(*given))
    assert run(assistant, groups, out, max_steps=1) == rows and not made
    shutil.rmtree(out)
    assert run(assistant, groups, out, max_steps=1)[0] == rows[0] and made == ["tiny"]
    kept = json.loads((tmp_path / "tiny_steps" / "1_pruned.json").read_text())
    again = run(assistant, groups, out, max_steps=1, learning_rate=2.0e-3)
    assert again[0]["key"] != kept["key"], "other parameters, other models"
    assert made == ["tiny", "1_recovered", "tiny"]
    weights = weights_digest(students.load(out).model)
    students.save(students.load(assistant), out)  # as an entry does that is only pruned
    run(assistant, groups, out, max_steps=1, learning_rate=2.0e-3)
    assert weights_digest(students.load(out).model) == weights
    assert made[3:] == ["tiny"]
    monkeypatch.setattr(models, "_code", lambda: "other")
    run(assistant, groups, out, max_steps=1, learning_rate=2.0e-3)
    assert made[4:] == ["1_recovered", "tiny"]


def test_a_model_that_is_not_cut_is_trained_for_its_quantised_weights(
    assistant: Path, groups: Any, tmp_path: Path
) -> None:
    rows = run(assistant, groups, tmp_path / "tiny", Shape(), qat="q4_0")
    assert len(rows) == 1 and rows[0]["layers"] == 3 and "removed" not in rows[0]
    weight = students.load(tmp_path / "tiny").model.model.layers[1].mlp.up_proj.weight.detach()
    torch.testing.assert_close(weight, quantised(weight), rtol=2**-10, atol=1e-7)
    with pytest.raises(TrainingError, match="nothing to distil"):
        run(assistant, groups, tmp_path / "same", Shape())


def test_a_vocabulary_is_cut_and_recovered_by_text(assistant: Path, groups: Any, tmp_path: Path) -> None:
    shape = Shape(vocab_size=len(students.load(assistant).vocabulary) - 20, measured=4)
    with pytest.raises(TrainingError, match="different vocabularies.*set align: text"):
        run(assistant, groups, tmp_path / "tokens", shape)
    [row] = run(assistant, groups, tmp_path / "tiny", shape, align="text")
    assert 0 < row["removed"] < 0.5 and row["layers"] == 3 and row["kl_after"] is not None
    cut, whole = (students.load(folder) for folder in (tmp_path / "tiny", assistant))
    assert len(cut.vocabulary) < len(whole.vocabulary)
    assert row["removed"] == pytest.approx(1 - row["parameters"] / whole.model.num_parameters(), abs=1e-4)


def test_impossible_compressions_are_named_before_any_work(assistant: Path, groups: Any, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with pytest.raises(ParamsError, match="ffn_width: 200 of 128"):
        run(assistant, groups, out, Shape(ffn_width=200))
    with pytest.raises(ParamsError, match="unknown parameter 'step'"):
        run(assistant, groups, out, step=3)
    with pytest.raises(StudentError, match="not a whole student"):
        run(tmp_path / "absent", groups, out)
    assert list(tmp_path.iterdir()) == []
