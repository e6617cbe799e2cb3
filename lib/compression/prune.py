"""Structural pruning of a student: fewer layers, fewer feed-forward channels, fewer attention heads.

What is kept is chosen by how it behaves on requests of the task (``Importance``), one forward pass over each:

- a layer by *block influence*, one minus the cosine between what enters and what leaves it (Men et al., *ShortGPT*,
  arXiv 2403.03853, section 3.1);
- a feed-forward channel by the mean size of its activation, the input of the down projection, times the norm of the
  weights that read it (Muralidharan et al., *Minitron*, arXiv 2407.14679, section 2.2; the norm as in Wanda, Sun et
  al., arXiv 2306.11695, section 3);
- a group of heads that share keys and values by the same measure at the input of the output projection.

All layers keep the same number of channels and groups, because the file formats want one number. Minitron's advice is
to cut at most a third at a time and to distil after each cut; ``lib.training.distill`` does that.

>>> small = prune(student, measure(student, task, examples), layers=20, channels=1024, groups=2)   # doctest: +SKIP
>>> small.model.num_parameters() < student.model.num_parameters()                                  # doctest: +SKIP
True
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from lib.core.task import Example, Task
from lib.model.codec import Codec
from lib.model.student import Student


class PruneError(ValueError):
    """A shape that the student cannot be cut to; the message names the parameter and what is possible."""


@dataclass(frozen=True)
class Importance:
    """``layers``: (depth,), ``channels``: (depth, intermediate), ``groups``: (depth, key-value heads)."""

    layers: Tensor
    channels: Tensor
    groups: Tensor


class _Sums:
    """Running sums over tokens of what the hooks see, kept where the model is so that no hook waits for it."""

    def __init__(self, config: LlamaConfig, device: torch.device) -> None:
        depth, self.kv = config.num_hidden_layers, config.num_key_value_heads
        self.influence = torch.zeros(depth, device=device)
        self.channels = torch.zeros(depth, config.intermediate_size, device=device)
        self.heads = torch.zeros(depth, config.num_attention_heads * _head_size(config), device=device)
        self.tokens = 0

    def layer(self, i: int) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            before, after = inputs[0][0].float(), (output[0] if isinstance(output, tuple) else output)[0].float()
            self.influence[i] += (1 - torch.cosine_similarity(before, after, dim=-1)).sum()

        return hook

    def input_of(self, sums: Tensor, i: int) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            sums[i] += inputs[0][0].float().abs().sum(0)

        return hook


@contextmanager
def _watched(model: LlamaForCausalLM, sums: _Sums) -> Iterator[None]:
    handles = []
    for i, layer in enumerate(model.model.layers):
        handles.append(layer.register_forward_hook(sums.layer(i)))
        handles.append(layer.mlp.down_proj.register_forward_pre_hook(sums.input_of(sums.channels, i)))
        handles.append(layer.self_attn.o_proj.register_forward_pre_hook(sums.input_of(sums.heads, i)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def measure(student: Student, task: Task, examples: Sequence[Example]) -> Importance:
    """The importance of every part on resolved ``examples`` and their first gold answers.

    The student is moved to the GPU if there is one. Raises PruneError for no examples, or one without an answer.
    """
    if not examples:
        raise PruneError("no examples to measure importance on: give some accepted requests")
    if unanswered := next((e.id for e in examples if not e.gold), ""):
        raise PruneError(f"example '{unanswered}' has no accepted answer to measure importance on: leave it out")
    model, codec = student.model.eval(), Codec(task, student.vocabulary)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    sums = _Sums(model.config, model.device)
    with _watched(model, sums):
        for example in tqdm(examples, desc="importance", disable=None):
            prompt = codec.prompt(example.context, example.text)
            ids = [*prompt.ids, *codec.target(example, prompt.refs)]
            model.model(torch.tensor([ids], device=model.device), use_cache=False)
            sums.tokens += len(ids)
    return _importance(model, sums)


def _importance(model: LlamaForCausalLM, sums: _Sums) -> Importance:
    def read_by(name: str, part: str) -> Tensor:
        weights = [getattr(getattr(layer, part), name).weight.float().norm(dim=0).cpu() for layer in model.model.layers]
        return torch.stack(weights)

    channels = sums.channels.cpu() / sums.tokens * read_by("down_proj", "mlp")
    heads = sums.heads.cpu() / sums.tokens * read_by("o_proj", "self_attn")
    return Importance(sums.influence.cpu() / sums.tokens, channels, heads.unflatten(1, (sums.kv, -1)).sum(-1))


def prune(student: Student, importance: Importance, layers: int = 0, channels: int = 0, groups: int = 0) -> Student:
    """A smaller copy that keeps the most important ``layers``, ``channels`` and key-value ``groups``; 0 keeps all.

    The first and the last layer always stay. Raises PruneError for a number that is more than there are.
    """
    config = student.model.config
    wanted, there = sizes_of(config, layers, channels, groups), sizes_of(config)
    kept = _layers(importance.layers, wanted[0])
    cuts = [(_best(importance.channels[i], wanted[1]), _best(importance.groups[i], wanted[2])) for i in kept]
    model = _smaller(student.model, wanted, kept, cuts)
    info = {**student.info, "layers": [student.info["layers"][i] for i in kept]}
    info["pruned"] = {"layers": wanted[0], "channels": wanted[1], "groups": wanted[2], "of": list(there)}
    return Student(model, student.vocabulary, info)


def sizes_of(config: Any, layers: int = 0, channels: int = 0, groups: int = 0) -> tuple[int, int, int]:
    """Layers, channels and groups of a student of ``config`` cut to these; 0 is all. Raises PruneError."""
    there = (config.num_hidden_layers, config.intermediate_size, int(config.num_key_value_heads or 1))
    for name, asked, has in zip(("layers", "channels", "groups"), (layers, channels, groups), there, strict=True):
        if not 0 <= asked <= has:
            raise PruneError(f"{name}: {asked} of {has}: use 1 to {has}, or 0 for all")
    return layers or there[0], channels or there[1], groups or there[2]


def parameters(config: Any, layers: int, channels: int, groups: int) -> int:
    """How many weights a student of ``config`` has with so many layers, channels and groups; a tied embedding once."""
    hidden, size = config.hidden_size, _head_size(config)
    heads = groups * (config.num_attention_heads // int(config.num_key_value_heads or 1))
    attention, feed_forward, norms = 2 * hidden * size * (heads + groups), 3 * hidden * channels, 2 * hidden
    words = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    return layers * (attention + feed_forward + norms) + words + hidden


def _layers(influence: Tensor, count: int) -> list[int]:
    """The first, the last, and between them those of most influence."""
    score = influence.clone()
    score[[0, -1]] = torch.inf
    return _best(score, count).tolist()


def _best(score: Tensor, count: int) -> Tensor:
    return score.topk(count).indices.sort().values


def _smaller(
    model: LlamaForCausalLM, wanted: Sequence[int], kept: Sequence[int], cuts: Sequence[tuple[Tensor, Tensor]]
) -> LlamaForCausalLM:
    config, size = model.config, _head_size(model.config)
    queries = config.num_attention_heads // int(config.num_key_value_heads or 1)
    shape = {"num_hidden_layers": wanted[0], "intermediate_size": wanted[1], "num_key_value_heads": wanted[2]}
    shape |= {"num_attention_heads": wanted[2] * queries, "head_dim": size}
    small = LlamaForCausalLM(LlamaConfig.from_dict({**config.to_dict(), **shape}))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("model.layers.")}
    for new, (old, (channels, groups)) in enumerate(zip(kept, cuts, strict=True)):
        layer = model.model.layers[old].state_dict()
        state |= {f"model.layers.{new}.{k}": v for k, v in _cut(layer, channels, groups, queries, size).items()}
    small.load_state_dict(state)
    small.generation_config = model.generation_config
    return small.eval()


def _cut(layer: dict[str, Tensor], channels: Tensor, groups: Tensor, queries: int, size: int) -> dict[str, Tensor]:
    """A layer's weights with these channels and groups of heads alone."""
    pairs = (groups[:, None] * size + torch.arange(size)).flatten()
    heads = (groups[:, None] * queries * size + torch.arange(queries * size)).flatten()
    rows = {"q_proj": heads, "k_proj": pairs, "v_proj": pairs, "gate_proj": channels, "up_proj": channels}
    columns = {"o_proj": heads, "down_proj": channels}
    found = {}
    for name, weight in layer.items():
        part = name.split(".")[-2]
        weight = weight[rows[part].to(weight.device)] if part in rows else weight
        found[name] = (weight[:, columns[part].to(weight.device)] if part in columns else weight).clone()
    return found


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
