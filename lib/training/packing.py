"""Many requests behind one copy of what they share: rows for training, as dense as a token budget allows.

What a prompt describes costs several times the request and its answer, so requests of one context follow a single
copy of its prefix: each continues the prefix's positions, and a 4-D mask lets it see the prefix and itself alone. A row
holds several such blocks up to ``max_tokens``. The logits are those of the unpacked prompts (tests/test_packing.py).
In the spirit of prefix sharing in inference (Juravsky et al., *Hydragen*, arXiv 2402.05099), here for training.

For a prefix ``P`` and requests ``a`` and ``b``, row ``P P a a b b`` has positions ``0 1 2 3 2 3``; ``b`` sees no ``a``.
Numbering is shuffled anew for every row of every epoch; a context whose numbering depends on the request
(lexical pre-filter) gets a prefix of its own for each request.

>>> rows = Packer(codec, groups, max_tokens=1024, seed=0)                             # doctest: +SKIP
>>> collate([rows.row(0)], pad=2)["input_ids"].shape                                  # doctest: +SKIP
torch.Size([1, 1016])
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from lib.core.task import Example
from lib.model.codec import Codec, Prompt

IGNORED = -100
ALIGN = 8
OPEN_ROWS = 24
FEW = 4000
"""Groups that are measured by one process."""
MEASURERS = 12
"""Processes at most."""


class PackingError(ValueError):
    """Examples that cannot be packed; the message names one and the remedy."""


@dataclass(frozen=True)
class Segment:
    """One request: ``ids`` after the prefix, of which the last ``answer`` are trained on."""

    ids: list[int]
    answer: int
    sampled: bool = False
    """Whether the answer is one that a student gave (lib/training/on_policy.py), rather than an accepted one."""


@dataclass(frozen=True)
class Block:
    """A prefix and the requests that share it."""

    prefix: list[int]
    segments: list[Segment]

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(s.ids) for s in self.segments)


Row = list[Block]
Plan = tuple[int, tuple[int, ...]]
"""A block to be: the group's index and the indexes of its examples."""
Size = tuple[int, list[int], bool]
"""Tokens of a group's prefix and of each request with its answer, and whether the prefix is shared."""


class Packer:
    """Rows of one epoch after another, encoded when asked for; the same ``seed`` gives the same rows."""

    def __init__(self, codec: Codec, groups: Sequence[Sequence[Example]], max_tokens: int, seed: int = 0) -> None:
        """``groups``: lists of examples that share a context.

        Raises PackingError for an example longer than ``max_tokens``, or with no answer.
        """
        if not groups:
            raise PackingError("no examples to train on: check the stage before")
        self.codec, self.groups, self.max_tokens, self.seed = codec, groups, max_tokens, seed
        self._sizes = self._measured()
        self._plans: list[list[Plan]] = []
        self._epoch_starts = [0]
        self._planner = self._plan()

    def _measured(self) -> list[Size]:
        """The size of each group; those measured last are remembered, for a second training on the same groups."""
        how = self.codec.task, self.codec.vocabulary.json, self.max_tokens
        if not (_last and _last[0] is self.groups and _last[1] == how):
            sizes = list(tqdm(_side_by_side(self._measure, self.groups), "measure", len(self.groups), leave=False))
            _last[:] = self.groups, how, sizes
        found: list[Size] = _last[2]
        return found

    def _measure(self, group: Sequence[Example]) -> Size:
        """Tokens of the prefix and of each request with its answer, and whether the prefix is shared."""
        prompts = [self.codec.prompt(e.context, e.text) for e in group]
        sizes = [len(_segment(self.codec, e, p).ids) for e, p in zip(group, prompts, strict=True)]
        shared = all(p.refs == prompts[0].refs for p in prompts)
        prefix = max(len(p.prefix) for p in prompts)
        longest = max(range(len(group)), key=sizes.__getitem__)
        if prefix + sizes[longest] > self.max_tokens:
            key, tokens = group[longest].id, prefix + sizes[longest]
            raise PackingError(f"example '{key}' has {tokens} tokens, a row holds {self.max_tokens}: raise row_tokens")
        return prefix, sizes, shared

    def rows_until(self, epochs: int) -> int:
        """How many rows the first ``epochs`` epochs have."""
        while len(self._epoch_starts) <= epochs or len(self._plans) < self._epoch_starts[epochs]:
            self._plans.append(next(self._planner))
        return self._epoch_starts[epochs]

    def row(self, index: int) -> Row:
        """Row ``index``, counted through the epochs."""
        while len(self._plans) <= index:
            self._plans.append(next(self._planner))
        rng = Random(f"{self.seed}/row/{index}")
        return [block for plan in self._plans[index] for block in self._encode(plan, rng)]

    def _plan(self) -> Iterator[list[Plan]]:
        """Row after row, without end: in each epoch groups and their examples come in a new order, and each block goes
        into the fullest row that it fits."""
        rows = 0
        while True:
            rng = Random(f"{self.seed}/epoch/{len(self._epoch_starts)}")
            order = list(range(len(self.groups)))
            rng.shuffle(order)
            open_: list[tuple[int, list[Plan]]] = []
            for plan, size in (block for group in order for block in self._blocks(group, rng)):
                fits = [i for i, (room, _) in enumerate(open_) if size <= room]
                room, row = open_.pop(min(fits, key=lambda i: open_[i][0])) if fits else (self.max_tokens, [])
                open_.append((room - size, [*row, plan]))
                if len(open_) > OPEN_ROWS:
                    rows += 1
                    yield open_.pop(min(range(len(open_)), key=lambda i: open_[i][0]))[1]
            rows += len(open_)
            self._epoch_starts.append(rows)
            yield from (row for _, row in open_)

    def _blocks(self, group: int, rng: Random) -> Iterator[tuple[Plan, int]]:
        """A group cut into blocks within the budget, with their sizes in tokens."""
        prefix, sizes, shared = self._sizes[group]
        order = list(range(len(sizes)))
        rng.shuffle(order)
        chosen: list[int] = []
        size = prefix
        for i in order:
            if chosen and (not shared or size + sizes[i] > self.max_tokens):
                yield (group, tuple(chosen)), size
                chosen, size = [], prefix
            chosen.append(i)
            size += sizes[i]
        yield (group, tuple(chosen)), size

    def _encode(self, plan: Plan, rng: Random) -> Iterator[Block]:
        """A planned block; requests whose numbering differs after all get blocks of their own."""
        examples = [self.groups[plan[0]][i] for i in plan[1]]
        first = self.codec.prompt(examples[0].context, examples[0].text, rng)
        shared = self._sizes[plan[0]][2]
        refs = first.refs if shared else None
        segments = [_segment(self.codec, examples[0], first)]
        for example in examples[1:]:
            prompt = self.codec.prompt(example.context, example.text, rng, refs)
            segments.append(_segment(self.codec, example, prompt))
        yield Block(first.prefix, segments)


