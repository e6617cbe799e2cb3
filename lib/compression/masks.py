"""Switching parts of a student on and off, and the odds of it: masks, their probabilities and the gradient of these.

A part is a layer, a block of feed-forward channels or a group of heads that share keys and values. ``Parts`` holds one
number for each. A mask acts by hooks while it lasts; no weight changes, and the masked student computes what the
student cut to the same parts does (lib/compression/prune.py).

Each part is on with a probability of its own, the sigmoid of its logit; an infinite logit decides it for good. The
gradient of an expected reward is estimated as in REINFORCE (Williams, *Machine Learning* 8, 1992), each
mask's baseline being the mean reward of the others drawn with it (Kool, van Hoof & Welling, *Buy 4 REINFORCE samples,
get a baseline for free*, 2019).

>>> odds = project(torch.tensor([2.0, 0.0, -2.0], dtype=torch.float64), 1.5).sigmoid()
>>> [round(p, 3) for p in odds.tolist()]
[0.881, 0.5, 0.119]
>>> [round(a, 3) for a in advantages(torch.tensor([1.0, 0.0, 0.0, 0.0])).tolist()]
[2.0, -0.667, -0.667, -0.667]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lib.compression.prune import Importance

Parts = dict[str, Tensor]
"""``layers``: (depth,), ``channels``: (depth, blocks), ``groups``: (depth, key-value heads)."""

BISECTIONS = 80
SPAN = 40.0
"""Logits this far apart differ in nothing that a sum over parts would show."""


class Layout:
    """Feed-forward channels in blocks of ``block``, the most important first; the last one may be smaller."""

    def __init__(self, importance: Importance, block: int) -> None:
        self.order = importance.channels.argsort(dim=-1, descending=True, stable=True)
        self.block, self.count = block, self.order.shape[1]
        starts = torch.arange(0, self.count, block)
        self.sizes = (self.count - starts).clamp(max=block).double()

    def blocks(self, channels: Tensor) -> Tensor:
        """The mean of (depth, channels) over each block, (depth, blocks)."""
        parts = channels.gather(1, self.order).double().split(self.block, dim=1)
        return torch.stack([part.mean(1) for part in parts], dim=1)

    def channels(self, blocks: Tensor) -> Tensor:
        """What holds for each block, (depth, blocks), for each of its channels, (depth, channels)."""
        wide = blocks.repeat_interleave(self.block, dim=1)[:, : self.count]
        return torch.empty_like(wide).scatter_(1, self.order, wide)


@contextmanager
def masked(model: Any, kept: Mapping[str, Tensor], layout: Layout) -> Iterator[None]:
    """Inside, the parts of ``model`` that ``kept`` (bool) leaves out do nothing; a layer that is off costs nothing."""
    channels = layout.channels(kept["channels"]).to(model.device)
    heads = kept["groups"].repeat_interleave(_group_width(model), dim=1).to(model.device)
    handles = []
    try:
        for i, layer in enumerate(model.model.layers):
            if not kept["layers"][i]:
                layer.forward = _unchanged
                continue
            for module, on in ((layer.mlp.down_proj, channels[i]), (layer.self_attn.o_proj, heads[i])):
                if not on.all():
                    handles.append(module.register_forward_pre_hook(_only(on)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer in model.model.layers:
            layer.__dict__.pop("forward", None)


def _group_width(model: Any) -> int:
    """Inputs of the output projection that belong to one group of heads."""
    return int(model.model.layers[0].self_attn.o_proj.in_features // model.config.num_key_value_heads)


def _unchanged(hidden: Tensor, *rest: Any, **more: Any) -> Tensor:
    return hidden


def _only(on: Tensor) -> Callable[[Any, Any], tuple[Tensor]]:
    return lambda module, inputs: (inputs[0] * on,)


def project(logits: Tensor, budget: float, sizes: Tensor | None = None) -> Tensor:
    """Logits (..., parts) moved by one number a row, so that the expected size of what is on is ``budget``.

    Of all independent odds with that expectation these are the nearest to the given ones in KL(new || old), where all
    parts have one size. Infinite logits stay, and count. ``sizes``: (parts,), 1 each by default.
    """
    sizes = torch.ones(logits.shape[-1], dtype=logits.dtype) if sizes is None else sizes.to(logits.dtype)
    free = logits[logits.isfinite()]
    if not len(free):
        return logits
    low = torch.full((*logits.shape[:-1], 1), float(free.min()) - SPAN, dtype=logits.dtype)
    high = torch.full_like(low, float(free.max()) + SPAN)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        over = ((logits - middle).sigmoid() * sizes).sum(-1, keepdim=True) > budget
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return logits - (low + high) / 2


def draw(logits: Mapping[str, Tensor], samples: int, seed: int) -> Parts:
    """``samples`` masks, (samples, ...) and bool; equal seeds draw equally."""
    generator = torch.Generator().manual_seed(seed)
    odds = {name: value.sigmoid().expand(samples, *value.shape) for name, value in sorted(logits.items())}
    return {name: torch.rand(p.shape, generator=generator, dtype=p.dtype) < p for name, p in odds.items()}


def advantages(rewards: Tensor) -> Tensor:
    """How much better each reward, (samples,), is than the mean of the others, in units of their spread."""
    spread = rewards.std()
    if len(rewards) < 2 or not spread > 1e-12:
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) * len(rewards) / (len(rewards) - 1) / spread


def gradient(logits: Mapping[str, Tensor], kept: Mapping[str, Tensor], better: Tensor) -> Parts:
    """The estimated gradient of the expected reward by the logits, from masks ``kept`` and their ``advantages``.

    Unbiased up to the positive factor that the advantages were divided by. Channels and groups of a layer that was off
    had no part in a reward, so such masks are left out of their sum, which takes noise away and nothing else.
    """
    found = {}
    alive = kept["layers"].double()[:, :, None]
    for name, value in logits.items():
        score = kept[name].double() - value.sigmoid()
        score = score if name == "layers" else score * alive
        found[name] = torch.tensordot(better.double(), score, dims=1) / len(better)
    return found


def entropy(logits: Mapping[str, Tensor]) -> float:
    """How open the choice still is: nats a part, 0 to 0.69, over the parts that are not decided for good."""
    free = torch.cat([value[value.isfinite()].flatten() for value in logits.values()]).sigmoid()
    return float((torch.special.entr(free) + torch.special.entr(1 - free)).mean()) if len(free) else 0.0
