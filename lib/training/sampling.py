"""Sampled answers: a student answers each request several times, and the task's scorer says what each is worth.

The answers of a group share the keys and values of their prompt. The reward is that of rejection sampling and
evaluation; an answer that cannot be read, or does not end in time, gets 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.task import Example, Task
from lib.model.codec import Codec, Prompt, Reading
from lib.model.torch_student import Choose, batches, complete
from lib.training.packing import ByContext
from lib.training.params import Reinforcement, Sampling, TrainingError

SAME = 1e-6  # rewards that differ by less are equal

Request = tuple[Example, Prompt]


@dataclass(frozen=True)
class Sample:
    """One answer: its ``ids`` (end token included if it came), how it reads, and its ``reward`` in [0, 1]."""

    ids: list[int]
    reading: Reading
    reward: float
    exact: bool


@dataclass(frozen=True)
class Group:
    """The answers to one request."""

    prompt: Prompt
    samples: list[Sample]

    @property
    def spread(self) -> bool:
        """Whether its answers differ in reward; a group whose answers do not teaches nothing."""
        rewards = [s.reward for s in self.samples]
        return max(rewards) - min(rewards) > SAME

    @property
    def right(self) -> bool:
        """Whether all its answers are exactly right."""
        return all(s.exact for s in self.samples)


class Sampler:
    """Draws the next ids from the model's distribution at ``temperature``; equal ``seed`` texts draw equally."""

    def __init__(self, temperature: float, seed: str, device: Any = "cpu") -> None:
        self.temperature, self.seed = temperature, seed
        self.generator = torch.Generator(device).manual_seed(Random(seed).getrandbits(63))

    def __call__(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Ids and their log-probabilities, (rows,). Raises TrainingError for logits that are no numbers."""
        if not torch.isfinite(logits).all():
            remedy = "lower learning_rate, use precision: fp32, or start from another student"
            raise TrainingError(f"sampling {self.seed}: the student's probabilities are no numbers; {remedy}")
        logprobs = (logits / self.temperature).log_softmax(-1)
        ids = torch.multinomial(logprobs.exp(), 1, generator=self.generator)
        return ids[:, 0], logprobs.gather(-1, ids)[:, 0]


def sample(
    model: Any, codec: Codec, params: Sampling, requests: Sequence[Request], samples: int, choose: Choose
) -> list[Group]:
    """A group of so many ``samples`` for each request, in order."""
    groups: dict[int, Group] = {}
    prompts = [prompt for _, prompt in requests]
    size = max(params.sequences_at_once // samples, 1)
    together = batches(prompts, size, model.device.type == "cpu", getattr(model, "experts", None))
    for batch in tqdm(together, "sample", leave=False, disable=None):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=params.bf16):
            chosen = [prompts[i] for i in batch]
            done = complete(model, chosen, codec.vocabulary.end, params.max_new, choose, samples)
        for place, i in enumerate(batch):
            answers = [tuple(d.ids) for d in done[place * samples : (place + 1) * samples]]
            worth = {ids: _worth(codec, requests[i], ids, params.graded) for ids in set(answers)}
            groups[i] = Group(prompts[i], [Sample(list(ids), *worth[ids]) for ids in answers])
    return [groups[i] for i in range(len(requests))]


def _worth(codec: Codec, request: Request, ids: Sequence[int], graded: bool) -> tuple[Reading, float, bool]:
    """How an answer reads, its reward, and whether it is exactly right."""
    example, prompt = request
    reading = codec.read(ids, prompt.refs)
    if ids[-1] != codec.vocabulary.end:
        reading = Reading(reading.raw, [], "no end")
    if reading.error:
        return reading, 0.0, False
    score = codec.task.score(example, reading.calls)
    return reading, score.reward if graded else float(score.exact), score.exact


@dataclass(frozen=True)
class Pool:
    """Requests to train on, as ``runs`` of one context; of those ``tried``, which got a mean ``reward``.

    The last ``anchors`` runs are of one request each that was right every time.
    """

    examples: Sequence[Example]
    runs: list[list[int]]
    tried: list[int]
    reward: float
    anchors: int = 0

    @property
    def seen(self) -> int:
        return len(self.tried)

    @property
    def kept(self) -> int:
        """How many are trained on because their answers differ in reward."""
        return sum(map(len, self.runs)) - self.anchors

    def table(self, task: Task) -> pd.DataFrame:
        """How many were ``tried`` and ``kept``: a row for each source, level and trait, as ``of`` and ``name``."""
        kept, rows = {i for run in self.runs[: len(self.runs) - self.anchors] for i in run}, []
        for i in self.tried:
            e = self.examples[i]
            names = [("source", e.source), ("level", e.level), *(("trait", trait) for trait in task.traits(e))]
            rows += [{"of": of, "name": name, "tried": 1, "kept": int(i in kept)} for of, name in names]
        found = pd.DataFrame(rows).groupby(["of", "name"])[["tried", "kept"]].sum().reset_index()
        return found.sort_values("of", key=lambda c: c.map(["source", "level", "trait"].index), kind="stable")

    def requests(self, places: Sequence[int], codec: Codec, seed: int) -> Iterator[Request]:
        """The requests at ``places``, counted through the epochs, each of which has its own order and numbering."""
        for place in places:
            epoch, i = divmod(place, self.kept + self.anchors)
            order = Random(f"{seed}/epoch/{epoch}").sample(range(len(self.runs)), len(self.runs))
            run, index = [(run, index) for run in order for index in self.runs[run]][i]
            example, rng = self.examples[index], Random(f"{seed}/{epoch}/{run}")
            yield example, codec.prompt(example.context, example.text, rng)


def try_pool(model: Any, codec: Codec, params: Reinforcement, by_context: ByContext) -> Pool:
    """Answers ``params.pool`` requests and keeps those whose rewards differ, and anchors.

    Raises TrainingError if no rewards differ.
    """
    seed = f"{params.seed}/pool"
    examples = [e for group in by_context for e in group]
    drawn = _drawn(by_context, params, codec.task, Random(seed))
    flat = [i for part in drawn for i in part]
    draw = Sampler(params.temperature, seed, model.device)
    requests = [(examples[i], codec.prompt(examples[i].context, examples[i].text)) for i in flat]
    tried = sample(model, codec, params, requests, params.pool_samples, draw)
    groups = dict(zip(flat, tried, strict=True))
    rewards = [s.reward for group in groups.values() for s in group.samples]
    kept = [[i for i in part if groups[i].spread] for part in drawn]
    runs = [part[i : i + params.together] for part in kept for i in range(0, len(part), params.together)]
    if not runs:
        remedy = (
            "temperature, pool or pool_samples, check the task's scorer, or train the student more (or less) before"
        )
        nothing = (
            f"the answers to each of {len(flat)} requests got equal rewards (mean {sum(rewards) / len(rewards):.2f})"
        )
        raise TrainingError(f"pool: {nothing}: raise {remedy}")
    right = [i for i in flat if groups[i].right]
    anchors = Random(seed).sample(right, min(len(right), round(params.anchors * sum(map(len, kept)))))
    return Pool(examples, [*runs, *([i] for i in anchors)], flat, sum(rewards) / len(rewards), len(anchors))


def _drawn(by_context: ByContext, params: Reinforcement, task: Task, rng: Random) -> list[list[int]]:
    """Indexes of ``params.pool`` examples (0: all): singly; with ``together`` above 1 by contexts, the last in part."""
    examples = [e for group in by_context for e in group]
    if params.together == 1:
        return [[i] for i in _by_shares(examples, params, task, rng)]
    places = iter(range(len(examples)))
    contexts = [[next(places) for _ in group] for group in by_context]
    room, drawn = params.pool or len(examples), list[list[int]]()
    for context in rng.sample(contexts, len(contexts)):
        drawn.append(rng.sample(context, min(len(context), room)))
        room -= len(drawn[-1])
    return [part for part in drawn if part]


def _by_shares(examples: Sequence[Example], params: Reinforcement, task: Task, rng: Random) -> list[int]:
    """Indexes by ``params.pool_shares``, each share and the rest level by level in turn while a level has any left."""
    order, shares = rng.sample(range(len(examples)), len(examples)), params.pool_shares
    names = [{e.source, e.level, *task.traits(e)} if shares else set() for e in examples]
    table = pd.DataFrame({"level": [examples[i].level for i in order]}, order)
    table["part"] = [next((part for part in shares if part in names[i]), "") for i in order]
    turns = table.assign(turn=table.groupby(["part", "level"]).cumcount()).sort_values("turn", kind="stable")
    chosen = [
        i for part, share in shares.items() for i in turns[turns["part"] == part].index[: round(share * params.pool)]
    ]
    rest = turns.drop(chosen)
    rest = rest.sort_values("part", key=lambda part: part != "", kind="stable")
    return [*chosen, *rest.index[: params.pool - len(chosen) if params.pool else None]]
