"""A model made ready for training computes what a plain one does, and is plain again afterwards."""

from functools import partial

import pytest
import torch
from toy_task import TASK, examples

from lib.model import student as students
from lib.model.codec import Codec
from lib.training import layers
from lib.training.finetune import train
from lib.training.layers import answer_logits
from lib.training.packing import Packer, collate, visible
from lib.training.params import Finetuning


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What is compiled runs as traced, since making code for it takes half a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.fixture(scope="module")
def batch(start):
    student = students.load(start)
    packer = Packer(Codec(TASK, student.vocabulary), examples(12, 4, items=3), 128)
    return collate([packer.row(0), packer.row(1)], student.vocabulary.end, layers.ALIGN)


def prepared(model, **changes):
    return layers.Prepared(model, Finetuning.read({"max_steps": 1, **changes}, "training"))


@pytest.mark.parametrize("kind", ["layers", "flex"])
def test_logits_are_those_of_plain_layers(start, batch, kind):
    model = students.load(start).model
    plain, _ = answer_logits(model, batch)
    changed = prepared(model, compile=kind)
    with torch.no_grad():  # on a CPU, flex attention has no backward pass
        assert torch.allclose(plain, answer_logits(model, batch)[0], atol=1e-4)
    changed.restore()
    assert all("forward" not in layer.__dict__ for layer in model.model.layers)
    assert torch.allclose(answer_logits(model, batch)[0], plain, atol=1e-5)


def test_a_blocks_mask_says_which_token_sees_which(start, batch):
    model = students.load(start).model
    seen = visible(batch["blocks"], batch["segments"])
    layers.accelerate_layers(model, "flex")
    blocks = layers.attention_mask(model, seen, torch.float32)
    places = torch.arange(seen.shape[-1])
    for row in range(2):
        got = blocks.mask_mod(torch.tensor(row), torch.tensor(0), places[:, None], places[None])
        assert torch.equal(got, seen[row, 0])


def test_a_compiled_training_ends_where_a_plain_one_does(start, tmp_path):
    by_context = examples(4, 4, items=3)
    params = {"row_tokens": 256, "learning_rate": 3.0e-3, "max_steps": 2, "precision": "fp32", "base": str(start)}
    plain = train(params, TASK, by_context, tmp_path / "plain")
    fast = train({**params, "compile": "layers"}, TASK, by_context, tmp_path / "fast")
    assert fast.loss == pytest.approx(plain.loss, rel=1e-3)
    weights = [students.load(result.folder).model.state_dict() for result in (plain, fast)]
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=2e-3), name


def test_a_merged_adapter_is_the_trained_one(start):
    student = students.load(start)
    changed = prepared(student.model, method="lora")
    frozen = {name for name, weight in student.model.named_parameters() if not weight.requires_grad}
    assert len(frozen) == 2 * len(layers.ADAPTED) and all(name.endswith("base_layer.weight") for name in frozen)
    for name, weight in student.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids = torch.tensor([[3, 9, 27]])
    with torch.no_grad():
        adapted = student.model(ids).logits
        changed.restore()
        torch.testing.assert_close(student.model(ids).logits, adapted, atol=1e-4, rtol=1e-4)
    assert set(student.model.state_dict()) == set(students.load(start).model.state_dict())
