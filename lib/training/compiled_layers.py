"""Compiled layers for training: torch.compile joins what a layer does to every token, flex attention skips blocks.

A row of lib/training/packing.py holds several requests that do not see each other, so most blocks of 128 by 128 of its attention
are empty; flex attention (Dong et al., *Flex Attention*, arXiv 2412.05496) leaves these out. Only training runs
compiled: decoding has too many shapes, and each would be compiled for itself.

>>> install(model, "layers")                                                            # doctest: +SKIP
>>> with compiled(model):                                                               # doctest: +SKIP
...     model(ids, attention_mask=mask)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface

KINDS = ("", "layers", "flex")
ALIKE = 256
"""What the width of a batch is a multiple of for compiled layers."""
FLEX = "packed_flex"
"""The name of the attention in transformers."""
_HELD = "_compiled_layers"


def install(model: Any, kind: str) -> None:
    """Makes ``model`` run compiled in training; nothing is compiled before it is needed. ``kind``: one of KINDS."""
    if kind:
        model.__dict__[_HELD] = kind, [torch.compile(layer.forward) for layer in model.model.layers]


def remove(model: Any) -> None:
    """Takes ``install`` back."""
    model.__dict__.pop(_HELD, None)


@contextmanager
def compiled(model: Any) -> Iterator[None]:
    """Within it the layers run as ``install`` says."""
    kind, layers = model.__dict__.get(_HELD, ("", ()))
    attention, plain = (
        model.config._attn_implementation,
        [layer.__dict__.get("forward") for layer in model.model.layers],
    )
    try:
        for layer, forward in zip(model.model.layers, layers, strict=False):
            layer.forward = forward
        if kind == "flex":
            model.config._attn_implementation = FLEX
        yield
    finally:
        model.config._attn_implementation = attention
        for layer, forward in zip(model.model.layers, plain, strict=True):
            layer.__dict__.pop("forward", None)
            if forward is not None:
                layer.forward = forward


def readable_mask(model: Any, mask: Tensor, dtype: torch.dtype) -> Any:
    """A bool mask as the model's attention reads it: plain attention adds it to the scores, flex skips its blocks."""
    attention = model.config._attn_implementation
    if attention == FLEX:
        rows, _, width, _ = mask.shape
        return create_block_mask(lambda b, h, q, k: mask[b, 0, q, k], rows, None, width, width, mask.device)
    if attention != "eager":
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: BlockMask, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: (rows, heads, tokens, size) in, (rows, tokens, heads, size) out.

    Under autocast queries and keys come in fp32 from their rotation and values in bf16; all are read in that.
    """
    copies = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(copies, 1), value.repeat_interleave(copies, 1)
    found = flex_attention(query.to(value.dtype), key.to(value.dtype), value, block_mask=attention_mask, scale=scaling)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(FLEX, _attend)
