"""Runs a student in torch: greedy decoding in batches, the reference that the GGUF is compared with.

Decoding is free (no grammar); an answer that does not parse is an empty one with its error. Requests of one context
share its prefix's keys and values on a CPU; on a GPU requests of about the same length form a left-padded batch.
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
from lib.model.generate import Decoded, batches, complete
from lib.model.student import Student

BATCH = {"cuda": 256, "cpu": 64}  # requests that are answered together, by kind of device

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
        self.end = student.vocabulary.end

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[Request], progress: bool = False) -> list[Answer]:
        """Answers in the order of ``requests``; ``latency_ms`` is a batch's time divided by its requests."""
        prompts = [self.codec.prompt(context, text) for text, context in requests]
        answers: dict[int, Answer] = {}
        with tqdm(total=len(prompts), desc=self.name, disable=not progress) as bar:
            for batch in batches(prompts, self.batch, self.model.device.type == "cpu"):
                answers |= self._answer_batch({i: prompts[i] for i in batch})
                bar.update(len(batch))
        return [answers[i] for i in range(len(prompts))]

    def _answer_batch(self, prompts: dict[int, Prompt]) -> dict[int, Answer]:
        began = time.perf_counter()
        outputs = complete(self.model, list(prompts.values()), self.end, self.max_new)
        ms = (time.perf_counter() - began) * 1000 / len(prompts)
        return {i: self._read(prompts[i], output, ms) for i, output in zip(prompts, outputs, strict=True)}

    def _read(self, prompt: Prompt, decoded: Decoded, ms: float) -> Answer:
        reading = self.codec.read(decoded.ids, prompt.refs)
        sizes = {"prompt_tokens": len(prompt.ids), "new_tokens": len(decoded.ids)}
        return Answer(reading.calls, reading.raw, math.exp(decoded.logprob), ms, **sizes, error=reading.error)