def _side_by_side(measure: Callable[[Sequence[Example]], Size], groups: Sequence[Sequence[Example]]) -> Iterator[Size]:
    """``measure`` of each group in order, many by several processes that inherit everything by fork."""
    cores = min(len(os.sched_getaffinity(0)), MEASURERS) if hasattr(os, "sched_getaffinity") else 1
    if len(groups) < FEW or cores == 1:
        yield from map(measure, groups)
        return
    with multiprocessing.get_context("fork").Pool(cores, _inherited.append, ((measure, groups),)) as pool:
        yield from pool.imap(_nth, range(len(groups)), chunksize=32)


_last: list[Any] = []
"""What was measured last: the groups, how, and their sizes."""
_inherited: list[tuple[Callable[[Sequence[Example]], Size], Sequence[Sequence[Example]]]] = []
"""In a process of ``_side_by_side``: what to measure with, and the groups."""


def _nth(i: int) -> Size:
    measure, groups = _inherited[-1]
    return measure(groups[i])


def _segment(codec: Codec, example: Example, prompt: Prompt) -> Segment:
    if not example.gold:
        raise PackingError(f"example '{example.id}' has no accepted answer to train on: leave it out")
    target = codec.target(example, prompt.refs)
    return Segment(prompt.request + target, len(target))


def collate(rows: Sequence[Row], pad: int, align: int = ALIGN) -> dict[str, torch.Tensor]:
    """A batch of rows, padded with ``pad`` to a multiple of ``align`` tokens.

    ``input_ids``, ``labels`` (IGNORED but for answers), ``position_ids`` and what ``visible`` needs, ``blocks`` and
    ``segments``, are (rows, tokens); so is the bool ``sampled``, true in requests whose answer a student gave;
    ``tokens`` (rows,) counts real tokens.
    """
    arrays = [_arrays(row) for row in rows]
    width = -(-max(len(a[0]) for a in arrays) // align) * align
    fill = (pad, IGNORED, 0, -1, 0, 0)
    ids, labels, positions, blocks, segments, sampled = (
        np.stack([np.pad(a[i], (0, width - len(a[i])), constant_values=fill[i]) for a in arrays]) for i in range(6)
    )
    return {
        "input_ids": torch.from_numpy(ids),
        "labels": torch.from_numpy(labels),
        "position_ids": torch.from_numpy(positions),
        "blocks": torch.from_numpy(blocks),
        "segments": torch.from_numpy(segments),
        "sampled": torch.from_numpy(sampled.astype(bool)),
        "tokens": torch.tensor([len(a[0]) for a in arrays]),
    }


def _arrays(row: Row) -> tuple[NDArray[np.int64], ...]:
    """A row's ids, labels, positions, block and segment numbers (0: the prefix), who answered; each (tokens,)."""
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    blocks: list[int] = []
    segments: list[int] = []
    sampled: list[int] = []
    for b, block in enumerate(row):
        parts = [(block.prefix, 0, False), *((s.ids, s.answer, s.sampled) for s in block.segments)]
        for s, (part, answer, own) in enumerate(parts):
            ids += part
            labels += [IGNORED] * (len(part) - answer) + part[len(part) - answer :]
            begin = len(block.prefix) if s else 0
            positions += range(begin, begin + len(part))
            blocks += [b] * len(part)
            segments += [s] * len(part)
            sampled += [int(own)] * len(part)
    return tuple(np.asarray(a, dtype=np.int64) for a in (ids, labels, positions, blocks, segments, sampled))


def visible(blocks: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """Who sees whom, bool (rows, 1, tokens, tokens): earlier tokens of the same block, in its prefix or same segment.

    Made where the model is, since it is far larger than all the rest of a batch. Padding sees padding, so that no token
    sees nothing.
    """
    width = blocks.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=blocks.device).tril()
    same_block = blocks[:, :, None] == blocks[:, None, :]
    same_segment = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    return (causal & same_block & same_segment)[:, None]
