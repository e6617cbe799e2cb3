"""Tuning without back-propagation: steps along random directions, of which only the slope of the loss is computed.

Zhang et al., *Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning* (arXiv 2402.11592), after
Malladi et al., *MeZO* (arXiv 2305.17333): a direction z, normally distributed, is drawn anew from its seed whenever it
is needed, and weights are changed in place, so that nothing of their size is kept but Adam's moments.

- zo-sgd: the slope is (L(w + e z) - L(w - e z)) / 2e; w moves by -rate * slope * z
- zo-sign: w moves by -rate * sign(slope) * z, as in the official code
- zo-adam: slope * z is the gradient of Adam (arXiv 1412.6980)
- forward: the exact slope, by forward-mode differentiation (Baydin et al., arXiv 2202.08587); a copy of the weights and
  plain attention are needed. w moves as with zo-sgd

Weights are moved in their own type, fp32: in bf16 a step of 1e-3 would be rounded away.

>>> weight = torch.ones(1000)
>>> shift([weight], 7, 1e-3), shift([weight], 7, -1e-3)
(None, None)
>>> bool((weight - 1).abs().max() < 1e-6)
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.optim import Optimizer

from lib.training.params import BACKWARD, Training
from lib.training.work import processes, summed

BETAS, TINY = (0.9, 0.99), 1e-8
SEEDS = 1_000_003  # of a training's steps, before those of the training with the next seed


def directions(weights: Sequence[Tensor], seed: int) -> Iterator[Tensor]:
    """Of each of the weights its part of the direction that ``seed`` names; one at a time is in memory."""
    source = {weight.device: torch.Generator(weight.device).manual_seed(seed) for weight in weights}
    for weight in weights:
        yield torch.randn(weight.shape, generator=source[weight.device], device=weight.device, dtype=weight.dtype)


@torch.no_grad()
def shift(weights: Sequence[Tensor], seed: int, size: float) -> None:
    """Adds ``size`` times the direction of ``seed``, in place."""
    for weight, direction in zip(weights, directions(weights, seed), strict=True):
        weight.add_(direction, alpha=size)


class ZerothOrder(Optimizer):
    """The optimiser of ``params.update`` for what is trained of ``model``; gradients are neither read nor made.

    ``look`` at each batch of a step, then ``step``. ``taken``: the seed of each step since it was emptied, and by how
    much of that direction the weights moved (but for zo-adam): enough to take the same steps elsewhere, by ``shift``.
    """

    def __init__(self, model: nn.Module, params: Training) -> None:
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        super().__init__(self.trained.values(), {"lr": params.learning_rate, "count": 0})
        self.loss, self.params, self.slope = _Loss(model), params, 0.0
        self.taken: list[tuple[int, float]] = []

    @property
    def seed(self) -> int:
        return self.params.seed * SEEDS + int(self.param_groups[0]["count"])

    @torch.no_grad()
    def look(self, loss: Callable[[], Tensor]) -> Tensor:
        """Adds the slope of a batch's ``loss`` along the step's direction to ``slope``; returns its loss."""
        if self.params.update == "forward":
            found, slope = self._forward(loss)
        else:
            found, slope = self._central(loss)
        self.slope += slope
        return found

    def _central(self, loss: Callable[[], Tensor]) -> tuple[Tensor, float]:
        weights, size = [*self.trained.values()], self.params.perturbation
        shift(weights, self.seed, size)
        above = loss()
        shift(weights, self.seed, -2 * size)
        below = loss()
        shift(weights, self.seed, size)
        return (above + below) / 2, float(above - below) / (2 * size)

    def _forward(self, loss: Callable[[], Tensor]) -> tuple[Tensor, float]:
        self.loss.of = loss
        tangents = directions([*self.trained.values()], self.seed)
        with forward_ad.dual_level():
            pairs = zip(self.trained.items(), tangents, strict=True)
            moving = {f"model.{name}": forward_ad.make_dual(weight.detach(), z) for (name, weight), z in pairs}
            found = forward_ad.unpack_dual(functional_call(self.loss, moving, ()))
            return found.primal.clone(), float(found.tangent)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        group, weights = self.param_groups[0], [*self.trained.values()]
        slope = summed({"slope": self.slope})["slope"] / processes()
        if self.params.update == "zo-adam":
            self._adam(weights, slope, group["lr"])
        else:
            size = (slope > 0) - (slope < 0) if self.params.update == "zo-sign" else slope
            shift(weights, self.seed, -group["lr"] * size)
            self.taken.append((self.seed, -group["lr"] * size))
        group["count"], self.slope = group["count"] + 1, 0.0

    def _adam(self, weights: Sequence[Tensor], slope: float, rate: float) -> None:
        number = self.param_groups[0]["count"] + 1
        for weight, direction in zip(weights, directions(weights, self.seed), strict=True):
            state, gradient = self.state[weight], direction.mul_(slope)
            mean = state.setdefault("mean", torch.zeros_like(weight)).lerp_(gradient, 1 - BETAS[0])
            square = state.setdefault("square", torch.zeros_like(weight)).lerp_(gradient.square_(), 1 - BETAS[1])
            spread = (square / (1 - BETAS[1] ** number)).sqrt_().add_(TINY)
            weight.addcdiv_(mean, spread, value=-rate / (1 - BETAS[0] ** number))


class _Loss(nn.Module):
    """The loss ``of`` a model as a module, for a call with other weights in the model's place."""

    of: Callable[[], Tensor]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Tensor:
        return self.of()


def optimiser(model: nn.Module, params: Training) -> ZerothOrder | None:
    """What takes the steps instead of back-propagation, if ``params`` say so."""
    return None if params.update == BACKWARD else ZerothOrder(model, params)
