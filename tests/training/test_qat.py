"""Quantisation-aware training: what is trained is what a file holds, and the exact weights behind it learn."""

import numpy as np
import pytest
import torch
from toy_model import saved_student
from toy_task import TASK, examples

from lib.model import gguf_kinds
from lib.model import student as students
from lib.training import distill, qat
from lib.training.finetune import train

GROUPS = examples(20, 6, items=3)
PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 30, "precision": "fp32"}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("start") / "student")


def matrices(folder):
    model = students.load(folder).model
    return {n: w.detach() for n, w in model.named_parameters() if w.ndim == 2 and "layers" in n}, model


@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
def test_a_file_holds_quantised_weights_as_they_are(scale):
    weights = scale * torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    weights[0] = 0
    once = qat.quantised(weights)
    assert torch.equal(qat.quantised(once), once)
    assert np.array_equal(gguf_kinds.quantised(once.numpy(), "q4_0"), once.numpy())
    assert float((once - weights).abs().max()) <= float(weights.abs().max()) / 8 * 1.01
    assert len(once[1, :32].unique()) <= 16


def test_what_was_trained_is_quantised_and_learnt(start, tmp_path):
    plain = train({**PARAMS, "base": str(start)}, TASK, GROUPS, tmp_path / "plain")
    coarse = train({**PARAMS, "base": str(start), "qat": "q4_0"}, TASK, GROUPS, tmp_path / "coarse")
    trained, model = matrices(coarse.folder)
    for weight in trained.values():  # a folder keeps 16 bits, from which a file finds the very same levels
        levels = qat.quantised(weight)
        torch.testing.assert_close(weight, levels, rtol=2**-10, atol=1e-7)
        assert torch.equal(qat.quantised(levels), levels)
    assert not torch.equal(model.model.embed_tokens.weight, qat.quantised(model.model.embed_tokens.weight.detach()))
    before, _ = matrices(start)
    assert all(not torch.equal(w, qat.quantised(before[n])) for n, w in trained.items()), "all of them learn"
    assert coarse.loss < 1.3 * plain.loss + 0.1


def test_small_steps_add_up_behind_the_levels(start):
    model = students.load(start).model
    quantiser = qat.Quantiser(model, "q4_0 with embedding")
    weight = model.model.layers[0].mlp.up_proj.weight
    exact = weight.detach().clone()
    with quantiser.applied():
        assert torch.equal(weight, qat.quantised(exact))
        weight.sum().backward()
    assert torch.equal(weight, exact) and float(weight.grad.abs().sum()) > 0
    quantiser.quantise()
    assert torch.equal(weight, qat.quantised(exact))
    assert qat.Quantiser(model, "").weights == []


def test_a_model_can_learn_from_itself_how_to_be_quantised(start, tmp_path):
    taught = train({**PARAMS, "max_steps": 60, "base": str(start)}, TASK, GROUPS, tmp_path / "taught").folder
    params = {**PARAMS, "learning_rate": 3.0e-4, "qat": "q4_0 with embedding", "ce_weight": 0.0}
    students.save(_at_once(taught), tmp_path / "at_once")
    held_out = examples(6, 6, seed=5, items=3)
    found = distill.train(params, TASK, taught, tmp_path / "at_once", GROUPS, tmp_path / "out", held_out)
    assert found.kl_after < found.kl_before
    again = distill.train(params, TASK, taught, taught, GROUPS, tmp_path / "itself", held_out)
    assert again.kl_before == pytest.approx(0.0, abs=1e-6) and again.kl_after < found.kl_before


def _at_once(folder):
    student = students.load(folder)
    qat.Quantiser(student.model, "q4_0 with embedding").quantise()
    return student


def test_what_cannot_be_quantised_is_named(start):
    model = students.load(start).model
    model.model.layers[1].mlp.down_proj = torch.nn.Linear(40, 64, bias=False)
    with pytest.raises(ValueError, match="a matrix of 40 columns; q4_0 needs multiples of 32: set ffn_width"):
        qat.Quantiser(model, "q4_0")
