"""Runs a student's GGUF on the CPU, as a user would run it; needs neither torch nor the folder that was trained.

The prompt goes in as token ids, so that text stays data; the task's grammar constrains the answer. ONNX Runtime reads a
file whose weights it can run (``Decoder``), llama.cpp any other (``ByServer``). ``Decoder`` appends the tokens that the
grammar leaves no choice about and reads them together with the next choice; it keeps the keys and values of the latest
contexts, so that a request only pays for its own tokens. With the grammar, it copies the values that the task says are
copied from the request. ``ByServer`` decodes every token, keeps one context and copies nothing.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.task import Answer, Copied, Task, TaskError
from lib.model.codec import CONTEXTS_KEPT, Codec, Prompt, StudentError, check_task
from lib.model.gguf_read import GgufError, GgufFile
from lib.model.vocabulary import Vocabulary
from lib.runtime.grammar import Grammars, Matcher, to_gbnf
from lib.runtime.onnx_engine import Floats, OnnxModel, suits

CONTEXT_TOKENS = 4096  # of a prompt and its answer
STATES_BYTES = 64 << 20  # memory for copies of contexts' keys and values
KINDS = ("onnx", "server")


class GgufStudent:
    """A System. An answer's confidence is the product of the chosen tokens' probabilities, taken before the grammar."""

    def __init__(
        self, path: Path, task: Task, grammar: bool = True, threads: int = 2, max_new: int = 256, runtime: str = ""
    ) -> None:
        """Loads the model; ``runtime`` as in ``open_runtime``. Raises GgufError or StudentError."""
        file = GgufFile(path)
        check_task(file.student, task, str(path))
        self.name, self.grammar, self.max_new = path.stem, grammar, max_new
        self.codec = Codec(task, file.vocabulary())
        file.check_shapes(len(self.codec.vocabulary))
        self._grammar = lru_cache(CONTEXTS_KEPT)(self.codec.task.grammar)
        self._runtime = open_runtime(file, self.codec.vocabulary, threads, runtime)

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """Answers one request; ``latency_ms`` is the wall time from text to calls. Raises TaskError."""
        began = time.perf_counter()
        prompt = self.codec.prompt(context, text)
        check_length(prompt, CONTEXT_TOKENS - self.max_new)
        rules = Rules(self._grammar(prompt.refs), self.codec.task.copied(text)) if self.grammar else None
        done = self._runtime.complete(prompt, rules, self.max_new)
        reading = self.codec.executable(done.ids, prompt.refs, context, text)
        return Answer(
            calls=[] if done.cut_off else reading.calls,
            raw=reading.raw,
            ask=None if done.cut_off else reading.ask,
            confidence=math.exp(done.logprob),
            latency_ms=(time.perf_counter() - began) * 1000,
            prompt_tokens=len(prompt.ids),
            cached_tokens=done.cached,
            new_tokens=len(done.ids),
            error=f"no end within {self.max_new} tokens" if done.cut_off else reading.error,
        )


def check_length(prompt: Prompt, room: int) -> None:
    """Raises TaskError for a prompt of more than ``room`` tokens; it says whether context or request is too long."""
    prefix, request = len(prompt.prefix), len(prompt.request)
    if prefix >= room:
        raise TaskError(f"the context has {prefix} tokens, the model reads {room}: give fewer or shorter names")
    if prefix + request > room:
        left = f"{room - prefix} are left beside the context"
        raise TaskError(f"the request has {request} tokens, {left}: shorten the request")


@dataclass(frozen=True)
class Rules:
    """What an answer may be: a task's grammar, and where its copied values come from."""

    grammar: str
    copied: Mapping[str, Copied] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """``ids`` with the end token; ``cached`` of the prompt's tokens were not read anew.

    ``logprob``: the sum over the tokens that were chosen, before the grammar; ``cut_off``: no end came.
    """

    ids: list[int]
    logprob: float
    cached: int
    cut_off: bool


