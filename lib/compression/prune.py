"""Structural pruning of a student: fewer layers, a narrower feed-forward network, fewer heads.

What stays is chosen by how it behaves on requests of the task, one forward pass over each (``Importance``):

- a layer by *block influence*, one minus the cosine between its input and output (Men et al., *ShortGPT*, arXiv
  2403.03853, section 3.1);
- a feed-forward unit by its absolute activations times the norm of the weights that read it (Muralidharan et al.,
  *Minitron*, arXiv 2407.14679, section 2.2; the norm as in Wanda, Sun et al., arXiv 2306.11695, section 3);
- a key-value head, with the query heads that share it, by the same measure at the input of the output projection.

All layers keep equally many, because llama.cpp wants one number, unless units are ``free``. Key-value heads can be
merged instead, so that more query heads share one: their keys and values become the mean (Ainslie et al., *GQA*, arXiv
2305.13245, section 2.1). *Cost-Optimal Grouped-Query Attention* (arXiv 2503.09579) compares such layouts.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from lib.core.params import ParamsError
from lib.core.task import Example, Task
from lib.model.codec import Codec
from lib.model.gguf_read import whole_blocks
from lib.model.student import Student


class Sizes(NamedTuple):
    """What can be cut; 0 keeps all, but that query heads (``heads``) go with their key-value heads."""

    layers: int = 0
    ffn_width: int = 0
    kv_heads: int = 0
    heads: int = 0

    @classmethod
    def of(cls, config: Any) -> Self:
        heads = config.num_key_value_heads, config.num_attention_heads
        return cls(config.num_hidden_layers, config.intermediate_size, *heads)

    def within(self, config: Any) -> Self:
        """These sizes with each 0 replaced by what a model has. Raises ParamsError for what it cannot be cut to."""
        there = self.of(config)
        for name, size, has in zip(self._fields, self, there, strict=True):
            if not 0 <= size <= has:
                raise ParamsError(f"{name}: {size} of {has}: use 1 to {has}, or 0 for all")
        queries, kv_heads = there.heads // there.kv_heads, self.kv_heads or there.kv_heads
        heads = self.heads or queries * kv_heads
        if heads % (queries * kv_heads):
            raise ParamsError(f"heads: {heads} with {kv_heads} kv_heads: use a multiple of {queries * kv_heads}, or 0")
        return type(self)(self.layers or there.layers, self.ffn_width or there.ffn_width, kv_heads, heads)

    def attention(self, config: Any) -> int:
        """The number of weights of a layer's attention."""
        heads = self.heads or self.kv_heads * (config.num_attention_heads // config.num_key_value_heads)
        return 2 * int(config.hidden_size * config.head_dim) * (heads + self.kv_heads)

    def parameters(self, config: Any) -> int:
        """The number of weights of a model of ``config`` with these sizes; a tied embedding counts once."""
        hidden = config.hidden_size
        attention, feed_forward = self.attention(config), 3 * hidden * self.ffn_width
        embeddings = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
        return self.layers * (attention + feed_forward + 2 * hidden) + embeddings + hidden


@dataclass(frozen=True)
class Importance:
    """``layers``: (layers,), ``ffn``: (layers, ffn_width), ``kv_heads``: (layers, kv_heads)."""

    layers: Tensor
    ffn: Tensor
    kv_heads: Tensor


@contextmanager
def _summed(model: LlamaForCausalLM, since: list[int]) -> Iterator[dict[str, Tensor]]:
    """Sums by layer: its influence, and the absolute inputs of its two output projections from token ``since`` on."""
    depth, first = model.config.num_hidden_layers, model.model.layers[0]
    sums = {name: torch.zeros(depth, m.in_features, device=model.device) for name, m in _projections(first).items()}
    sums["layers"] = torch.zeros(depth, device=model.device)
    with ExitStack() as stack:
        for i, layer in enumerate(model.model.layers):
            stack.callback(layer.register_forward_hook(partial(_influence, sums["layers"], i)).remove)
            for name, module in _projections(layer).items():
                stack.callback(module.register_forward_pre_hook(partial(_activation, sums[name], i, since)).remove)
        yield sums


def _projections(layer: Any) -> dict[str, Any]:
    return {"down_proj": layer.mlp.down_proj, "o_proj": layer.self_attn.o_proj}


def _influence(total: Tensor, i: int, module: Any, inputs: Any, output: Any) -> None:
    before, after = inputs[0][0].float(), (output[0] if isinstance(output, tuple) else output)[0].float()
    total[i] += (1 - torch.cosine_similarity(before, after, dim=-1)).sum()


def _activation(total: Tensor, i: int, since: list[int], module: Any, inputs: Any) -> None:
    total[i] += inputs[0][0, since[0] :].float().abs().sum(0)


@torch.no_grad()
def measure(student: Student, task: Task, examples: Sequence[Example], contexts: bool = True) -> Importance:
    """The importance of every part on resolved ``examples`` and their first gold answers.

    ``contexts``: whether the tokens before the request count for units and heads. The student is moved to the GPU if
    there is one. Raises ParamsError for no examples, or one without an answer.
    """
    if not examples:
        raise ParamsError("no examples to measure importance on: give some accepted requests")
    if unanswered := next((e.id for e in examples if not e.gold), ""):
        raise ParamsError(f"example '{unanswered}' has no accepted answer to measure importance on: leave it out")
    model, codec = student.model.eval(), Codec(task, student.vocabulary)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    since = [0]
    with _summed(model, since) as sums:
        for example in tqdm(examples, desc="importance", disable=None):
            prompt = codec.prompt(example.context, example.text)
            since[0] = 0 if contexts else len(prompt.prefix)
            ids = [*prompt.ids, *codec.target(example, prompt.refs)]
            model.model(torch.tensor([ids], device=model.device), use_cache=False)
    for i, layer in enumerate(model.model.layers):
        for name, module in _projections(layer).items():
            sums[name][i] *= module.weight.float().norm(dim=0)
    heads = sums["o_proj"].unflatten(1, (Sizes.of(model.config).kv_heads, -1)).sum(-1)
    return Importance(sums["layers"].cpu(), sums["down_proj"].cpu(), heads.cpu())


def prune(student: Student, importance: Importance, sizes: Sizes, free: bool = False) -> Student:
    """A smaller copy that keeps the most important parts; the first and the last layer always stay.

    ``free``: layers differ in width, ``ffn_width`` on average; those that have fewer units than the widest one have
    units of zeros, which stay zeros in training. Raises ParamsError for a number that is more than there are.
    """
    wanted = sizes.within(student.model.config)
    heads = student.model.config.num_attention_heads
    queries = heads // (student.model.config.num_key_value_heads or heads)
    layers = importance.layers.clone()
    layers[[0, -1]] = torch.inf
    kept: list[int] = _best(layers, wanted.layers).tolist()
    units = [_best(importance.ffn[i], wanted.ffn_width) for i in kept]
    if free:
        together = importance.ffn[kept]
        best = torch.zeros(together.numel()).index_fill_(0, _best(together.flatten(), len(kept) * wanted.ffn_width), 1)
        units = [row.nonzero()[:, 0] for row in best.view_as(together)]
    cuts = [(own, _best(importance.kv_heads[i], wanted.heads // queries)) for own, i in zip(units, kept, strict=True)]
    info = {**student.info, "layers": [student.info["layers"][i] for i in kept]}
    names = ("layers", "channels", "groups", "heads")  # as in released files
    info["pruned"] = {**dict(zip(names, wanted, strict=True)), "of": list(Sizes.of(student.model.config))}
    return Student(_smaller(student.model, wanted, kept, cuts), student.vocabulary, info)


def _best(score: Tensor, count: int) -> Tensor:
    return score.topk(count).indices.sort().values


def _smaller(
    model: LlamaForCausalLM, wanted: Sizes, kept: Sequence[int], cuts: Sequence[tuple[Tensor, Tensor]]
) -> LlamaForCausalLM:
    config: Any = model.config
    widths = {len(units) for units, _ in cuts}
    wide = max(widths) if len(widths) == 1 else whole_blocks(max(widths))
    shape = {"num_hidden_layers": wanted.layers, "intermediate_size": wide}
    shape |= {"num_key_value_heads": wanted.kv_heads, "num_attention_heads": wanted.heads}
    shape |= {"ffn_group": 1} if hasattr(config, "ffn_group") else {}
    small = LlamaForCausalLM(LlamaConfig.from_dict({**config.to_dict(), **shape}))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("model.layers.")}
    for new, (old, (units, groups)) in enumerate(zip(kept, cuts, strict=True)):
        layer = model.model.layers[old].state_dict()
        short = wide - len(units)
        state |= {f"model.layers.{new}.{k}": v for k, v in _cut(layer, units, groups, config, wanted, short).items()}
    small.load_state_dict(state)
    small.generation_config = model.generation_config
    return small.eval()


def _cut(
    layer: dict[str, Tensor], units: Tensor, groups: Tensor, config: Any, wanted: Sizes, short: int
) -> dict[str, Tensor]:
    """A layer's weights with these feed-forward units and ``short`` of zeros, and with these key-value heads alone."""
    size, queries = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    pairs = (groups[:, None] * size + torch.arange(size)).flatten()
    heads = (groups[:, None] * queries * size + torch.arange(queries * size)).flatten()
    rows = {"q_proj": heads, "k_proj": pairs, "v_proj": pairs, "gate_proj": units, "up_proj": units}
    columns = {"o_proj": heads, "down_proj": units}
    zeros = {"gate_proj": [0, 0, 0, short], "up_proj": [0, 0, 0, short], "down_proj": [0, short]}
    found = {}
    for name, weight in layer.items():
        part = name.split(".")[-2]
        kept = weight[rows.get(part, slice(None))]
        kept = kept[:, columns[part]] if part in columns and kept.ndim == 2 else kept
        if part in ("k_proj", "v_proj"):
            kept = kept.unflatten(0, (wanted.kv_heads, -1, size)).mean(1).flatten(0, 1)
        found[name] = F.pad(kept, zeros[part]) if part in zeros else kept.clone()
    return found
