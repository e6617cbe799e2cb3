"""Runs a student in torch: batched decoding, greedy or sampled, and the reference that the GGUF is compared with.

Decoding is free (no grammar). Requests that begin alike share their prefix's keys and values on a CPU, behind which
rows are left-padded; on a GPU requests of about the same length form a batch. Once a quarter of a batch's rows have
finished they are taken out of it. Students are read by lib/model/fast_decode.py; other models, and students that are
trained with adapters, by transformers.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import DynamicCache

from lib.core.task import Answer, Task
from lib.model import fast_decode
from lib.model.codec import Codec, Prompt, check_task
from lib.model.student import Student

LEAVE_SHARE = 0.25
BATCH = {"cuda": 256, "cpu": 32}  # requests that are answered together, by kind of device

Choose = Callable[[Tensor, list[int]], tuple[Tensor, Tensor]]
"""From logits (rows, vocabulary) in fp32 and the rows' indexes: the next ids and their log-probabilities, (rows,)."""


@dataclass
class Decoded:
    """The new ids of one row, end token included if it came, and their log-probabilities."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass
class ModelMemory:
    """What rows have read with any causal model of transformers; methods as of fast_decode.LeanMemory."""

    model: Any
    cache: Any
    length: int = 0

    def read(self, ids: Tensor, seen: Tensor, positions: Tensor) -> Tensor:
        arguments = {"attention_mask": seen.long(), "position_ids": positions, "logits_to_keep": 1}
        logits: Tensor = self.model(ids, past_key_values=self.cache, use_cache=True, **arguments).logits
        self.length += ids.shape[1]
        return logits[:, -1].float()

    def expand(self, rows: int, room: int) -> ModelMemory:
        cache = copy.deepcopy(self.cache)
        if self.length:
            cache.batch_repeat_interleave(rows)
        return replace(self, cache=cache)

    def repeat(self, copies: int) -> None:
        self.cache.batch_repeat_interleave(copies)

    def select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)


Memory = fast_decode.LeanMemory | ModelMemory


@dataclass(frozen=True)
class Prefix:
    """Token ids that several rows begin with, and the memory of one row that has read them."""

    ids: tuple[int, ...]
    memory: Memory

    @classmethod
    @torch.no_grad()
    def read(cls, model: Any, ids: Sequence[int]) -> Prefix:
        """Runs the model over ``ids``, once."""
        memory: Memory = ModelMemory(model, DynamicCache(config=model.config))
        if fast_decode.fits(model):
            memory = fast_decode.LeanMemory.of(model, room=len(ids))
        if ids:
            tokens = torch.tensor([list(ids)], device=model.device)
            memory.read(tokens, tokens >= 0, torch.arange(len(ids), device=model.device)[None])
        return cls(tuple(ids), memory)


def likeliest(logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
    """Greedy choice."""
    best = logits.log_softmax(-1).max(-1)
    return best.indices, best.values


@torch.no_grad()
def decode(
    model: Any,
    prefix: Prefix,
    rest: Sequence[Sequence[int]],
    ends: Collection[int],
    limits: Sequence[int],
    choose: Choose = likeliest,
    copies: int = 1,
) -> list[Decoded]:
    """``copies`` continuations of ``prefix + r`` for each non-empty ``r`` of ``rest``, side by side.

    ``limits``: the most new tokens of each. Keys and values of what copies share are computed once.
    """
    done = [Decoded() for _ in range(len(rest) * copies)]
    batch = _Batch(model.device, prefix, rest, copies, max(limits, default=0))
    while batch.rows:
        ids, logprobs = choose(batch.forward(), batch.rows)
        finished = batch.finished
        for i, (row, token, logprob) in enumerate(zip(batch.rows, ids.tolist(), logprobs.tolist(), strict=True)):
            if not finished[i]:
                done[row].ids.append(token)
                done[row].logprobs.append(logprob)
                finished[i] = token in ends or len(done[row].ids) >= limits[row]
        batch.extend(ids)
        if all(finished) or sum(finished) >= LEAVE_SHARE * len(finished):
            batch.keep([i for i, gone in enumerate(finished) if not gone])
    return done


def batches(prompts: Sequence[Prompt], size: int, by_prefix: bool, experts: Any = None) -> list[list[int]]:
    """Indexes of prompts in batches of about one length; ``by_prefix``: each prefix has batches of its own.

    With a model's ``experts`` each prefix and expert has.
    """
    often = Counter(tuple(p.prefix) for p in prompts) if by_prefix else Counter()
    own: list[tuple[Any, ...]] = [tuple(p.prefix) if often[tuple(p.prefix)] > 1 else () for p in prompts]
    if experts:
        own = [(tuple(p.prefix), experts.expert(p.request)) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (own[i], len(prompts[i].ids), i))
    runs = [list(run) for _, run in groupby(order, key=own.__getitem__)]
    return [run[start : start + size] for run in runs for start in range(0, len(run), size)]


def complete(
    model: Any, prompts: Sequence[Prompt], end: int, max_new: int, choose: Choose = likeliest, copies: int = 1
) -> list[Decoded]:
    """``copies`` answers to each prompt, side by side; a prefix that all prompts share is read once.

    Of a model with experts the prompts must share their prefix and expert.
    """
    shared = all(p.prefix == prompts[0].prefix for p in prompts)
    rest = [p.request if shared else p.ids for p in prompts]
    prefix = Prefix.read(model, prompts[0].prefix if shared else [])
    experts = getattr(model, "experts", None)
    if experts:
        experts.use(prompts[0].request)
    try:
        return decode(model, prefix, rest, {end}, [max_new] * (len(prompts) * copies), choose, copies)
    finally:
        if experts:
            experts.use()


class _Batch:
    """The rows still open: their memory, which tokens count, (rows, tokens), and next input, (rows, new tokens)."""

    def __init__(self, device: Any, prefix: Prefix, rest: Sequence[Sequence[int]], copies: int, most: int) -> None:
        self.rows, self.finished, self.copies = list(range(len(rest))), [False] * len(rest), copies
        width = max(map(len, rest))
        pads = torch.tensor([width - len(r) for r in rest], device=device)
        self.ids = torch.tensor([[0] * (width - len(r)) + list(r) for r in rest], device=device)
        seen = torch.arange(width, device=device) >= pads[:, None]
        before = torch.ones(len(rest), len(prefix.ids), dtype=torch.bool, device=device)
        self.seen = torch.cat([before, seen], dim=1)
        self.positions = (len(prefix.ids) + torch.arange(width, device=device) - pads[:, None]).clamp(min=0)
        self.memory = prefix.memory.expand(len(rest), width + most)

    def forward(self) -> Tensor:
        """Logits (rows, vocabulary) of the next token in fp32; copies are made once what they share has been read."""
        logits = self.memory.read(self.ids, self.seen, self.positions)
        n, self.copies = self.copies, 1
        if n == 1:
            return logits
        self.memory.repeat(n)
        self.seen, self.positions = self.seen.repeat_interleave(n, 0), self.positions.repeat_interleave(n, 0)
        self.rows, self.finished = list(range(len(self.rows) * n)), [False] * (len(self.rows) * n)
        return logits.repeat_interleave(n, 0)

    def extend(self, ids: Tensor) -> None:
        """Makes the chosen ids, (rows,), the next input."""
        self.ids = ids[:, None]
        self.seen = torch.cat([self.seen, torch.ones_like(self.seen[:, :1])], dim=1)
        self.positions = self.positions[:, -1:] + 1

    def keep(self, places: list[int]) -> None:
        """Drops all rows but those at ``places``."""
        self.rows = [self.rows[i] for i in places]
        self.finished = [False] * len(places)
        if places:
            index = torch.tensor(places, device=self.ids.device)
            self.memory.select(index)
            self.ids, self.seen, self.positions = self.ids[index], self.seen[index], self.positions[index]


Request = tuple[str, dict[str, Any]]  # a request's text and context


def bf16_hardware() -> bool:
    """Whether this machine computes bf16 itself: a GPU that does, or a CPU with AVX-512 BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


