"""Compiled layers compute what plain ones do, and only where they are asked for."""

import pytest
import torch
from toy_model import saved_student
from toy_task import TASK, examples

from lib.model import student as students
from lib.model.codec import Codec
from lib.training import compiled_layers
from lib.training.finetune import answer_logits, train
from lib.training.packing import IGNORED, Packer, collate, visible
from lib.training.params import SftParams, TrainingError


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("start") / "student")


@pytest.fixture(scope="module")
def batch(start):
    student = students.load(start)
    packer = Packer(Codec(TASK, student.vocabulary), examples(12, 4, items=3), 128)
    return collate([packer.row(0), packer.row(1)], student.vocabulary.end, compiled_layers.ALIKE)


def test_a_batch_is_as_wide_as_it_is_asked_to_be(batch):
    assert batch["input_ids"].shape == (2, compiled_layers.ALIKE)
    assert (batch["labels"][:, 128:] == IGNORED).all()


@pytest.mark.parametrize("kind", ["layers", "flex"])
def test_logits_are_those_of_plain_layers(start, batch, kind):
    model = students.load(start).model
    plain, _ = answer_logits(model, batch)
    compiled_layers.install(model, kind)
    with torch.no_grad():  # on a CPU, flex attention has no backward pass
        fast, _ = answer_logits(model, batch)
    assert torch.allclose(plain, fast, atol=1e-4)
    assert model.config._attn_implementation != compiled_layers.FLEX
    assert all("forward" not in layer.__dict__ for layer in model.model.layers)
    compiled_layers.remove(model)
    assert torch.equal(answer_logits(model, batch)[0], plain)


def test_a_blocks_mask_says_who_sees_whom(start, batch):
    model = students.load(start).model
    seen = visible(batch["blocks"], batch["segments"])
    model.config._attn_implementation = compiled_layers.FLEX
    blocks = compiled_layers.readable_mask(model, seen, torch.float32)
    places = torch.arange(seen.shape[-1])
    for row in range(2):
        got = blocks.mask_mod(torch.tensor(row), torch.tensor(0), places[:, None], places[None])
        assert torch.equal(got, seen[row, 0])


def test_a_compiled_training_ends_where_a_plain_one_does(start, tmp_path):
    groups = examples(30, 6, items=3)
    params = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 4, "precision": "fp32", "base": str(start)}
    plain = train(params, TASK, groups, tmp_path / "plain")
    fast = train({**params, "compile": "layers"}, TASK, groups, tmp_path / "fast")
    assert fast.loss == pytest.approx(plain.loss, rel=1e-3)
    weights = [students.load(result.folder).model.state_dict() for result in (plain, fast)]
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=2e-3), name


@pytest.mark.parametrize("wrong", [{"compile": "all"}, {"compile": "layers", "freeze_below": 2}])
def test_parameters_that_cannot_be_are_named(wrong):
    with pytest.raises(TrainingError, match="compile="):
        SftParams.read({"max_steps": 1, **wrong})
