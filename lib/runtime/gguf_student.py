"""Runs a student's GGUF on the CPU, as a user would run it; needs neither torch nor the folder that was trained.

The prompt goes in as token ids, so that text stays data; the task's grammar constrains the answer; the context's keys
and values are kept, so that the next request of the same context only pays for its own tokens (lib/runtime/decode.py).
"""

from __future__ import annotations

import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.core.task import Answer, Task
from lib.model.codec import CONTEXTS_KEPT, Codec, Prompt, check_task
from lib.model.gguf_read import GgufFile
from lib.runtime.decode import Completion, ServeError, open_runtime


class GgufStudent:
    """A System. An answer's confidence is the product of the chosen tokens' probabilities, taken before the grammar."""

    def __init__(
        self,
        path: Path,
        task: Task,
        grammar: bool = True,
        threads: int = 2,
        context_tokens: int = 4096,
        max_new: int = 256,
        runtime: str = "",
    ) -> None:
        """Loads the model; ``runtime`` as in lib.runtime.decode.open_runtime. Raises GgufError or StudentError."""
        file = GgufFile(path)
        check_task(file.student, task, str(path))
        self.name = path.stem
        self.info = file.student
        self.grammar, self.context_tokens, self.max_new = grammar, context_tokens, max_new
        self.codec = Codec(task, file.vocabulary())
        self._grammar = lru_cache(CONTEXTS_KEPT)(task.grammar)
        self._runtime = open_runtime(file, self.codec.vocabulary, threads, context_tokens, runtime)

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """Answers one request; ``latency_ms`` is the wall time from text to calls.

        Raises ServeError for a prompt that is too long, lib.core.task.TaskError for a context that is wrong.
        """
        began = time.perf_counter()
        prompt = self.codec.prompt(context, text)
        check_length(prompt, self.context_tokens - self.max_new)
        grammar = self._grammar(prompt.refs) if self.grammar else None
        return self._read(prompt, self._runtime.complete(prompt, grammar, self.max_new), began)

    def _read(self, prompt: Prompt, done: Completion, began: float) -> Answer:
        reading = self.codec.read(done.ids, prompt.refs)
        return Answer(
            calls=[] if done.cut_off else reading.calls,
            raw=reading.raw,
            confidence=math.exp(done.logprob),
            latency_ms=(time.perf_counter() - began) * 1000,
            prompt_tokens=len(prompt.ids),
            cached_tokens=done.cached,
            new_tokens=len(done.ids),
            error=f"no end within {self.max_new} tokens" if done.cut_off else reading.error,
        )


def check_length(prompt: Prompt, room: int) -> None:
    """Raises ServeError for a prompt of more than ``room`` tokens; it says whether context or request is too long."""
    prefix, request = len(prompt.prefix), len(prompt.request)
    if prefix >= room:
        raise ServeError(f"the context has {prefix} tokens, the model reads {room}: give fewer or shorter names")
    if prefix + request > room:
        left = f"{room - prefix} are left beside the context"
        raise ServeError(f"the request has {request} tokens, {left}: shorten the request")
