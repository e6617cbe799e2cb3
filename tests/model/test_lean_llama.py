"""The pass for decoding gives what transformers' gives; models that it does not know are left to transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from toy_model import tiny_base
from transformers import DynamicCache, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lib.model import fast_decode
from lib.model.fast_decode import LeanMemory
from lib.model.torch_student import ModelMemory, Prefix, decode
from lib.training.layers import Prepared
from lib.training.params import Finetuning

PREFIX = [5, 6, 7, 8, 9]
REST = [[10], [11, 12, 13], [14, 15], [16], [17, 18, 19, 20, 21, 22]]


@pytest.fixture(params=[(2, 1), (4, 2)], ids=["one group", "two groups"])
def model(request):
    """A base of heads in groups that share keys."""
    heads, groups = request.param
    torch.manual_seed(0)
    config = copy.deepcopy(tiny_base(3).model.config)
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = heads, groups, 32
    return LlamaForCausalLM(config).eval()


def both(model, monkeypatch, *arguments, **more):
    """Decoded by the lean pass, and by transformers'."""
    lean = decode(model, Prefix.read(model, arguments[0]), *arguments[1:], **more)
    with monkeypatch.context() as patch:
        patch.setattr(fast_decode, "fits", lambda model: False)
        prefix = Prefix.read(model, arguments[0])
        assert isinstance(prefix.memory, ModelMemory)
        return lean, decode(model, prefix, *arguments[1:], **more)


@pytest.mark.parametrize("prefix", [PREFIX, []])
@pytest.mark.parametrize("copies", [1, 3])
def test_the_same_tokens_with_the_same_probabilities(model, monkeypatch, prefix, copies) -> None:
    assert isinstance(Prefix.read(model, prefix).memory, LeanMemory)
    limits = [9, 12, 4, 12, 7] * copies
    lean, hub = both(model, monkeypatch, prefix, REST, {3}, limits, copies=copies)
    assert [d.ids for d in lean] == [d.ids for d in hub]
    for one, other in zip(lean, hub, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_autocast_is_followed(model) -> None:
    ids = torch.tensor([PREFIX])
    seen, positions = torch.ones_like(ids, dtype=torch.bool), torch.arange(len(PREFIX))[None]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        lean = LeanMemory.of(model, room=8)
        hub = ModelMemory(model, DynamicCache(config=model.config))
        found, expected = (memory.read(ids, seen, positions) for memory in (lean, hub))
    assert lean.keys.dtype == torch.bfloat16 and found.dtype == torch.float32
    exact = LeanMemory.of(model, room=8).read(ids, seen, positions)
    assert (found - expected).abs().max() <= (exact - expected).abs().max()


def test_rows_of_padding_alone_do_no_harm(model) -> None:
    ids = torch.tensor([[0, 0, 0, 4], [1, 2, 3, 4]])
    seen = torch.tensor([[False, False, False, True], [True] * 4])
    positions = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])
    logits = LeanMemory.of(model, rows=2, room=4).read(ids, seen, positions)
    assert torch.isfinite(logits).all()
    alone = LeanMemory.of(model, rows=1, room=1).read(ids[:1, 3:], seen[:1, 3:], positions[:1, 3:])
    torch.testing.assert_close(logits[:1], alone, atol=1e-4, rtol=1e-4)


def test_weights_are_those_of_the_moment(model) -> None:
    before = decode(model, Prefix.read(model, PREFIX), REST, set(), [6] * 5)
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            weight.mul_(0.5)
    assert [d.logprobs for d in decode(model, Prefix.read(model, PREFIX), REST, set(), [6] * 5)] != [
        d.logprobs for d in before
    ]


def test_adapters_and_listeners_are_left_to_transformers(model) -> None:
    assert fast_decode.fits(model)
    prepared = Prepared(model, Finetuning(method="lora", max_steps=1))
    assert not fast_decode.fits(model)
    prepared.restore()
    assert fast_decode.fits(model)
    handle = model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda module, inputs: None)
    assert not fast_decode.fits(model)
    handle.remove()
    model.model.layers[0].self_attn.q_proj.bias = torch.nn.Parameter(torch.zeros(1))
    assert not fast_decode.fits(model)


def test_what_is_no_llama_is_left_to_transformers() -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=1)
    other = Qwen2ForCausalLM(config).eval()
    assert not fast_decode.fits(other) and not fast_decode.fits(torch.nn.Linear(2, 2))
    prefix = Prefix.read(other, [5, 6])
    assert isinstance(prefix.memory, ModelMemory)
    assert len(decode(other, prefix, [[7], [8, 9]], set(), [3, 2])[0].ids) == 3
