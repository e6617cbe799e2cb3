"""Quantisation-aware training: what is trained is what a file holds, and the exact weights behind it learn."""

import gguf
import numpy as np
import pytest
import torch
from toy_task import TASK, examples

from lib.model import student as students
from lib.training import distill
from lib.training.finetune import train
from lib.training.layers import Prepared, quantised
from lib.training.params import Distillation, Finetuning, TrainingError

GROUPS = examples(10, 4, items=3)
PARAMS = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 20, "precision": "fp32"}


def prepare(model):
    return Prepared(model, Finetuning(max_steps=1, qat="q4_0 with embedding"))


def matrices(folder):
    model = students.load(folder).model
    return {n: w.detach() for n, w in model.named_parameters() if w.ndim == 2 and "layers" in n}, model


@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
def test_a_file_holds_quantised_weights_as_they_are(scale):
    weights = scale * torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    weights[0] = 0
    once = quantised(weights)
    assert torch.equal(quantised(once), once)
    packed = gguf.quants.quantize(once.numpy(), gguf.GGMLQuantizationType.Q4_0)
    assert np.array_equal(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_0), once.numpy())
    assert float((once - weights).abs().max()) <= float(weights.abs().max()) / 8 * 1.01
    assert len(once[1, :32].unique()) <= 16


@pytest.fixture(scope="module")
def taught(start, tmp_path_factory):
    return train({**PARAMS, "base": str(start)}, TASK, GROUPS, tmp_path_factory.mktemp("taught") / "plain")


def test_what_was_trained_is_quantised_and_learnt(start, taught, tmp_path):
    coarse = train({**PARAMS, "base": str(start), "qat": "q4_0"}, TASK, GROUPS, tmp_path / "coarse")
    trained, model = matrices(coarse.folder)
    for weight in trained.values():  # a folder keeps 16 bits, from which a file finds the very same levels
        levels = quantised(weight)
        torch.testing.assert_close(weight, levels, rtol=2**-10, atol=1e-7)
        assert torch.equal(quantised(levels), levels)
    assert not torch.equal(model.model.embed_tokens.weight, quantised(model.model.embed_tokens.weight.detach()))
    before, _ = matrices(start)
    assert all(not torch.equal(w, quantised(before[n])) for n, w in trained.items()), "all of them learn"
    assert coarse.loss < 1.3 * taught.loss + 0.1


def test_small_steps_add_up_behind_the_levels(start):
    model = students.load(start).model
    prepared = prepare(model)
    weight = model.model.layers[0].mlp.up_proj.weight
    exact = weight.detach().clone()
    with prepared.quantised():
        assert torch.equal(weight, quantised(exact))
        weight.sum().backward()
    assert torch.equal(weight, exact) and float(weight.grad.abs().sum()) > 0
    prepared.restore()
    assert torch.equal(weight, quantised(exact))


def test_a_model_can_learn_from_itself_how_to_be_quantised(taught, tmp_path):
    params = {**PARAMS, "learning_rate": 3.0e-4, "qat": "q4_0 with embedding", "ce_weight": 0.0}
    held_out, at_once = examples(3, 4, seed=5, items=3), students.load(taught.folder)
    prepare(at_once.model).restore()
    known = Distillation.read(params, "training")
    lost = distill.measure(TASK, students.load(taught.folder), at_once, held_out, known)
    found = distill.train(params, TASK, taught.folder, taught.folder, GROUPS, tmp_path / "itself", held_out)
    assert found.kl_before == pytest.approx(0.0, abs=1e-6) and found.kl_after < lost


def test_what_cannot_be_quantised_is_named(start):
    model = students.load(start).model
    model.model.layers[1].mlp.down_proj = torch.nn.Linear(40, 64, bias=False)
    with pytest.raises(TrainingError, match="a matrix of 40 columns; q4_0 needs multiples of 32: set ffn_width"):
        prepare(model)
