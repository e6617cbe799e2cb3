"""How far a student's distribution of the next token is from its assistant's: the losses of a distillation.

Both compare logits (tokens, vocabulary) in fp32 over the assistant's ``top_k`` likeliest tokens and one more class,
"any other token", which holds both sides' mass outside of them:

- forward, KL(assistant || student): the student has to cover all that the assistant finds likely. With top-k it is
  the first term of STAR's constrained distillation (arXiv 2602.03022), which drops the other tokens instead; the
  additional class keeps the sum a divergence, and keeps mass from leaking out of the top-k unseen;
- reverse, KL(student || assistant): the student has to avoid what the assistant finds unlikely (Gu et al., *MiniLLM*,
  arXiv 2306.08543, section 2.1).

>>> assistant, student = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[0.0, 0.0, 0.0]])
>>> round(loss(assistant, student, "forward", top_k=3).item(), 3), loss(assistant, assistant, top_k=1).item()
(0.658, 0.0)
"""

from __future__ import annotations

import torch
from torch import Tensor

KINDS = ("forward", "reverse")


def loss(assistant: Tensor, student: Tensor, kind: str = "forward", top_k: int = 0) -> Tensor:
    """The divergence of each token, (tokens,) in nats, from logits (tokens, vocabulary)."""
    both = classes(assistant, student, top_k)
    return forward(*(both if kind == "forward" else both[::-1]))


def classes(assistant: Tensor, student: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the assistant's ``top_k`` tokens and of all others as one class, (tokens, top_k + 1).

    From logits (tokens, vocabulary); 0, or as many as the vocabulary has: all tokens, and no further class.
    """
    both = assistant.log_softmax(-1), student.log_softmax(-1)
    if not 0 < top_k < assistant.shape[-1]:
        return both
    top = both[0].topk(top_k, dim=-1).indices
    others = [logprobs.scatter(-1, top, float("-inf")).logsumexp(-1, keepdim=True) for logprobs in both]
    found = [torch.cat([logprobs.gather(-1, top), rest], -1) for logprobs, rest in zip(both, others, strict=True)]
    return found[0], found[1]


def forward(assistant: Tensor, student: Tensor) -> Tensor:
    """KL(assistant || student) in nats, (tokens,), of log-probabilities (tokens, classes)."""
    return (assistant.exp() * (assistant - student)).sum(-1)
