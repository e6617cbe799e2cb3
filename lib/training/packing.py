"""Many requests behind one copy of what they share: rows for training, as dense as a token budget allows.

Requests of one context follow a single copy of its prefix: each continues the prefix's positions, and a mask lets it
see the prefix and itself alone, so that logits are those of the unpacked prompts. A row holds several such blocks.
Prefix sharing as in inference (Juravsky et al., *Hydragen*, arXiv 2402.05099), here for training.

For a prefix ``P`` and requests ``a`` and ``b``, row ``P P a a b b`` has positions ``0 1 2 3 2 3``; ``b`` sees no ``a``:

>>> row = [Block([7, 7], [Segment([5, 8], answer=1), Segment([6, 9], answer=1)])]
>>> collate([row], pad=0)["position_ids"].tolist()
[[0, 1, 2, 3, 2, 3, 0, 0]]
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from operator import itemgetter
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.task import Example
from lib.model.codec import IGNORED as IGNORED
from lib.model.codec import Codec, Prompt
from lib.training.params import TrainingError

ALIGN = 8  # the width of a batch is a multiple of this
OPEN_ROWS = 24

ByContext = Sequence[Sequence[Example]]  # lists of examples that share a context; on disk: lib/data/stored.py


@dataclass(frozen=True)
class Segment:
    """One request: ``ids`` after the prefix, of which the last ``answer`` are trained on.

    A sampled answer has the sum of its samples' ``advantage``, and their ``count``.
    """

    ids: list[int]
    answer: int
    advantage: float = 0.0
    count: int = 1


@dataclass(frozen=True)
class Block:
    """A prefix and the requests that share it."""

    prefix: list[int]
    segments: list[Segment]

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(s.ids) for s in self.segments)


Row = list[Block]
Plan = tuple[int, Sequence[int]]  # a block to be: the index of its context's size, and those of its examples


@dataclass(frozen=True)
class Size:
    """Which examples of ``context`` ``fit`` a row, tokens of prefix and requests, whether all share the prefix."""

    context: int
    fit: Sequence[int]
    prefix: int
    requests: Sequence[int]
    shared: bool


class Sizes:
    """Sizes in columns: some bytes for each of what may be a million examples."""

    def __init__(self) -> None:
        self._heads, self._ends, self._requests = array("Q"), array("Q", [0]), array("I")
        self._fit: dict[int, Sequence[int]] = {}  # where not all examples of a context do

    def append(self, size: Size, examples: int) -> None:
        if len(size.fit) < examples:
            self._fit[len(self)] = size.fit
        self._heads.extend((size.context, 2 * size.prefix + size.shared))
        self._requests.extend(size.requests)
        self._ends.append(len(self._requests))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Size:
        context, head = self._heads[2 * index : 2 * index + 2]
        requests = self._requests[self._ends[index] : self._ends[index + 1]]
        return Size(context, self._fit.get(index, range(len(requests))), head // 2, requests, bool(head % 2))


class Plans:
    """Rows to be, each a list of Plan, in columns like Sizes."""

    def __init__(self) -> None:
        self._rows, self._ends = array("Q", [0]), array("Q", [0])
        self._contexts, self._examples = array("I"), array("I")

    def append(self, row: Sequence[Plan]) -> None:
        for context, examples in row:
            self._contexts.append(context)
            self._examples.extend(examples)
            self._ends.append(len(self._examples))
        self._rows.append(len(self._contexts))

    def __len__(self) -> int:
        return len(self._rows) - 1

    def __getitem__(self, index: int) -> list[Plan]:
        ends, blocks = self._ends, range(self._rows[index], self._rows[index + 1])
        return [(self._contexts[i], self._examples[ends[i] : ends[i + 1]]) for i in blocks]


class Packer:
    """Rows of one epoch after another, encoded when asked for; the same ``seed`` gives the same rows.

    A context is numbered anew for every row; where numbers depend on the request, each gets a prefix of its own.
    """

    def __init__(self, codec: Codec, by_context: ByContext, max_tokens: int, seed: int = 0, workers: int = 0) -> None:
        """Leaves out ``left_out`` examples longer than ``max_tokens``; ``workers``: processes that measure them.

        Raises TrainingError if none is left, and for one without an answer.
        """
        if not any(by_context):
            raise TrainingError("no examples to train on: check the stage before")
        self.codec, self.max_tokens, self.seed, self.by_context = codec, max_tokens, seed, by_context
        self.left_out, self._sizes, self._plans, self._epochs = 0, Sizes(), Plans(), 0
        for size, examples in self._measured(workers):
            self.left_out += examples - len(size.fit)
            if size.fit:
                self._sizes.append(size, examples)
        if not self._sizes:
            raise TrainingError(f"no example fits a row of {max_tokens} tokens: raise row_tokens")
        self._plan()
        self.epoch_rows = len(self._plans)  # of the first; others have about as many

    def _measured(self, workers: int) -> Iterator[tuple[Size, int]]:
        """Of each context its size, and how many examples it has."""
        contexts = range(len(self.by_context))
        if not workers:
            yield from map(self._measure, tqdm(contexts, "measure", leave=False, disable=None))
            return
        with get_context("fork").Pool(workers, _inherit, (self,)) as pool:
            sizes = pool.imap(_measure_one, contexts, 64)
            yield from tqdm(sizes, "measure", len(contexts), leave=False, disable=None)

    def _measure(self, context: int) -> tuple[Size, int]:
        examples = self.by_context[context]
        prompts = [self.codec.prompt(e.context, e.text) for e in examples]
        sizes = [len(_segment(self.codec, e, p).ids) for e, p in zip(examples, prompts, strict=True)]
        fit = [i for i, p in enumerate(prompts) if len(p.prefix) + sizes[i] <= self.max_tokens]
        prefixes = [prompts[i].prefix for i in fit]
        shared = all(prefix == prefixes[0] for prefix in prefixes)
        requests, longest = tuple(sizes[i] for i in fit), max(map(len, prefixes), default=0)
        return Size(context, fit, longest, requests, shared), len(examples)

    def epoch(self) -> list[Row]:
        """The rows of the first epoch."""
        return [self.row(i) for i in range(self.epoch_rows)]

    def row(self, index: int, codec: Codec | None = None) -> Row:
        """Row ``index``, counted through the epochs; with a ``codec`` the same requests in another vocabulary."""
        while len(self._plans) <= index:
            self._plan()
        rng = Random(f"{self.seed}/row/{index}")
        return [self._encode(plan, rng, codec or self.codec) for plan in self._plans[index]]

    def _plan(self) -> None:
        """Adds an epoch's rows: contexts and their examples in a new order, each block in the fullest row it fits."""
        self._epochs += 1
        rng = Random(f"{self.seed}/epoch/{self._epochs}")
        order = list(range(len(self._sizes)))
        rng.shuffle(order)
        open_: list[tuple[int, list[Plan]]] = []
        for plan, size in (block for context in order for block in self._blocks(context, rng)):
            fullest = min((row for row in open_ if size <= row[0]), key=itemgetter(0), default=(self.max_tokens, []))
            if fullest[1]:
                open_.remove(fullest)
            open_.append((fullest[0] - size, [*fullest[1], plan]))
            if len(open_) > OPEN_ROWS:
                self._plans.append(open_.pop(open_.index(min(open_, key=itemgetter(0))))[1])
        for _, row in open_:
            self._plans.append(row)

    def _blocks(self, context: int, rng: Random) -> Iterator[tuple[Plan, int]]:
        """A context's examples cut into blocks within the budget, with their sizes in tokens."""
        whole = self._sizes[context]
        order, size, chosen = list(range(len(whole.requests))), whole.prefix, list[int]()
        rng.shuffle(order)
        for i in order:
            if chosen and (not whole.shared or size + whole.requests[i] > self.max_tokens):
                yield (context, tuple(chosen)), size
                chosen, size = [], whole.prefix
            chosen.append(i)
            size += whole.requests[i]
        yield (context, tuple(chosen)), size

    def _encode(self, plan: Plan, rng: Random, codec: Codec) -> Block:
        size = self._sizes[plan[0]]
        known = self.by_context[size.context]
        examples = [known[size.fit[i]] for i in plan[1]]
        first = codec.prompt(examples[0].context, examples[0].text, rng)
        refs = first.refs if size.shared else None
        prompts = [first] + [codec.prompt(e.context, e.text, rng, refs) for e in examples[1:]]
        return Block(first.prefix, [_segment(codec, e, p) for e, p in zip(examples, prompts, strict=True)])


