"""Quantisation-aware training: the loss is that of the quantised weights, the optimiser moves the exact ones.

With the straight-through estimator (Bengio et al., arXiv 1308.3432; Jacob et al., arXiv 1712.05877, section 3):
forward and backward pass see every weight on the nearest of its block's 16 levels. Blocks are those of llama.cpp's
q4_0: 32 neighbours along a row, one scale, the largest of them on level -8. Quantised weights are a fixed point of that
format, so a file (lib/model/gguf_kinds.py) holds exactly what was trained.

>>> quantised(Tensor([[-8.0, 3.2, 7.6] + [0.0] * 29]))[0, :3].tolist()
[-8.0, 3.0, 7.0]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

BLOCK = 32


def quantised(weight: Tensor) -> Tensor:
    """``weight`` (rows, columns) as q4_0 holds it; columns are a multiple of 32. fp32 in, fp32 out."""
    blocks = weight.reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = (largest / -8).half().float()
    levels = (blocks / scale).nan_to_num(0.0, 0.0, 0.0).round().clamp(-8, 7)
    return (levels * scale).view_as(weight)


class Quantiser:
    """Quantises a Llama's matrices as ``kind`` says: "" none, "q4_0" those of its layers, or these "with embedding"."""

    def __init__(self, model: Any, kind: str) -> None:
        """Raises ValueError for a matrix that q4_0 cannot hold."""
        modules = [*model.model.layers.modules()] if kind else []
        modules += [model.model.embed_tokens] if kind.endswith("embedding") else []
        self.weights = [m.weight for m in modules if isinstance(m, nn.Linear | nn.Embedding)]
        if odd := [w.shape[1] for w in self.weights if w.shape[1] % BLOCK]:
            raise ValueError(f"qat: a matrix of {odd[0]} columns; q4_0 needs multiples of {BLOCK}: set ffn_width")

    def quantise(self) -> None:
        """Quantises for good."""
        for weight in self.weights:
            weight.data.copy_(quantised(weight.data))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the weights are quantised; afterwards they are exact again, and gradients stay."""
        exact = [weight.detach().clone() for weight in self.weights]
        self.quantise()
        try:
            yield
        finally:
            for weight, value in zip(self.weights, exact, strict=True):
                weight.data.copy_(value)
