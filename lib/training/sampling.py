"""Rollouts: a student answers each request several times, and the task's scorer says what every answer is worth.

Requests become token ids through lib/model/codec.py alone, never text, so that no word of a person can become a control. The
answers of a group share the keys and values of their prompt (lib/model/generate.py). The reward is the scorer's that
rejection sampling and evaluation use, too; an answer that cannot be read, or does not end in time, gets 0.

>>> draw = Sampler(temperature=1.0, seed="1/40", device=model.device)                   # doctest: +SKIP
>>> groups = Rollouts(codec, samples=8, max_new=48, at_once=512).ask(model, asked, draw)  # doctest: +SKIP
>>> [round(sample.reward, 1) for sample in groups[0].samples]                           # doctest: +SKIP
[1.0, 0.2, 1.0, 1.0, 0.0, 1.0, 1.0, 0.4]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from random import Random
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.task import Example
from lib.model.codec import Codec, Prompt, Reading
from lib.model.generate import Decoded, Prefix, decode
from lib.training.params import TrainingError

SAME = 1e-6
"""Rewards that differ by less are equal."""

UNFINISHED = "no end"

Asked = tuple[Example, Prompt]


@dataclass(frozen=True)
class Sample:
    """One answer: its ``ids`` (end token included if it came), their ``logprobs`` at the sampling temperature, in nats,
    how it reads, and its ``reward`` in [0, 1]."""

    ids: list[int]
    logprobs: list[float]
    reading: Reading
    reward: float
    exact: bool

    @property
    def invalid(self) -> bool:
        return bool(self.reading.error)

    @property
    def nothing(self) -> bool:
        """Whether it says, validly, that nothing is to be done."""
        return not self.invalid and not self.reading.calls


@dataclass(frozen=True)
class Group:
    """The answers to one request."""

    example: Example
    prompt: Prompt
    samples: list[Sample]

    @property
    def spread(self) -> bool:
        """Whether its answers differ in reward; one that does not teaches nothing."""
        rewards = [s.reward for s in self.samples]
        return max(rewards) - min(rewards) > SAME


class Sampler:
    """Draws the next ids from the model's distribution at ``temperature``; equal ``seed`` texts draw equally."""

    def __init__(self, temperature: float, seed: str, device: Any = "cpu") -> None:
        self.temperature, self.seed = temperature, seed
        self.generator = torch.Generator(device).manual_seed(Random(seed).getrandbits(63))

    def __call__(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Ids and their log-probabilities, (rows,). Raises TrainingError for logits that are no numbers."""
        if not torch.isfinite(logits).all():
            raise TrainingError(
                f"sampling {self.seed}: the student's probabilities are no numbers; "
                "lower learning_rate, use precision: fp32, or start from another student"
            )
        logprobs = (logits / self.temperature).log_softmax(-1)
        ids = torch.multinomial(logprobs.exp(), 1, generator=self.generator)
        return ids[:, 0], logprobs.gather(-1, ids)[:, 0]


@dataclass(frozen=True)
class Rollouts:
    """How requests are answered and rewarded: ``samples`` answers each, ``at_once`` of them in a batch."""

    codec: Codec
    samples: int
    max_new: int
    at_once: int
    graded: bool = True
    bf16: bool = False

    def ask(self, model: Any, asked: Sequence[Asked], draw: Sampler, progress: bool = False) -> list[Group]:
        """A group for each request, in order."""
        groups: dict[int, Group] = {}
        with tqdm(total=len(asked), desc="sample", unit=" requests", disable=None if progress else True) as bar:
            for batch in self._batches([prompt for _, prompt in asked], model.device.type == "cpu"):
                found = self._batch(model, [asked[i] for i in batch], draw)
                groups |= dict(zip(batch, found, strict=True))
                bar.update(len(batch))
        return [groups[i] for i in range(len(asked))]

    def _batches(self, prompts: Sequence[Prompt], shared: bool) -> list[list[int]]:
        """Indexes in batches of about one length; ``shared``: requests of one prefix have batches of their own."""
        size = max(self.at_once // self.samples, 1)
        prefixes = [tuple(p.prefix) if shared else () for p in prompts]
        often = Counter(prefixes)
        own = [prefix if often[prefix] > 1 else () for prefix in prefixes]
        order = sorted(range(len(prompts)), key=lambda i: (own[i], len(prompts[i].ids), i))
        runs = [list(run) for _, run in groupby(order, key=own.__getitem__)]
        return [run[start : start + size] for run in runs for start in range(0, len(run), size)]

    def _batch(self, model: Any, asked: Sequence[Asked], draw: Sampler) -> list[Group]:
        prompts = [prompt for _, prompt in asked]
        shared = all(p.prefix == prompts[0].prefix for p in prompts)
        rest = [p.request if shared else p.ids for p in prompts]
        limits = [self.max_new] * (len(asked) * self.samples)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16):
            prefix = Prefix.read(model, prompts[0].prefix if shared else [])
            done = decode(model, prefix, rest, {self.end}, limits, draw, self.samples)
        parts = [done[i * self.samples : (i + 1) * self.samples] for i in range(len(asked))]
        return [self._group(e, p, part) for (e, p), part in zip(asked, parts, strict=True)]

    @property
    def end(self) -> int:
        return self.codec.vocabulary.end

    def _group(self, example: Example, prompt: Prompt, answers: Sequence[Decoded]) -> Group:
        """Equal answers are read and scored once."""
        worth = {ids: self._worth(example, prompt, ids) for ids in {tuple(a.ids) for a in answers}}
        return Group(example, prompt, [Sample(a.ids, a.logprobs, *worth[tuple(a.ids)]) for a in answers])

    def _worth(self, example: Example, prompt: Prompt, ids: Sequence[int]) -> tuple[Reading, float, bool]:
        """How an answer reads, its reward, and whether it is exactly right."""
        reading = self.codec.read(ids, prompt.refs)
        if ids[-1] != self.end:
            reading = Reading(reading.raw, [], UNFINISHED)
        if reading.error:
            return reading, 0.0, False
        score = self.codec.task.score(example, reading.calls)
        return reading, score.reward if self.graded else float(score.exact), score.exact


Run = list[int]
"""Indexes of requests of one context that are asked about together, with one numbering."""


@dataclass(frozen=True)
class Pool:
    """The requests to train on: those of ``examples`` whose answers differ in reward, as ``runs`` of one context.

    ``seen``: how many were looked at; ``reward``: the mean over all their answers, before training.
    """

    examples: Sequence[Example]
    runs: list[Run]
    seen: int
    reward: float
    seed: int = 0

    @property
    def kept(self) -> int:
        return sum(map(len, self.runs))

    def asked(self, places: Sequence[int], codec: Codec) -> list[Asked]:
        """The requests at ``places`` of the plan, counted through the epochs: each has its own order and numbering."""
        plans = {epoch: self._plan(epoch) for epoch in {place // self.kept for place in places}}
        found = []
        for place in places:
            epoch, i = divmod(place, self.kept)
            run, index = plans[epoch][i]
            example, rng = self.examples[index], Random(f"{self.seed}/{epoch}/{run}")
            found.append((example, codec.prompt(example.context, example.text, rng)))
        return found

    def _plan(self, epoch: int) -> list[tuple[int, int]]:
        """Run and index of each request of an epoch, in its order."""
        order = Random(f"{self.seed}/epoch/{epoch}").sample(range(len(self.runs)), len(self.runs))
        return [(run, index) for run in order for index in self.runs[run]]


def look(
    model: Any, rollouts: Rollouts, groups: Sequence[Sequence[Example]], size: int, together: int, draw: Sampler
) -> Pool:
    """Answers ``size`` requests (0: all) and keeps those whose rewards differ.

    ``groups``: examples that share a context. The requests are drawn singly, as many of each level; with ``together``
    above 1 by whole contexts, and up to so many requests of a context make a run. Raises TrainingError if none is kept.
    """
    examples = [e for group in groups for e in group]
    rng = Random(draw.seed)
    chosen = _single(examples, size, rng) if together == 1 else _whole(groups, size, rng)
    flat = [i for part in chosen for i in part]
    asked = [(examples[i], rollouts.codec.prompt(examples[i].context, examples[i].text)) for i in flat]
    found = dict(zip(flat, rollouts.ask(model, asked, draw, progress=True), strict=True))
    rewards = [s.reward for group in found.values() for s in group.samples]
    kept = [[i for i in part if found[i].spread] for part in chosen]
    runs = [part[i : i + together] for part in kept for i in range(0, len(part), together)]
    if runs:
        return Pool(examples, runs, len(flat), sum(rewards) / len(rewards))
    raise TrainingError(_nothing_to_learn(rewards, len(flat)))


def _single(examples: Sequence[Example], size: int, rng: Random) -> list[Run]:
    """Indexes of ``size`` examples (0: all), each a run: drawn level by level in turn, while a level has any left."""
    order = rng.sample(range(len(examples)), len(examples))
    turns: Counter[str] = Counter()
    turn: dict[int, int] = {}
    for i in order:
        turn[i] = turns[examples[i].level]
        turns[examples[i].level] += 1
    return [[i] for i in sorted(order, key=turn.__getitem__)[: size or len(examples)]]


def _whole(groups: Sequence[Sequence[Example]], size: int, rng: Random) -> list[Run]:
    """Indexes of ``size`` examples (0: all), a run for each context: drawn by context, the last one in part."""
    starts = [0, *accumulate(map(len, groups))]
    room = size or starts[-1]
    runs: list[Run] = []
    for g in rng.sample(range(len(groups)), len(groups)):
        run = list(range(starts[g], starts[g + 1]))
        runs.append(rng.sample(run, min(len(run), room)))
        room -= len(runs[-1])
        if not room:
            break
    return runs


def _nothing_to_learn(rewards: Sequence[float], seen: int) -> str:
    same = max(rewards) - min(rewards) <= SAME
    what = f"is constant, {rewards[0]:.2f}" if same else "does not differ between the answers to any one request"
    return (
        f"pool: {seen} requests were tried and the reward {what}, so there is nothing to learn from: raise temperature,"
        " pool or pool_samples, check the task's scorer, or train the student more (or less) before"
    )
