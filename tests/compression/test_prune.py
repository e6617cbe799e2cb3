"""Cutting a student: shapes, what stays, and that the parts that are cut are those that matter least."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_model import tiny_base
from toy_task import TASK, examples
from transformers import LlamaConfig, LlamaForCausalLM

from lib.compression.prune import PruneError, measure, prune
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
    copy = prune(whole, measure(whole, TASK, ROWS))
    torch.testing.assert_close(logits(copy), logits(whole))
    copy.model.model.layers[0].mlp.up_proj.weight.data.zero_()
    assert whole.model.model.layers[0].mlp.up_proj.weight.abs().sum() > 0, "a copy shares no weights"


@pytest.mark.parametrize(
    ("asked", "shape"), [({"layers": 2}, (2, 128, 3)), ({"channels": 40, "groups": 2}, (4, 40, 2))]
)
def test_shapes_and_files_of_a_cut_student(asked: dict[str, int], shape: tuple[int, ...], tmp_path: Path) -> None:
    whole = wide_student()
    small = prune(whole, measure(whole, TASK, ROWS), **asked)
    config = small.model.config
    assert (config.num_hidden_layers, config.intermediate_size, config.num_key_value_heads) == shape
    assert config.num_attention_heads == 2 * config.num_key_value_heads
    assert small.info["pruned"]["of"] == [4, 128, 3]
    again = student.load(student.save(small, tmp_path / "small"))
    torch.testing.assert_close(logits(again), logits(small))
    gguf_write.export(tmp_path / "small", tmp_path / "small.gguf", "q8_0")
    rounded = logits(student.load(tmp_path / "small.gguf"))
    assert torch.corrcoef(torch.stack([rounded.flatten(), logits(small).flatten()]))[0, 1] > 0.995


def test_parts_that_do_nothing_go_first() -> None:
    whole = wide_student()
    with torch.no_grad():
        for layer in whole.model.model.layers:
            layer.mlp.down_proj.weight[:, 10:].zero_()
            layer.self_attn.o_proj.weight[:, 64:128].zero_()
    small = prune(whole, measure(whole, TASK, ROWS), channels=10, groups=2)
    torch.testing.assert_close(logits(small), logits(whole))


def test_a_layer_that_does_nothing_goes_first_but_the_outer_ones_stay() -> None:
    whole = wide_student(5)
    with torch.no_grad():
        for i in (0, 2):
            whole.model.model.layers[i].mlp.down_proj.weight.zero_()
            whole.model.model.layers[i].self_attn.o_proj.weight.zero_()
    small = prune(whole, measure(whole, TASK, ROWS), layers=4)
    assert small.info["layers"] == [0, 1, 3, 4]
    torch.testing.assert_close(logits(small), logits(whole))


def test_impossible_shapes_are_named() -> None:
    whole = wide_student()
    importance = measure(whole, TASK, ROWS)
    with pytest.raises(PruneError, match="channels: 129 of 128: use 1 to 128, or 0 for all"):
        prune(whole, importance, channels=129)
    with pytest.raises(PruneError, match="groups: -1 of 3"):
        prune(whole, importance, groups=-1)
    with pytest.raises(PruneError, match="no examples"):
        measure(whole, TASK, [])