_inherited: list[Any] = []  # by a process that measures, from the one that forked it


def _inherit(*given: Any) -> None:
    _inherited[:] = given


def _measure_one(context: int) -> tuple[Size, int]:
    found: tuple[Size, int] = _inherited[0]._measure(context)
    return found


def _segment(codec: Codec, example: Example, prompt: Prompt) -> Segment:
    if not example.gold:
        raise TrainingError(f"example '{example.id}' has no accepted answer to train on: leave it out")
    target = codec.target(example, prompt.refs)
    return Segment(prompt.request + target, len(target))


def pack(blocks: Sequence[Block], max_tokens: int) -> list[Row]:
    """Blocks in rows of up to ``max_tokens`` (one request alone may be longer), in order; equal prefixes are one."""
    rows: list[Row] = [[]]
    for prefix, segment in ((block.prefix, segment) for block in blocks for segment in block.segments):
        shared = bool(rows[-1]) and rows[-1][-1].prefix == prefix
        size = len(segment.ids) + (0 if shared else len(prefix))
        if rows[-1] and sum(map(len, rows[-1])) + size > max_tokens:
            rows.append([])
            shared = False
        if not shared:
            rows[-1].append(Block(prefix, []))
        rows[-1][-1].segments.append(segment)
    return rows


def collate(rows: Sequence[Row], pad: int, align: int = ALIGN, language: float = 0.0) -> dict[str, Tensor]:
    """A batch of rows, (rows, tokens), padded with ``pad`` to a multiple of ``align`` tokens.

    With ``language`` requests are labelled, too, but for their first token, which follows another request; ``weights``
    is what each label counts: so much, and 1 in answers.

    ``labels`` are IGNORED but for answers; ``visible`` needs ``blocks`` and ``segments``; ``tokens``: without padding.
    """
    lengths = [sum(map(len, row)) for row in rows]
    shape = len(rows), -(-max(lengths) // align) * align
    fill = {"input_ids": pad, "labels": IGNORED, "position_ids": 0, "blocks": -1, "segments": 0}
    batch = {name: np.full(shape, value) for name, value in fill.items()}
    if language:
        batch["weights"] = np.zeros(shape, np.float32)
    for r, row in enumerate(rows):
        at = 0
        for b, block in enumerate(row):
            for s, part in enumerate([Segment(block.prefix, 0), *block.segments]):
                end, begin = at + len(part.ids), len(block.prefix) if s else 0
                batch["input_ids"][r, at:end] = part.ids
                first = 1 if language and s else len(part.ids) - part.answer
                batch["labels"][r, at + first : end] = part.ids[first:]
                if language:
                    batch["weights"][r, at + first : end - part.answer] = language
                    batch["weights"][r, end - part.answer : end] = 1
                batch["position_ids"][r, at:end] = np.arange(begin, begin + end - at)
                batch["blocks"][r, at:end], batch["segments"][r, at:end] = b, s
                at = end
    return {name: torch.from_numpy(array) for name, array in batch.items()} | {"tokens": torch.tensor(lengths)}


def visible(blocks: Tensor, segments: Tensor) -> Tensor:
    """Which token sees which, bool (rows, 1, tokens, tokens): earlier ones of its prefix and of its segment."""
    width = blocks.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=blocks.device).tril()
    same_block = blocks[:, :, None] == blocks[:, None, :]
    same_segment = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    return (causal & same_block & same_segment)[:, None]
