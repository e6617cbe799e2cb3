"""How far a student's distribution of the next token is from its assistant's: the losses of a distillation.

All of them compare logits (tokens, vocabulary) in fp32, softened by a temperature (Hinton, Vinyals & Dean, arXiv
1503.02531, section 2: the loss is multiplied by its square, so that gradients keep their size), over the assistant's
``top_k`` likeliest tokens and one more class, "any other token", which holds both sides' mass outside of them:

- forward, KL(assistant || student): the student has to cover all that the assistant finds likely. With top-k it is
  the first term of STAR's constrained distillation (arXiv 2602.03022), which drops the other tokens instead; the
  additional class keeps the sum a divergence, and keeps mass from leaking out of the top-k unseen;
- reverse, KL(student || assistant): the student has to avoid what the assistant finds unlikely (Gu et al., *MiniLLM*,
  arXiv 2306.08543, section 2.1);
- jsd: the generalised Jensen-Shannon divergence between the two (Agarwal et al., arXiv 2306.13649, section 2).

``tail_mass`` is the other term of STAR's constrained distillation: it punishes what only the student finds likely.

>>> assistant, student = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[0.0, 0.0, 0.0]])
>>> round(forward(*shares(assistant, student, top_k=3)).item(), 3)
0.658
>>> forward(*shares(assistant, assistant, top_k=1)).item()
0.0
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

TAIL = 100
"""How many of the likeliest tokens ``tail_mass`` compares."""

KINDS = ("forward", "reverse", "jsd")


def shares(assistant: Tensor, student: Tensor, top_k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the assistant's ``top_k`` tokens and of all others as one class, (tokens, top_k + 1).

    From logits (tokens, vocabulary), the assistant's first; 0, or as many as the vocabulary has: all tokens, and no
    further class.
    """
    known, learnt = ((logits / temperature).log_softmax(-1) for logits in (assistant, student))
    if not 0 < top_k < known.shape[-1]:
        return known, learnt
    top = known.topk(top_k, dim=-1).indices
    return _gathered(known, top), _gathered(learnt, top)


def _gathered(logprobs: Tensor, top: Tensor) -> Tensor:
    others = logprobs.scatter(-1, top, float("-inf")).logsumexp(-1, keepdim=True)
    return torch.cat([logprobs.gather(-1, top), others], dim=-1)


def forward(assistant: Tensor, student: Tensor) -> Tensor:
    """KL(assistant || student) in nats, (tokens,), of log-probabilities (tokens, classes)."""
    return (assistant.exp() * (assistant - student)).sum(-1)


def reverse(assistant: Tensor, student: Tensor) -> Tensor:
    """KL(student || assistant), as ``forward``."""
    return forward(student, assistant)


def jsd(assistant: Tensor, student: Tensor, beta: float = 0.5) -> Tensor:
    """beta KL(assistant || m) + (1 - beta) KL(student || m) with m = beta assistant + (1 - beta) student.

    ``beta`` in (0, 1): near 0 its gradient is that of ``forward``, near 1 that of ``reverse`` (up to a factor).
    """
    weights = torch.tensor([beta, 1 - beta], device=student.device).log()
    mixed = torch.logaddexp(assistant + weights[0], student + weights[1])
    return beta * forward(assistant, mixed) + (1 - beta) * forward(student, mixed)


def tail_mass(assistant: Tensor, student: Tensor, top: int = TAIL) -> Tensor:
    """The probability, (tokens,), of those of the student's ``top`` tokens that are not among the assistant's.

    From logits (tokens, vocabulary); gradients go to the student.
    """
    top = min(top, student.shape[-1])
    probabilities, own = student.softmax(-1).topk(top, dim=-1)
    foreign = torch.ones_like(student, dtype=torch.bool).scatter(-1, assistant.topk(top, dim=-1).indices, False)
    return (probabilities * foreign.gather(-1, own)).sum(-1)


def loss(
    assistant: Tensor,
    student: Tensor,
    kind: str = "forward",
    top_k: int = 0,
    temperature: float = 1.0,
    beta: float = 0.5,
    tail_weight: float = 0.0,
) -> Tensor:
    """The loss of each token, (tokens,), from logits (tokens, vocabulary): ``kind`` of KINDS, plus the tail's penalty.

    Raises KeyError for another kind.
    """
    kinds: dict[str, Callable[[Tensor, Tensor], Tensor]] = dict(
        zip(KINDS, (forward, reverse, partial(jsd, beta=beta)), strict=True)
    )
    total = temperature**2 * kinds[kind](*shares(assistant, student, top_k, temperature))
    return total + tail_weight * tail_mass(assistant, student) if tail_weight else total
