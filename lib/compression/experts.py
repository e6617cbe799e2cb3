"""Experts out of a dense student, by what is asked: *Read-ME* (Cai et al., arXiv 2410.19123).

A domain is a tool that answers begin with; the rarest ones, and no call at all, are one domain together. An expert is
the units of each layer that are the most important on requests of its domain (the mean absolute input of ``down_proj``,
as there, times a norm: lib/compression/prune.py). The router is a logistic regression on the mean embedding of a
request's tokens. It is fitted once, to the domains; in the paper it learns how much the experts' units are those that a
token itself would use, in turns with the experts, and a domain is a set of data.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.compression.prune import Sizes, measure, prune
from lib.core.examples import spread
from lib.core.params import ParamsError
from lib.core.task import Example, Task
from lib.model.codec import Codec
from lib.model.feed_forward import Experts
from lib.model.student import Student

DECAY = 1e-4  # of the router's weights
ROUTED = 20_000  # examples that it is fitted on, at most


def domains(examples: Sequence[Example], count: int) -> list[int]:
    """The domain of each example, 0 to ``count`` - 1, the most frequent tool's first. Raises ParamsError."""
    tools = [e.gold[0][0]["name"] if e.gold[0] else "" for e in examples]
    names = [name for name, _ in Counter(name for name in tools if name).most_common(count - 1)]
    found = [names.index(name) if name in names else count - 1 for name in tools]
    if len({*found}) < count:
        raise ParamsError(f"experts: {count} of requests of {len({*tools})} kinds: give fewer experts or more requests")
    return found


def router(embedding: Tensor, requests: Sequence[Sequence[int]], labels: Sequence[int]) -> Tensor:
    """What each token adds to the logits of a request's domain, (vocabulary, domains): a logistic regression.

    ``embedding``: (vocabulary, hidden); ``requests``: token ids; ``labels``: their domains, from 0 on.
    """
    table = F.layer_norm(embedding.float(), embedding.shape[1:])
    means, wanted = torch.stack([table[list(ids)].mean(0) for ids in requests]), torch.tensor(labels)
    weight = torch.zeros(table.shape[1], max(labels) + 1, requires_grad=True)
    bias = torch.zeros(max(labels) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimizer.zero_grad()
        value = F.cross_entropy(means @ weight + bias, wanted) + DECAY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (table @ weight + bias).detach()


def divide(student: Student, task: Task, examples: Sequence[Example], width: int, count: int, measured: int) -> Student:
    """A copy of ``student`` with ``count`` experts of ``width`` units; units that no expert has are zeros.

    ``examples``: resolved ones with their accepted answers; importance is ``measured`` on so many of each domain. What
    stands before a request has the units that are the most important there. Raises ParamsError.
    """
    own, codec = domains(examples, count), Codec(task, student.vocabulary)
    groups = [[e for e, domain in zip(examples, own, strict=True) if domain == k] for k in range(count)]
    found = [measure(student, task, spread(examples, measured))]
    found += [measure(student, task, spread(group, measured), contexts=False) for group in groups]
    best = torch.stack([one.ffn.topk(width).indices for one in found])
    masks = torch.zeros(len(found), *found[0].ffn.shape, dtype=torch.bool).scatter_(2, best, True)
    copy = prune(student, found[0], Sizes())
    copy.info["pruned"] |= {"channels": width, "experts": count}
    for layer, used in zip(copy.model.model.layers, masks.any(0), strict=True):
        for weight in (layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight, layer.mlp.down_proj.weight.T):
            weight.data[~used] = 0
    asked = spread([*zip(examples, own, strict=True)], ROUTED)
    requests, labels = [codec.prompt(e.context, e.text).request for e, _ in asked], [domain for _, domain in asked]
    Experts(masks, router(copy.model.model.embed_tokens.weight.detach().cpu(), requests, labels)).attach(copy.model)
    return copy