class TorchStudent:
    """A System. An answer's confidence is the product of the probabilities of its tokens, end token included."""

    def __init__(
        self, student: Student, task: Task, name: str = "student-torch", batch: int = 0, max_new: int = 96
    ) -> None:
        """``batch``: requests that are answered together; 0: what suits the hardware."""
        check_task(student.info, task, name)
        self.name = name
        self.model: Any = student.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self.codec = Codec(task, student.vocabulary)
        self.batch, self.max_new = batch or BATCH[self.model.device.type], max_new

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[Request], progress: bool = False) -> list[Answer]:
        """Answers in the order of ``requests``; ``latency_ms`` is a batch's time divided by its requests."""
        prompts = [self.codec.prompt(context, text) for text, context in requests]
        answers: dict[int, Answer] = {}
        cpu, experts = self.model.device.type == "cpu", getattr(self.model, "experts", None)
        together = batches(prompts, self.batch, cpu, experts)
        with tqdm(total=len(prompts), desc=self.name, disable=not progress) as bar:
            for batch in together:
                answers |= zip(batch, self._answer_batch([(prompts[i], requests[i]) for i in batch]), strict=True)
                bar.update(len(batch))
        return [answers[i] for i in range(len(prompts))]

    def _answer_batch(self, asked: Sequence[tuple[Prompt, Request]]) -> list[Answer]:
        began, prompts = time.perf_counter(), [prompt for prompt, _ in asked]
        outputs = complete(self.model, prompts, self.codec.vocabulary.end, self.max_new)
        ms = (time.perf_counter() - began) * 1000 / len(prompts)
        return [
            self._read(prompt, *request, output, ms) for (prompt, request), output in zip(asked, outputs, strict=True)
        ]

    def _read(self, prompt: Prompt, text: str, context: dict[str, Any], decoded: Decoded, ms: float) -> Answer:
        found = self.codec.executable(decoded.ids, prompt.refs, context, text)
        sizes = {"prompt_tokens": len(prompt.ids), "new_tokens": len(decoded.ids)}
        sure = math.exp(sum(decoded.logprobs))
        return Answer(found.calls, found.raw, sure, ms, **sizes, error=found.error, ask=found.ask)
