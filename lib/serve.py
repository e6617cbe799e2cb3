"""Runs a student's GGUF on the CPU with ``xllamacpp`` (llama.cpp in this process), as a user would run it.

The prompt goes in as token ids, so that text stays data; a GBNF grammar from the catalogue and the context's numbering
constrains the answer; the one slot keeps the keys and values of the last prompt, so that the next request of the same
context only pays for its own words. Needs neither torch nor the folder that was trained.

>>> student = GgufStudent(Path("student-q8_0.gguf"), task)                            # doctest: +SKIP
>>> answer = student.answer("two teas please", context)                               # doctest: +SKIP
>>> answer.raw, answer.cached_tokens                                                  # doctest: +SKIP
('Give(item=3,amount=2)', 141)
"""

from __future__ import annotations

import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import xllamacpp

from lib.codec import CONTEXTS_KEPT, Codec, Prompt
from lib.gguf import GgufError, GgufFile
from lib.task import Answer, Task


class ServeError(ValueError):
    """A request that the model cannot take; the message says why and gives the remedy."""


class GgufStudent:
    """A System. An answer's confidence is the product of its tokens' probabilities, taken before the grammar."""

    def __init__(
        self,
        path: Path,
        task: Task,
        grammar: bool = True,
        threads: int = 2,
        context_tokens: int = 4096,
        max_new: int = 256,
    ) -> None:
        """Loads the model. Raises GgufError for a file that is no student of ``task``."""
        file = GgufFile(path)
        check_task(file, task)
        self.name = path.stem
        self.info = file.student
        self.grammar, self.context_tokens, self.max_new = grammar, context_tokens, max_new
        self.codec = Codec(task, file.vocabulary())
        self._gbnf = lru_cache(CONTEXTS_KEPT)(task.gbnf)
        self._server = _load(path, threads, context_tokens)

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """Answers one request; ``latency_ms`` is the wall time from text to calls.

        Raises ServeError for a prompt that is too long, lib.task.TaskError for a context that is wrong.
        """
        began = time.perf_counter()
        prompt = self.codec.prompt(context, text)
        room = self.context_tokens - self.max_new
        check_length(prompt, room)
        return self._read(prompt, self._complete(prompt), began)

    def _complete(self, prompt: Prompt) -> dict[str, Any]:
        request: dict[str, Any] = {
            "prompt": prompt.ids,
            "n_predict": self.max_new,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "n_probs": 1,
            "cache_prompt": True,
            "id_slot": 0,
        }
        if self.grammar:
            request["grammar"] = self._gbnf(prompt.refs)
        response: dict[str, Any] = self._server.handle_completions(request)
        if "choices" not in response:
            reason = response.get("error", {}).get("message", response)
            raise ServeError(f"llama.cpp refused the request ({reason}); try without grammar")
        return response

    def _read(self, prompt: Prompt, response: dict[str, Any], began: float) -> Answer:
        content = (response["choices"][0].get("logprobs") or {}).get("content") or []
        reading = self.codec.read([token["id"] for token in content], prompt.refs)
        cut_off = response["choices"][0]["finish_reason"] == "length"
        timings = response["timings"]
        return Answer(
            calls=[] if cut_off else reading.calls,
            raw=reading.raw,
            confidence=math.exp(sum(token["logprob"] for token in content)),
            latency_ms=(time.perf_counter() - began) * 1000,
            prompt_tokens=len(prompt.ids),
            cached_tokens=timings["cache_n"],
            new_tokens=timings["predicted_n"],
            error=f"no end within {self.max_new} tokens" if cut_off else reading.error,
        )


def check_length(prompt: Prompt, room: int) -> None:
    """Raises ServeError for a prompt of more than ``room`` tokens; it says whether context or request is too long."""
    prefix, request = len(prompt.prefix), len(prompt.request)
    if prefix >= room:
        raise ServeError(f"the context has {prefix} tokens, the model reads {room}: give fewer or shorter names")
    if prefix + request > room:
        raise ServeError(
            f"the request has {request} tokens, {room - prefix} are left beside the context: shorten the request"
        )


def check_task(file: GgufFile, task: Task) -> None:
    """Raises GgufError unless the file's student is for ``task``, with all its controls."""
    info = file.student
    if info["task"] != task.name:
        raise GgufError(f"{file.path}: a student for '{info['task']}', not '{task.name}'; give a model for this task")
    missing = [text for text in task.controls() if text not in info["controls"]]
    if missing:
        raise GgufError(f"{file.path}: lacks the control {missing[0]!r} that the task has now; export a new student")


def _load(path: Path, threads: int, context_tokens: int) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = context_tokens, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib, params.verbosity, params.ui = 0, -1, False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise GgufError(f"{path}: llama.cpp cannot load it ({error}); export or download it again") from error
