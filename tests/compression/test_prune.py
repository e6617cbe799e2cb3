"""Cutting a student: shapes, what stays, and that the parts that are cut are those that matter least."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_model import tiny_base
from toy_task import TASK, examples
from transformers import LlamaConfig, LlamaForCausalLM

from lib.compression.prune import Sizes, measure, prune
from lib.compression.shape import Shape, cut, schedule
from lib.core.params import ParamsError
from lib.model import gguf_write, student
from lib.model.base import Base
from lib.model.student import Student

ROWS = [e for group in examples(3, 3, items=3) for e in group]


def wide_student(layers: int = 4) -> Student:
    """Six heads that share keys and values by twos."""
    base = tiny_base(1)
    torch.manual_seed(1)
    shape = {"num_hidden_layers": layers, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 32}
    shape["hidden_size"] = 96
    config = LlamaConfig.from_dict({**base.model.config.to_dict(), **shape})
    return student.build(TASK, Base(LlamaForCausalLM(config).eval(), base.tokenizer, base.source), 400, layers)


def logits(model: Student) -> torch.Tensor:
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        return model.model(ids).logits


def test_cutting_nothing_changes_nothing() -> None:
    whole = wide_student()
    copy = prune(whole, measure(whole, TASK, ROWS), Sizes())
    torch.testing.assert_close(logits(copy), logits(whole))
    copy.model.model.layers[0].mlp.up_proj.weight.data.zero_()
    assert whole.model.model.layers[0].mlp.up_proj.weight.abs().sum() > 0, "a copy shares no weights"


@pytest.mark.parametrize(
    ("asked", "shape"), [({"layers": 2}, (2, 128, 3)), ({"ffn_width": 40, "kv_heads": 2}, (4, 40, 2))]
)
def test_shapes_and_files_of_a_cut_student(asked: dict[str, int], shape: tuple[int, ...], tmp_path: Path) -> None:
    whole = wide_student()
    small = cut(TASK, whole, Shape(**asked, measured=4), [ROWS])
    config = small.model.config
    assert Sizes.of(config) == shape and config.num_attention_heads == 2 * config.num_key_value_heads
    assert small.info["pruned"]["of"] == [4, 128, 3]
    assert Sizes(*shape).parameters(whole.model.config) == small.model.num_parameters()
    again = student.load(student.save(small, tmp_path / "small"))
    torch.testing.assert_close(logits(again), logits(small))
    gguf_write.export(tmp_path / "small", tmp_path / "small.gguf", "q8_0")
    quantised = logits(student.load(tmp_path / "small.gguf"))
    assert torch.corrcoef(torch.stack([quantised.flatten(), logits(small).flatten()]))[0, 1] > 0.995


def test_parts_that_do_nothing_go_first() -> None:
    whole = wide_student()
    with torch.no_grad():
        for layer in whole.model.model.layers:
            layer.mlp.down_proj.weight[:, 10:].zero_()
            layer.self_attn.o_proj.weight[:, 64:128].zero_()
    small = prune(whole, measure(whole, TASK, ROWS), Sizes(ffn_width=10, kv_heads=2))
    torch.testing.assert_close(logits(small), logits(whole))


def test_a_layer_that_does_nothing_goes_first_but_the_outer_ones_stay() -> None:
    whole = wide_student(5)
    with torch.no_grad():
        for i in (0, 2):
            whole.model.model.layers[i].mlp.down_proj.weight.zero_()
            whole.model.model.layers[i].self_attn.o_proj.weight.zero_()
    small = prune(whole, measure(whole, TASK, ROWS), Sizes(layers=4))
    assert small.info["layers"] == [0, 1, 3, 4]
    torch.testing.assert_close(logits(small), logits(whole))


@pytest.mark.parametrize("shape", [Shape(ffn_width=32), Shape(layers=4, ffn_width=50, kv_heads=2), Shape(layers=3)])
def test_a_schedule_has_as_few_steps_as_possible(shape: Shape) -> None:
    whole = wide_student(12)
    steps = [step.sizes for step in schedule(whole, shape)]
    config = whole.model.config
    assert steps[-1] == shape.sizes.within(config), "the last step is what was asked for"
    sizes = [Sizes.of(config), *steps]
    weights = [s.parameters(config) for s in sizes]
    shares = [1 - b / a for a, b in zip(weights, weights[1:], strict=False)]
    assert min(shares) > 0 and max(shares) < 0.37, "a third, and what sizes are rounded by"
    assert all(a >= b for one, other in zip(sizes, sizes[1:], strict=False) for a, b in zip(one, other, strict=True))
    assert (len(steps) == 1) == (weights[-1] / weights[0] > 2 / 3)


def test_a_vocabulary_is_cut_and_says_the_same_where_its_tokens_stay() -> None:
    whole = wide_student()
    tokens = len(whole.vocabulary) - 20
    shape = Shape(vocab_size=tokens, measured=4)
    assert schedule(whole, shape) == [shape]
    small = cut(TASK, whole, shape, [ROWS])
    assert len(small.vocabulary) < len(whole.vocabulary) and small.model.config.vocab_size == len(small.vocabulary)
    assert small.vocabulary.controls.keys() == whole.vocabulary.controls.keys()
    assert Sizes.of(small.model.config) == Sizes.of(whole.model.config)
    of = {text: i for i, text in enumerate(whole.vocabulary.bytes)}
    rows = [of[text] for text in small.vocabulary.bytes]
    torch.testing.assert_close(small.model.lm_head.weight, whole.model.lm_head.weight[rows])
    with pytest.raises(ParamsError, match="cuts nothing"):
        schedule(whole, Shape(vocab_size=len(whole.vocabulary)))


def test_impossible_shapes_are_named() -> None:
    whole = wide_student()
    importance = measure(whole, TASK, ROWS)
    with pytest.raises(ParamsError, match="ffn_width: 129 of 128: use 1 to 128, or 0 for all"):
        prune(whole, importance, Sizes(ffn_width=129))
    with pytest.raises(ParamsError, match="no examples"):
        measure(whole, TASK, [])
    with pytest.raises(ParamsError, match="cuts nothing"):
        schedule(whole, Shape(ffn_width=128))
    with pytest.raises(ParamsError, match="layers: 5 of 4"):
        schedule(whole, Shape(layers=5))
    for values, message in (
        ({"depth": 3}, "unknown parameter 'depth'"),
        ({"chosen": "chance"}, "chosen: Input should be 'importance' or 'search'"),
        ({"kv_heads": -1}, "kv_heads: "),
    ):
        with pytest.raises(ParamsError, match=message):
            Shape.read(values, "shape")
