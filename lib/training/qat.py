"""Training with the weights that a 4-bit file will hold: the loss is of the rounded weights, the step of exact ones.

Quantisation-aware training with the straight-through estimator (Bengio et al., arXiv 1308.3432; Jacob et al., arXiv
1712.05877, section 3): forward and backward passes see every weight on the nearest of its block's 16 levels, the
optimiser moves the weight behind it. Blocks are those of llama.cpp's q4_0: 32 neighbours along a row, one scale, the
largest of them on level -8. Rounded weights are a fixed point of that format, so that a file (lib/model/gguf_kinds.py) holds
exactly what was trained.

>>> rounded(Tensor([[-8.0, 3.2, 7.6] + [0.0] * 29]))[0, :3].tolist()
[-8.0, 3.0, 7.0]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

KINDS = ("", "q4_0", "q4_0 with embedding")
"""Nothing; the matrices of all layers; these and the word table."""
BLOCK = 32
_HELD = "_rounded_as"


def rounded(weight: Tensor) -> Tensor:
    """``weight`` (rows, columns) as q4_0 holds it; columns are a multiple of 32. fp32 in, fp32 out."""
    blocks = weight.reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = (largest / -8).half().float()
    levels = (blocks / scale).nan_to_num(0.0, 0.0, 0.0).round().clamp(-8, 7)
    return (levels * scale).view_as(weight)


def install(model: Any, kind: str) -> None:
    """Makes ``applied`` and ``finish`` round ``model`` as one of KINDS says. Raises ValueError for odd widths."""
    model.__dict__[_HELD] = kind
    if odd := [w.shape[1] for w in _weights(model) if w.shape[1] % BLOCK]:
        raise ValueError(f"rounded: a matrix of {odd[0]} columns; q4_0 needs multiples of {BLOCK}: set channels")


@contextmanager
def applied(model: Any) -> Iterator[None]:
    """Within it the weights are rounded; afterwards they are exact again, gradients stay."""
    weights = _weights(model)
    exact = [weight.detach().clone() for weight in weights]
    _round(weights)
    try:
        yield
    finally:
        for weight, value in zip(weights, exact, strict=True):
            weight.data.copy_(value)


class RoundedSteps:
    """For a transformers Trainer to inherit first: its training steps are taken with the rounded weights."""

    model: Any

    def training_step(self, *arguments: Any, **more: Any) -> Any:
        with applied(self.model):
            return super().training_step(*arguments, **more)  # type: ignore[misc]


def finish(model: Any) -> None:
    """Rounds for good and takes ``install`` back."""
    _round(_weights(model))
    model.__dict__.pop(_HELD, None)


def _round(weights: list[Tensor]) -> None:
    for weight in weights:
        weight.data.copy_(rounded(weight.data))


def _weights(model: Any) -> list[Tensor]:
    kind = model.__dict__.get(_HELD, "")
    if not kind:
        return []
    words = [model.model.embed_tokens] if kind.endswith("embedding") else []
    return [m.weight for m in [*model.model.layers.modules(), *words] if isinstance(m, nn.Linear | nn.Embedding)]
