"""A student's forward pass for decoding alone: fewer and smaller operations than the one that training needs.

At every token transformers' pass copies the keys and values of all tokens before, and on a GPU its some sixty
operations a layer take longer to call than to run. Here keys and values are written into memory that is there, and
heads that share keys (Ainslie et al., *GQA*, arXiv 2305.13245) are rows of one product. Numbers are those of
transformers' pass, to rounding, in autocast's type if that is on when the memory is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaForCausalLM

# Without cuDNN's, which needs a plan for each new shape: a decoding has a new one at every token.
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def fits(model: Any) -> bool:
    """Whether ``model`` is a Llama of plain matrices: nothing added (biases, adapters), nothing listening (hooks)."""
    if type(model) is not LlamaForCausalLM or model.config.hidden_act != "silu":
        return False
    matrices = [matrix for layer in model.model.layers for matrix in _matrices(layer)]
    plain = all(type(m) is nn.Linear and m.bias is None for m in [*matrices, model.lm_head])
    return plain and not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def _matrices(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    inner = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    return [*inner, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


@dataclass
class LeanMemory:
    """``model``'s keys and values of what each row has read, (layers, rows, groups, room, size of a head).

    ``matrices``: of each layer, in ``kind``, the type that is computed in.
    """

    model: Any
    matrices: list[list[Tensor]]
    embedding: Tensor
    kind: torch.dtype
    keys: Tensor
    values: Tensor
    length: int = 0

    @classmethod
    def of(cls, model: Any, rows: int = 1, room: int = 0) -> LeanMemory:
        """Empty, with ``room`` for so many tokens, computing in autocast's type if that is on."""
        device, config = model.device, model.config
        kind = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else model.dtype
        matrices = [[matrix.weight.to(kind) for matrix in _matrices(layer)] for layer in model.model.layers]
        shape = len(matrices), rows, config.num_key_value_heads, room, config.head_dim
        keys, values = (torch.empty(shape, dtype=kind, device=device) for _ in "kv")
        return cls(model, matrices, model.lm_head.weight.to(kind), kind, keys, values)

    def expand(self, rows: int, room: int) -> LeanMemory:
        """For ``rows`` rows that each begin with what this one's only row has read, with ``room`` for more tokens."""
        layers, _, groups, _, size = self.keys.shape
        wide = [self.keys.new_empty(layers, rows, groups, self.length + room, size) for _ in "kv"]
        for new, old in zip(wide, (self.keys, self.values), strict=True):
            new[..., : self.length, :] = old[..., : self.length, :]
        return replace(self, keys=wide[0], values=wide[1])

    def repeat(self, copies: int) -> None:
        """Makes ``copies`` of every row, side by side."""
        self.keys, self.values = (t.repeat_interleave(copies, 1) for t in (self.keys, self.values))

    def select(self, rows: Tensor) -> None:
        """Keeps the rows with these indexes."""
        self.keys, self.values = (t.index_select(1, rows) for t in (self.keys, self.values))

    @torch.no_grad()
    def read(self, ids: Tensor, seen: Tensor, positions: Tensor) -> Tensor:
        """Reads tokens, (rows, new), behind what was read. Returns logits after the last, (rows, vocabulary) in fp32.

        ``seen``: which of all tokens, new ones included, count, bool (rows, tokens); ``positions``: (rows, new).
        """
        inner = self.model.model
        state = inner.embed_tokens(ids)
        with torch.autocast(ids.device.type, enabled=False):
            cos, sin = (factors[:, :, None] for factors in inner.rotary_emb(state, positions))
            half = sin.shape[-1] // 2  # a head is turned (RoPE) by adding itself with its halves exchanged
            turns = cos, torch.cat([-sin[..., :half], sin[..., half:]], -1)
            mask = _mask(seen, ids.shape[1], self.kind)
            for number, layer in enumerate(inner.layers):
                state = state + self._attend(number, self._norm(layer.input_layernorm, state), turns, mask)
                state = state + self._mlp(number, self._norm(layer.post_attention_layernorm, state))
            self.length += ids.shape[1]
            return F.linear(self._norm(inner.norm, state[:, -1]), self.embedding).float()

    def _norm(self, norm: Any, state: Tensor) -> Tensor:
        return F.rms_norm(state, norm.weight.shape, norm.weight, norm.variance_epsilon).to(self.kind)

    def _attend(self, number: int, state: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        query, key, value, out = self.matrices[number][:4]
        rows, new, _ = state.shape
        groups, size = self.keys.shape[2], self.keys.shape[4]
        heads = torch.cat([F.linear(state, query), F.linear(state, key)], -1).view(rows, new, -1, size)
        turned = torch.addcmul(heads * turns[0], heads.roll(size // 2, -1), turns[1]).to(self.kind).transpose(1, 2)
        end = self.length + new
        self.keys[number, :, :, self.length : end] = turned[:, -groups:]
        values = F.linear(state, value).view(rows, new, groups, -1).transpose(1, 2)
        self.values[number, :, :, self.length : end] = values
        known = self.keys[number, :, :, :end], self.values[number, :, :, :end]
        found = _one(turned[:, :-groups], *known, mask) if new == 1 else _many(turned[:, :-groups], *known, mask)
        return F.linear(found.transpose(1, 2).reshape(rows, new, -1), out)

    def _mlp(self, number: int, state: Tensor) -> Tensor:
        gate, up, down = self.matrices[number][4:]
        return F.linear(F.silu(F.linear(state, gate)) * F.linear(state, up), down)


def _mask(seen: Tensor, new: int, kind: torch.dtype) -> Tensor:
    """What is added to the scores, (rows, 1, new, tokens); a token sees itself even where it does not count."""
    tokens = seen.shape[1]
    at = torch.arange(tokens, device=seen.device)
    asking = at[tokens - new :, None]
    visible = (seen[:, None] & (at <= asking)) | (at == asking)
    return torch.zeros(visible.shape, dtype=kind, device=seen.device).masked_fill(~visible, -torch.inf)[:, None]


def _one(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of one new token, (rows, heads, 1, size): heads of a group are rows of one product."""
    rows, heads, _, size = query.shape
    grouped = query.view(rows, keys.shape[1], -1, size) * size**-0.5
    shares = (torch.matmul(grouped, keys.transpose(-1, -2)) + mask).softmax(-1, dtype=torch.float32)
    return torch.matmul(shares.to(values.dtype), values).view(rows, heads, 1, size)


def _many(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of several new tokens, (rows, heads, new, size)."""
    copies = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(copies, 1), values.repeat_interleave(copies, 1)
    with sdpa_kernel(BACKENDS):
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
