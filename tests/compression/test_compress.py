"""Schedules and compression on tiny models: no step cuts too much, what is done is not done again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_finetune import kill_after
from test_prune import ROWS, wide_student
from toy_model import saved_student
from toy_task import TASK, examples

from lib.compression import iterate as module
from lib.compression.iterate import compress
from lib.compression.mask_search import SearchParams
from lib.compression.prune import PruneError, measure, parameters, prune, sizes_of
from lib.compression.shape import Shape, schedule
from lib.core.files import Row, sha256
from lib.core.params import ParamsError
from lib.model import student as students
from lib.model.student import StudentError
from lib.training.finetune import train
from lib.training.log import read_steps
from lib.training.params import TrainingError

PARAMS = {"row_tokens": 256, "learning_rate": 1.0e-3, "max_steps": 4, "precision": "fp32", "checkpoint_minutes": 0}
PARAMS |= {"ce_weight": 0.0}
SHAPE = Shape(channels=32, measured=4)
SEARCH = SearchParams(steps=3, samples=2, rows=1, row_tokens=192, block=32, precision="fp32")


@pytest.fixture(scope="module")
def groups() -> list[list[Any]]:
    return examples(20, 6, items=3)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory, groups: list[list[Any]]) -> Path:
    folder = tmp_path_factory.mktemp("assistant")
    start = saved_student(folder / "start", layers=3, seed=1)
    settings = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 40, "precision": "fp32", "base": str(start)}
    return train(settings, TASK, groups, folder / "assistant").folder


def run(assistant: Path, groups: Any, out: Path, shape: Shape = SHAPE, most: float = 0.3, **changes: Any) -> list[Row]:
    return compress({**PARAMS, **changes}, TASK, assistant, shape, groups[:16], out, groups[16:], SEARCH, most)


@pytest.mark.parametrize("sizes", [(4, 128, 3), (2, 40, 1)])
def test_weights_are_counted_as_they_are(sizes: tuple[int, int, int]) -> None:
    whole = wide_student()
    small = prune(whole, measure(whole, TASK, ROWS[:2]), *sizes)
    assert parameters(whole.model.config, *sizes) == small.model.num_parameters()
    assert parameters(small.model.config, *sizes) == small.model.num_parameters()


@pytest.mark.parametrize("shape", [Shape(channels=32), Shape(layers=4, channels=50, groups=2), Shape(layers=3)])
@pytest.mark.parametrize("most", [0.25, 1 / 3, 0.7])
def test_no_step_removes_more_than_allowed(shape: Shape, most: float) -> None:
    whole = wide_student(12)
    steps = schedule(whole, shape, most)
    assert steps[-1] == shape, "the last step is what was asked for"
    config = whole.model.config
    sizes = [sizes_of(config), *(sizes_of(config, s.layers, s.channels, s.groups) for s in steps)]
    weights = [parameters(config, *s) for s in sizes]
    shares = [1 - b / a for a, b in zip(weights, weights[1:], strict=False)]
    assert min(shares) > 0 and max(shares) <= most + 1e-9
    assert all(a >= b for one, other in zip(sizes, sizes[1:], strict=False) for a, b in zip(one, other, strict=True))
    left = 1 - weights[-1] / weights[0]
    assert (len(steps) == 1) == (left <= most), "as few as possible"


def test_impossible_schedules_are_named() -> None:
    whole = wide_student(2)
    with pytest.raises(PruneError, match="cuts nothing"):
        schedule(whole, Shape(channels=128))
    with pytest.raises(PruneError, match="most: 0.01: one layer or group of heads has a greater share"):
        schedule(whole, Shape(groups=2), 0.01)
    with pytest.raises(PruneError, match="most: 1.0: use a share between 0 and 1"):
        schedule(whole, Shape(groups=2), 1.0)
    with pytest.raises(PruneError, match="layers: 3 of 2"):
        schedule(whole, Shape(layers=3))


@pytest.mark.parametrize("chosen", ["importance", "search"])
def test_steps_their_models_and_rows(assistant: Path, groups: Any, tmp_path: Path, chosen: str) -> None:
    before = sha256(assistant)
    out = tmp_path / "06_tiny"
    shape = Shape(channels=32, measured=4, chosen=chosen)
    rows = run(assistant, groups, out, shape, max_steps=12)
    assert sha256(assistant) == before
    assert len(rows) == 2 and [row["step"] for row in rows] == [1, 2]
    assert (rows[-1]["channels"], rows[-1]["layers"], rows[-1]["chosen"]) == (32, 3, chosen)
    assert all(row["kl_after"] < row["kl_before"] and 0 < row["removed"] <= 0.3 for row in rows)
    assert all(row["tokens"] > 0 and row["train_steps"] == 12 for row in rows)
    assert module.rows(tmp_path) == [{"model": "tiny", **row} for row in rows]
    last, pruned = students.load(out), students.load(tmp_path / "06_tiny_pruned")
    assert last.model.num_parameters() == pruned.model.num_parameters() == rows[-1]["parameters"]
    assert not torch.equal(last.model.model.embed_tokens.weight, pruned.model.model.embed_tokens.weight)
    kept = tmp_path / "06_tiny_steps"
    assert students.is_student(str(kept / "1_pruned")) and students.is_student(str(kept / "1_recovered"))
    assert (kept / "1_search" / "steps.csv").is_file() == (chosen == "search")
    assert pruned.info["pruned"]["of"][1] == students.load(kept / "1_recovered").model.config.intermediate_size
    assert last.info["training"]["assistant"] == before, "every step learns from the unpruned one"


def never(*given: Any, **more: Any) -> None:
    raise AssertionError("this was done before")


def test_what_is_complete_is_not_done_again(
    assistant: Path, groups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tiny"
    rows = run(assistant, groups, out)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    with monkeypatch.context() as patch:
        patch.setattr(module, "distill", never)
        patch.setattr(module, "cut", never)
        assert run(assistant, groups, out) == rows
        (tmp_path / "tiny_steps" / "2.json").unlink()
        again = run(assistant, groups, out)
    assert again[1]["kl_after"] == pytest.approx(rows[1]["kl_after"], rel=1e-4)
    assert {**again[1], "kl_before": 0, "kl_after": 0} == {**rows[1], "kl_before": 0, "kl_after": 0}
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    shutil.rmtree(out)
    assert run(assistant, groups, out)[0] == rows[0]
    kept = json.loads((tmp_path / "tiny_steps" / "1.json").read_text())
    assert run(assistant, groups, out, learning_rate=2.0e-3)[0]["key"] != kept["key"], "other parameters, other models"


def test_a_killed_compression_goes_on(
    assistant: Path, groups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(assistant, groups, tmp_path / "whole")
    distill = module.distill

    def dying(*given: Any) -> Any:
        if given[5].name == "out":
            kill_after(2, monkeypatch)
        return distill(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "distill", dying)
        with pytest.raises(KeyboardInterrupt):
            run(assistant, groups, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out").exists() and (tmp_path / "out.part").exists()
    again = run(assistant, groups, tmp_path / "out")
    assert [r["kl_after"] for r in again] == pytest.approx([r["kl_after"] for r in whole], rel=1e-3)
    assert len(read_steps(tmp_path / "out" / "steps.csv")) == 4
    assert not (tmp_path / "out.part").exists()


def test_impossible_compressions_are_named_before_any_work(assistant: Path, groups: Any, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with pytest.raises(PruneError, match="compression cuts an assistant"):
        run(assistant, groups, out, Shape())
    with pytest.raises(PruneError, match="compression cuts an assistant"):
        run(assistant, groups, out, Shape(source="base", layers=2))
    with pytest.raises(PruneError, match="channels: 200 of 128"):
        run(assistant, groups, out, Shape(channels=200))
    with pytest.raises(ParamsError, match="unknown parameter 'step'"):
        run(assistant, groups, out, step=3)
    with pytest.raises(TrainingError, match="no examples to compress on"):
        compress(PARAMS, TASK, assistant, SHAPE, [], out)
    with pytest.raises(StudentError, match="not a whole student"):
        run(tmp_path / "absent", groups, out)
    assert list(tmp_path.iterdir()) == []
