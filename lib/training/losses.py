"""How far a student's distribution of the next token is from its assistant's: the losses of a distillation.

All compare logits (tokens, vocabulary) in fp32, softened by a temperature (Hinton, Vinyals & Dean, arXiv 1503.02531,
section 2: the loss is multiplied by its square, so that gradients keep their size), over the assistant's ``top_k``
likeliest tokens and one more class, "any other token", which holds both sides' mass outside of them:

- forward, KL(assistant || student): the student has to cover all that the assistant finds likely. With top-k it is
  the first term of STAR's constrained distillation (arXiv 2602.03022), which drops the other tokens instead; the
  additional class keeps the sum a divergence, and keeps mass from leaking out of the top-k unseen;
- reverse, KL(student || assistant): the student has to avoid what the assistant finds unlikely (Gu et al., *MiniLLM*,
  arXiv 2306.08543, section 2.1);
- jsd: the Jensen-Shannon divergence, the mean of both sides' divergence from their mixture (Agarwal et al., arXiv
  2306.13649, section 2, with beta 0.5).

>>> assistant, student = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[0.0, 0.0, 0.0]])
>>> round(loss(assistant, student, "forward", top_k=3).item(), 3)
0.658
>>> loss(assistant, assistant, "reverse", top_k=1).item()
0.0
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KINDS = ("forward", "reverse", "jsd")


def loss(assistant: Tensor, student: Tensor, kind: str = "forward", top_k: int = 0, temperature: float = 1.0) -> Tensor:
    """The loss of each token, (tokens,) in nats, from logits (tokens, vocabulary). Raises KeyError for another kind."""
    kinds = {"forward": forward, "reverse": reverse, "jsd": jsd}
    return temperature**2 * kinds[kind](*classes(assistant, student, top_k, temperature))


def classes(assistant: Tensor, student: Tensor, top_k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the assistant's ``top_k`` tokens and of all others as one class, (tokens, top_k + 1).

    From logits (tokens, vocabulary); 0, or as many as the vocabulary has: all tokens, and no further class.
    """
    both = [(logits / temperature).log_softmax(-1) for logits in (assistant, student)]
    if not 0 < top_k < both[0].shape[-1]:
        return both[0], both[1]
    top = both[0].topk(top_k, dim=-1).indices
    return _gathered(both[0], top), _gathered(both[1], top)


def _gathered(logprobs: Tensor, top: Tensor) -> Tensor:
    others = logprobs.scatter(-1, top, float("-inf")).logsumexp(-1, keepdim=True)
    return torch.cat([logprobs.gather(-1, top), others], dim=-1)


def forward(assistant: Tensor, student: Tensor) -> Tensor:
    """KL(assistant || student) in nats, (tokens,), of log-probabilities (tokens, classes)."""
    return (assistant.exp() * (assistant - student)).sum(-1)


def reverse(assistant: Tensor, student: Tensor) -> Tensor:
    """KL(student || assistant), as ``forward``."""
    return forward(student, assistant)


def jsd(assistant: Tensor, student: Tensor) -> Tensor:
    """The Jensen-Shannon divergence, as ``forward``."""
    mixture = torch.logaddexp(assistant, student) - math.log(2)
    return 0.5 * (forward(assistant, mixture) + forward(student, mixture))
