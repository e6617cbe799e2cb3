"""Sampled answers: a student answers each request several times, and the task's scorer says what each is worth.

Requests become token ids through lib/model/codec.py alone, never text, so that no word of a person can become a
control. The answers of a group share the keys and values of their prompt (lib/model/generate.py). The reward is that of
rejection sampling and evaluation; an answer that cannot be read, or does not end in time, gets 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.task import Example
from lib.model.codec import Codec, Prompt, Reading
from lib.model.generate import Choose, batches, complete
from lib.training.params import Reinforcement, TrainingError

SAME = 1e-6  # rewards that differ by less are equal
UNFINISHED = "no end"

Request = tuple[Example, Prompt]


@dataclass(frozen=True)
class Sample:
    """One answer: its ``ids`` (end token included if it came), how it reads, and its ``reward`` in [0, 1]."""

    ids: list[int]
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

    prompt: Prompt
    samples: list[Sample]

    @property
    def spread(self) -> bool:
        """Whether its answers differ in reward; a group that does not teaches nothing."""
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


def sample(
    model: Any,
    codec: Codec,
    params: Reinforcement,
    requests: Sequence[Request],
    samples: int,
    choose: Choose,
    progress: bool = False,
) -> list[Group]:
    """A group of so many ``samples`` for each request, in order."""
    groups: dict[int, Group] = {}
    size = max(params.sequences_at_once // samples, 1)
    end, prompts = codec.vocabulary.end, [prompt for _, prompt in requests]
    with tqdm(total=len(requests), desc="sample", unit=" requests", disable=None if progress else True) as bar:
        for batch in batches(prompts, size, model.device.type == "cpu"):
            with torch.autocast(model.device.type, torch.bfloat16, enabled=params.bf16):
                chosen = [prompts[i] for i in batch]
                done = [d.ids for d in complete(model, chosen, end, params.max_new, choose, samples)]
            for place, i in enumerate(batch):
                answers = done[place * samples : (place + 1) * samples]
                groups[i] = graded(codec, requests[i], answers, params.graded)
            bar.update(len(batch))
    return [groups[i] for i in range(len(requests))]


def graded(codec: Codec, request: Request, answers: Sequence[list[int]], partly: bool) -> Group:
    """The answers with their rewards, graded or 0 and 1; equal answers are read and scored once."""
    worth = {ids: _worth(codec, *request, ids, partly) for ids in {tuple(ids) for ids in answers}}
    return Group(request[1], [Sample(ids, *worth[tuple(ids)]) for ids in answers])


def _worth(
    codec: Codec, example: Example, prompt: Prompt, ids: Sequence[int], partly: bool
) -> tuple[Reading, float, bool]:
    """How an answer reads, its reward, and whether it is exactly right."""
    reading = codec.read(ids, prompt.refs)
    if ids[-1] != codec.vocabulary.end:
        reading = Reading(reading.raw, [], UNFINISHED)
    if reading.error:
        return reading, 0.0, False
    score = codec.task.score(example, reading.calls)
    return reading, score.reward if partly else float(score.exact), score.exact


@dataclass(frozen=True)
class Pool:
    """The requests to train on: those of ``examples`` whose answers differ in reward, as ``runs`` of one context.

    ``seen``: how many were tried; ``reward``: the mean over all their answers, before training.
    """

    examples: Sequence[Example]
    runs: list[list[int]]
    seen: int
    reward: float

    @property
    def kept(self) -> int:
        return sum(map(len, self.runs))

    def requests(self, places: Sequence[int], codec: Codec, seed: int) -> list[Request]:
        """The requests at ``places``, counted through the epochs, each of which has its own order and numbering."""
        orders: dict[int, list[tuple[int, int]]] = {}
        found = []
        for place in places:
            epoch, i = divmod(place, self.kept)
            if epoch not in orders:
                runs = Random(f"{seed}/epoch/{epoch}").sample(range(len(self.runs)), len(self.runs))
                orders[epoch] = [(run, index) for run in runs for index in self.runs[run]]
            run, index = orders[epoch][i]
            example, rng = self.examples[index], Random(f"{seed}/{epoch}/{run}")
            found.append((example, codec.prompt(example.context, example.text, rng)))
        return found


def try_pool(model: Any, codec: Codec, params: Reinforcement, by_context: Sequence[Sequence[Example]]) -> Pool:
    """Answers ``params.pool`` requests and keeps those whose rewards differ. Raises TrainingError if none is kept.

    The requests are drawn singly, as many of each level; with ``together`` above 1 by whole contexts, and up to so many
    requests of a context make a run.
    """
    seed = f"{params.seed}/pool"
    examples = [e for group in by_context for e in group]
    drawn = (
        _by_context(by_context, params.pool, seed) if params.together > 1 else _by_level(examples, params.pool, seed)
    )
    flat = [i for part in drawn for i in part]
    requests = [(examples[i], codec.prompt(examples[i].context, examples[i].text)) for i in flat]
    draw = Sampler(params.temperature, seed, model.device)
    groups = dict(
        zip(flat, sample(model, codec, params, requests, params.pool_samples, draw, progress=True), strict=True)
    )
    rewards = [s.reward for group in groups.values() for s in group.samples]
    kept = [[i for i in part if groups[i].spread] for part in drawn]
    runs = [part[i : i + params.together] for part in kept for i in range(0, len(part), params.together)]
    if not runs:
        raise TrainingError(_nothing_to_learn(rewards, len(flat)))
    return Pool(examples, runs, len(flat), sum(rewards) / len(rewards))


def _by_level(examples: Sequence[Example], size: int, seed: str) -> list[list[int]]:
    """Indexes of ``size`` examples (0: all), drawn level by level in turn, while a level has any left."""
    order = Random(seed).sample(range(len(examples)), len(examples))
    drawn: Counter[str] = Counter()
    turns: dict[int, int] = {}
    for i in order:
        turns[i] = drawn[examples[i].level]
        drawn[examples[i].level] += 1
    return [[i] for i in sorted(order, key=turns.__getitem__)[: size or len(examples)]]


def _by_context(by_context: Sequence[Sequence[Example]], size: int, seed: str) -> list[list[int]]:
    """Indexes of ``size`` examples (0: all), drawn by context, of the last one in part."""
    rng, ends = Random(seed), [0]
    for group in by_context:
        ends.append(ends[-1] + len(group))
    room = size or ends[-1]
    drawn: list[list[int]] = []
    for g in rng.sample(range(len(by_context)), len(by_context)):
        indexes = range(ends[g], ends[g + 1])
        drawn.append(rng.sample(indexes, min(len(indexes), room)))
        room -= len(drawn[-1])
        if not room:
            break
    return drawn


def _nothing_to_learn(rewards: Sequence[float], seen: int) -> str:
    same = max(rewards) - min(rewards) <= SAME
    what = f"is constant, {rewards[0]:.2f}" if same else "does not differ between the answers to any one request"
    return (
        f"pool: {seen} requests were tried and the reward {what}, so there is nothing to learn from: raise temperature,"
        " pool or pool_samples, check the task's scorer, or train the student more (or less) before"
    )
