"""Runs a student in torch: greedy decoding in batches, the reference that the GGUF is compared with.

Decoding is free (no grammar); an answer that does not parse is an empty one with its error. Requests of one context
share its prefix's keys and values on a CPU; on a GPU requests of about the same length form a left-padded batch.

>>> TorchStudent(student, task).answer("two teas please", context).calls              # doctest: +SKIP
[{'name': 'Give', 'arguments': {'item': 'Tea', 'amount': 2}}]
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from lib.core.task import Answer, Task
from lib.model.codec import Codec, Prompt, check_task
from lib.model.generate import Decoded, Prefix, decode
from lib.model.student import Student

BATCH = {"cuda": 256, "cpu": 64}
"""Requests that are answered together, by kind of device."""

Request = tuple[str, dict[str, Any]]
"""A request's text and context."""


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
        self.end = student.vocabulary.end

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[Request], progress: bool = False) -> list[Answer]:
        """Answers in the order of ``requests``; ``latency_ms`` is a batch's time divided by its requests."""
        prompts = [self.codec.prompt(context, text) for text, context in requests]
        answers: dict[int, Answer] = {}
        with tqdm(total=len(prompts), desc=self.name, disable=not progress) as bar:
            for batch in self._batches(prompts):
                answers |= self._answer_batch({i: prompts[i] for i in batch})
                bar.update(len(batch))
        return [answers[i] for i in range(len(prompts))]

    def _batches(self, prompts: list[Prompt]) -> list[list[int]]:
        """Indexes in batches: of one prefix on a CPU, of about one length otherwise."""
        shared = self.model.device.type == "cpu"
        order = sorted(range(len(prompts)), key=lambda i: (prompts[i].prefix if shared else [], len(prompts[i].ids)))
        batches: list[list[int]] = []
        for i in order:
            same = batches and (not shared or prompts[batches[-1][0]].prefix == prompts[i].prefix)
            if same and len(batches[-1]) < self.batch:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _answer_batch(self, prompts: dict[int, Prompt]) -> dict[int, Answer]:
        began = time.perf_counter()
        first = next(iter(prompts.values()))
        shared = all(p.prefix == first.prefix for p in prompts.values())
        prefix = first.prefix if shared else []
        rest = [p.request if shared else p.ids for p in prompts.values()]
        outputs = decode(self.model, Prefix.read(self.model, prefix), rest, {self.end}, [self.max_new] * len(rest))
        ms = (time.perf_counter() - began) * 1000 / len(prompts)
        return {i: self._read(prompts[i], output, ms) for i, output in zip(prompts, outputs, strict=True)}

    def _read(self, prompt: Prompt, decoded: Decoded, ms: float) -> Answer:
        reading = self.codec.read(decoded.ids, prompt.refs)
        sizes = {"prompt_tokens": len(prompt.ids), "new_tokens": len(decoded.ids)}
        return Answer(reading.calls, reading.raw, math.exp(decoded.logprob), ms, **sizes, error=reading.error)
