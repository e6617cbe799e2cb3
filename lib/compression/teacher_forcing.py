"""What a student would answer if every token were predicted after the right ones: one forward pass for many requests.

Of an accepted answer, each token is replaced by the one the student finds likeliest at its place (teacher forcing),
and the result is read and scored as an answer. All of it is the accepted answer if and only if greedy decoding gives
that; where they differ it is only an estimate of what decoding would give, but costs no decoding. Requests of one
context share a row (lib/training/packing.py), so that thousands are scored in a few passes.

>>> batch = draw(codec, groups, rows=2, row_tokens=1024, seed="1/0")                    # doctest: +SKIP
>>> grade(student.model, codec, batch)                                                  # doctest: +SKIP
Graded(reward=0.94, exact=0.91, likelihood=-0.03)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from lib.core.task import Example, Task
from lib.model.codec import Codec
from lib.training.packing import Block, PackingError, Row, Segment, collate
from lib.training.trainer import answer_logits

TOGETHER = 8
"""Requests of one context that are drawn at most: more would cost little, but tell little of other contexts."""


@dataclass(frozen=True)
class Asked:
    """A request of a minibatch: its numbering, and how many tokens its accepted answer has, the end included."""

    example: Example
    refs: Any
    tokens: int


@dataclass
class Minibatch:
    """``inputs`` as lib.training.packing.collate makes them; ``asked`` in the order of rows, blocks and segments.

    ``known``: what answers were worth, by request and ids, so that models that answer alike are scored once.
    """

    inputs: dict[str, Tensor]
    asked: list[Asked]
    known: dict[tuple[int, tuple[int, ...]], tuple[float, bool]] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Minibatch:
        return Minibatch({name: value.to(device) for name, value in self.inputs.items()}, self.asked, self.known)


@dataclass(frozen=True)
class Graded:
    """Means over requests: the scorer's ``reward``, the share ``exact``, and ``likelihood``, the log-probability of a
    token of the accepted answer in nats (the mean over its tokens)."""

    reward: float
    exact: float
    likelihood: float


def alike(task: Task, examples: Iterable[Example]) -> list[list[Example]]:
    """Examples that can share one prefix, in the order in which each first comes."""
    found: dict[Any, list[Example]] = {}
    for example in examples:
        found.setdefault(task.references(example.context, example.text), []).append(example)
    return list(found.values())


def draw(codec: Codec, groups: Sequence[Sequence[Example]], rows: int, row_tokens: int, seed: str) -> Minibatch:
    """Random requests of random ``groups``, at most TOGETHER of each, in at most ``rows`` rows of ``row_tokens``.

    Equal seeds draw equally. What is longer than a row is left out; raises PackingError if that is everything, and for
    an example without an accepted answer.
    """
    rng = Random(seed)
    made: list[Row] = [[]]
    asked: list[Asked] = []
    room = row_tokens
    for index in rng.sample(range(len(groups)), len(groups)):
        block, requests = _block(codec, groups[index], row_tokens, rng)
        if not requests:
            continue
        if len(block) > room:
            if len(made) == rows:
                break
            made, room = [*made, []], row_tokens
        made[-1].append(block)
        room -= len(block)
        asked += requests
    if not asked:
        raise PackingError(
            f"none of the requests of {len(groups):,} contexts fits a row of {row_tokens}: raise row_tokens"
        )
    return Minibatch(collate(made, codec.vocabulary.end), asked)


def _block(codec: Codec, group: Sequence[Example], room: int, rng: Random) -> tuple[Block, list[Asked]]:
    """Some requests of a group behind one prefix, numbered anew, as many as fit ``room`` tokens."""
    chosen = rng.sample(list(group), min(len(group), TOGETHER))
    chosen = alike(codec.task, chosen)[0] if chosen else []
    refs = codec.task.references(chosen[0].context, chosen[0].text, rng) if chosen else None
    block = Block(codec.prefix(refs) if chosen else [], [])
    asked: list[Asked] = []
    for example in chosen:
        if not example.gold:
            raise PackingError(f"example '{example.id}' has no accepted answer to compare with: leave it out")
        answer = codec.target(example, refs)
        request = codec.prompt(example.context, example.text, refs=refs).request
        if len(block) + len(request) + len(answer) <= room:
            block.segments.append(Segment(request + answer, len(answer)))
            asked.append(Asked(example, refs, len(answer)))
    return block, asked


@torch.no_grad()
def grade(model: Any, codec: Codec, batch: Minibatch, bf16: bool = False) -> Graded:
    """How ``model`` answers ``batch``, both on one device, in one forward pass; ``bf16``: the pass runs in it."""
    logits, right = answer_logits(model, batch.inputs, bf16)
    ids = logits.argmax(-1).tolist()
    chances = logits.log_softmax(-1).gather(-1, right[:, None])[:, 0].cpu()
    sizes = [asked.tokens for asked in batch.asked]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    worth = [_worth(codec, batch, i, ids[s : s + n]) for i, (s, n) in enumerate(zip(starts, sizes, strict=True))]
    count = len(sizes)
    likelihood = sum(float(part.mean()) for part in chances.split(sizes)) / count
    return Graded(sum(w for w, _ in worth) / count, sum(exact for _, exact in worth) / count, likelihood)


def _worth(codec: Codec, batch: Minibatch, number: int, ids: Sequence[int]) -> tuple[float, bool]:
    """Reward and exactness of an answer; one that does not end or cannot be read is worth nothing."""
    end = codec.vocabulary.end
    answer = tuple(ids[: ids.index(end)]) if end in ids else None
    if answer is None:
        return 0.0, False
    if (number, answer) not in batch.known:
        asked = batch.asked[number]
        reading = codec.read(answer, asked.refs)
        score = None if reading.error else codec.task.score(asked.example, reading.calls)
        batch.known[number, answer] = (score.reward, score.exact) if score else (0.0, False)
    return batch.known[number, answer]
