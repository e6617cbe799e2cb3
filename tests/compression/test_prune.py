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
from lib.model.feed_forward import Weights
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
    assert Sizes.of(config)[:3] == shape and config.num_attention_heads == 2 * config.num_key_value_heads
    assert small.info["pruned"]["of"] == [4, 128, 3, 6]
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


def attention(model: Student) -> list[list[int]]:
    """By layer, how many rows its queries, keys and output have."""
    parts = [[m.self_attn.q_proj, m.self_attn.k_proj, m.self_attn.o_proj] for m in model.model.model.layers]
    return [[part.weight.shape[i == 2] for i, part in enumerate(own)] for own in parts]


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 1), (4, 1)])
def test_merged_heads_of_equal_heads_give_the_same_logits(heads: int, kv_heads: int) -> None:
    whole = wide_student()
    with torch.no_grad():
        for layer in whole.model.model.layers:
            for weight in (layer.self_attn.k_proj.weight, layer.self_attn.v_proj.weight):
                weight[32:] = weight[:32].repeat(2, 1)
            layer.self_attn.o_proj.weight[:, heads * 32 :] = 0
    small = cut(TASK, whole, Shape(heads=heads, kv_heads=kv_heads, measured=4), [ROWS])
    assert attention(small) == [[heads * 32, 32, heads * 32]] * 4
    assert small.info["pruned"]["heads"] == heads and small.info["pruned"]["groups"] == 1
    torch.testing.assert_close(logits(small), logits(whole), atol=1e-4, rtol=1e-4)
    assert Weights.of(small.model).stored == Sizes(4, 128, 1, heads).parameters(whole.model.config)


def test_merged_heads_are_the_mean_of_unequal_ones() -> None:
    whole = wide_student()
    small = cut(TASK, whole, Shape(heads=6, kv_heads=1, measured=4), [ROWS])
    for old, new in zip(whole.model.model.layers, small.model.model.layers, strict=True):
        mean = old.self_attn.v_proj.weight.view(3, 32, -1).mean(0)
        torch.testing.assert_close(new.self_attn.v_proj.weight, mean)
        assert torch.equal(new.self_attn.q_proj.weight, old.self_attn.q_proj.weight)


@pytest.mark.parametrize(("heads", "kv_heads"), [(9, 3), (6, 2), (3, 1), (9, 1)])
def test_a_layout_of_equal_weights_has_equal_weights(heads: int, kv_heads: int) -> None:
    """Of the base model that the study has."""
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 16384}
    config = LlamaConfig(**shape, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    full = Shape(ffn_width=448).sizes(config)
    sizes = Shape(ffn_width=448, heads=heads, kv_heads=kv_heads, widened=True).sizes(config)
    assert (sizes.heads, sizes.kv_heads) == (heads, kv_heads)
    assert sizes.ffn_width % 32 == 0 and (sizes.ffn_width > 448) == (sizes.attention(config) < full.attention(config))
    assert sizes.parameters(config) == pytest.approx(full.parameters(config), rel=0.01)


def test_layers_that_differ_in_width() -> None:
    whole = wide_student()
    found = measure(whole, TASK, ROWS)
    with torch.no_grad():
        for i, width in enumerate((100, 60, 30, 10)):
            whole.model.model.layers[i].mlp.down_proj.weight[:, width:] = 0
            found.ffn[i, :width], found.ffn[i, width:] = 1, 0
    small = prune(whole, found, Sizes(ffn_width=50), free=True)
    torch.testing.assert_close(logits(small), logits(whole), atol=1e-4, rtol=1e-4)
    assert small.model.config.intermediate_size == 128, "whole blocks of the widest"
    assert Weights.of(small.model).stored == Sizes(4, 50, 3, 6).parameters(whole.model.config)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(logits(prune(whole, found, Sizes(ffn_width=50))), logits(whole))


@pytest.mark.parametrize("group", [2, 3, 4])
def test_shared_layers_have_what_the_middle_one_had(group: int) -> None:
    whole = wide_student()
    small = cut(TASK, whole, Shape(shared=group, measured=4), [ROWS])
    own = {2: [0, 0, 2, 2], 3: [1, 1, 1, 3], 4: [1, 1, 1, 1]}[group]
    for old, layer in zip(own, small.model.model.layers, strict=True):
        assert torch.equal(layer.mlp.up_proj.weight, whole.model.model.layers[old].mlp.up_proj.weight)
    layers = small.model.model.layers
    assert layers[0].mlp is layers[1].mlp and len({layer.mlp for layer in layers}) == len({*own})
    assert small.model.config.ffn_group == group
    again = prune(small, measure(small, TASK, ROWS[:2]), Sizes())
    assert again.model.config.ffn_group == 1 and len({layer.mlp for layer in again.model.model.layers}) == 4
    torch.testing.assert_close(logits(again), logits(small))


def test_what_is_shared_is_so_in_one_step_and_heads_are_merged_at_once() -> None:
    whole = wide_student(12)
    config = whole.model.config
    assert schedule(whole, shape := Shape(shared=4, ffn_width=32)) == [shape]
    steps = [step.sizes(config) for step in schedule(whole, Shape(kv_heads=1, heads=6, ffn_width=32), 0.2)]
    assert len(steps) > 1 and all((step.kv_heads, step.heads) == (1, 6) for step in steps)
    chosen = [step.chosen for step in schedule(whole, Shape(ffn_width=32, chosen="free search"), 0.2)]
    assert len(chosen) > 1 and [*chosen[:-1]] == ["search"] * (len(chosen) - 1) and chosen[-1] == "free search"
    widened = schedule(whole, Shape(kv_heads=2, ffn_width=32, widened=True), 0.2)
    assert widened[-1].sizes(config).ffn_width == 32 + 2 * 96 * 32 * 3 // (3 * 96)


@pytest.mark.parametrize("shape", [Shape(ffn_width=32), Shape(layers=4, ffn_width=50, kv_heads=2), Shape(layers=3)])
def test_a_schedule_has_as_few_steps_as_possible(shape: Shape) -> None:
    whole = wide_student(12)
    config = whole.model.config
    steps = [step.sizes(config) for step in schedule(whole, shape)]
    assert steps[-1] == shape.sizes(config), "the last step is what was asked for"
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
    with pytest.raises(ParamsError, match="heads: 5 with 1 kv_heads: use a multiple of 2, or 0"):
        prune(whole, importance, Sizes(kv_heads=1, heads=5))
    with pytest.raises(ParamsError, match="no examples"):
        measure(whole, TASK, [])
    with pytest.raises(ParamsError, match="cuts nothing"):
        schedule(whole, Shape(ffn_width=128))
    with pytest.raises(ParamsError, match="layers: 5 of 4"):
        schedule(whole, Shape(layers=5))
    for values, message in (
        ({"depth": 3}, "unknown parameter 'depth'"),
        ({"chosen": "chance"}, "chosen: Input should be 'importance', 'search' or 'free search'"),
        ({"kv_heads": -1}, "kv_heads: "),
    ):
        with pytest.raises(ParamsError, match=message):
            Shape.read(values, "shape")