class Decoder:
    """Decodes greedily with a model that takes tokens and gives logits."""

    def __init__(self, model: OnnxModel, vocabulary: Vocabulary) -> None:
        self._model, self._end = model, vocabulary.end
        self._grammars = Grammars(vocabulary)
        self._read: list[int] = []
        self._prefix: tuple[int, ...] = ()
        self._states: dict[tuple[int, ...], Floats] = {}

    def complete(self, prompt: Prompt, rules: Rules | None, max_new: int) -> Completion:
        """The likeliest answer, token by token, under the rules if there are any. Raises TaskError."""
        try:
            answer = None if rules is None else self._grammars.start(rules.grammar, rules.copied)
            cached = self._recall(prompt)
            return self._write(self._feed(prompt.ids[cached:]), answer, max_new, cached)
        except (ValueError, RuntimeError) as error:
            self._model.keep(0)
            self._read, self._prefix = [], ()
            raise TaskError(f"the request cannot be answered ({error}); try without grammar") from error

    def _recall(self, prompt: Prompt) -> int:
        """Makes what is known of the prompt the model's own; at least its last token is left to be read."""
        prefix = tuple(prompt.prefix)
        if prefix != self._prefix:
            self._change(prefix)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._read, prompt.ids, strict=False)))
        same = min(same, len(prompt.ids) - 1)
        self._model.keep(same)
        del self._read[same:]
        return same

    def _change(self, prefix: tuple[int, ...]) -> None:
        """Puts the present context away and takes up the one of ``prefix`` if it was put away before."""
        if len(self._read) >= len(self._prefix) > 0 and self._prefix not in self._states:
            self._model.keep(len(self._prefix))
            self._states[self._prefix] = self._model.state()
        while sum(state.nbytes for state in self._states.values()) > STATES_BYTES:
            self._states.pop(next(iter(self._states)))
        state = self._states.pop(prefix, None)
        if state is not None:
            self._states[prefix] = state  # the latest is the last to be forgotten
            self._model.restore(state)
            self._read = list(prefix)
        self._prefix = prefix

    def _feed(self, ids: Sequence[int]) -> Floats:
        logits = self._model.feed(ids)
        self._read += ids
        return logits

    def _write(self, logits: Floats, answer: Matcher | None, max_new: int, cached: int) -> Completion:
        ids: list[int] = []
        logprob = 0.0
        while True:
            token = answer.best(logits) if answer else int(logits.argmax())
            logprob, known = logprob + _logprob(logits, token), len(ids)
            ids += answer.take(token) if answer else [token]
            if ids[-1] == self._end or len(ids) >= max_new:
                return Completion(ids, logprob, cached, ids[-1] != self._end)
            logits = self._feed(ids[known:])


def _logprob(logits: Floats, token: int) -> float:
    top = float(logits.max())
    return float(logits[token]) - top - math.log(float(np.exp(logits - top).sum()))


class ByServer:
    """Asks llama.cpp's server in this process. Of the rules it keeps the grammar; copied values are written freely."""

    def __init__(self, server: Any, vocabulary: Vocabulary) -> None:
        self._server, self._controls = server, vocabulary.controls

    def complete(self, prompt: Prompt, rules: Rules | None, max_new: int) -> Completion:
        request: dict[str, Any] = {"prompt": prompt.ids, "n_predict": max_new, "cache_prompt": True, "id_slot": 0}
        request |= {"temperature": 0.0, "samplers": ["temperature"], "n_probs": 1}
        if rules is not None:
            request["grammar"] = to_gbnf(rules.grammar, self._controls)
        response: dict[str, Any] = self._server.handle_completions(request)
        if "choices" not in response:
            reason = response.get("error", {}).get("message", response)
            raise TaskError(f"llama.cpp refused the request ({reason}); try without grammar")
        choice, cached = response["choices"][0], response["timings"]["cache_n"]
        tokens = (choice.get("logprobs") or {}).get("content") or []
        logprob = sum(token["logprob"] for token in tokens)
        cut_off = choice["finish_reason"] == "length"
        return Completion([t["id"] for t in tokens], logprob, cached, cut_off)


def open_runtime(file: GgufFile, vocabulary: Vocabulary, threads: int, kind: str = "") -> Decoder | ByServer:
    """``kind``: one of KINDS, or empty for the one that ``suits`` the file. Raises StudentError or GgufError."""
    kind = kind or suits(file)
    try:
        if kind == "onnx":
            return Decoder(OnnxModel(file, threads, CONTEXT_TOKENS), vocabulary)
        if kind == "server":
            from lib.runtime.llama_server import open_server

            return ByServer(open_server(file.path, threads, CONTEXT_TOKENS), vocabulary)
    except RuntimeError as error:
        raise GgufError(f"{file.path}: {error}; export or download it again") from error
    raise StudentError(f"unknown runtime '{kind}': use {', '.join(KINDS)}")
