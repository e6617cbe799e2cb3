"""Ways to have a GGUF complete a prompt on the CPU, with the same greedy answers.

``Direct`` works on an engine that takes tokens and gives logits: ONNX Runtime (lib/runtime/onnx_engine.py) or llama.cpp's own
calls (lib/runtime/llama_engine.py). Tokens that the grammar leaves no choice about are appended and read together with the next choice
instead of being asked for one by one, and the keys and values of the latest contexts are kept, so that changing between
them does not mean reading them again. ``ByServer`` asks llama.cpp's server, where the installed library offers no more;
it keeps one context and decodes every token.

>>> runtime = open_runtime(GgufFile(Path("student-q8_0.gguf")), vocabulary, 2, 4096)     # doctest: +SKIP
>>> runtime.complete(prompt, gbnf, max_new=256).ids                                      # doctest: +SKIP
[271, 14, 302, 9, 2]
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lib.model.codec import CONTEXTS_KEPT, Prompt
from lib.model.gguf_read import GgufError, GgufFile
from lib.model.vocabulary import Vocabulary
from lib.runtime import llama_engine, onnx_graph
from lib.runtime.constraint import Constraint, State, Words
from lib.runtime.engine import Engine, EngineError
from lib.runtime.onnx_engine import OnnxModel

STATES_BYTES = 128 << 20
"""Memory for the keys and values of contexts that are not the present one."""


class ServeError(ValueError):
    """A request that the model cannot take; the message says why and gives the remedy."""


@dataclass(frozen=True)
class Completion:
    """``ids`` with the end token; ``cached`` of the prompt's tokens were not read anew; ``steps``: times it was asked.

    ``logprob``: the sum over the tokens that were chosen, before the grammar; ``cut_off``: no end came.
    """

    ids: list[int]
    logprob: float
    cached: int
    steps: int
    cut_off: bool


class Runtime(Protocol):
    def complete(self, prompt: Prompt, gbnf: str | None, max_new: int) -> Completion:
        """The likeliest answer, token by token, under the grammar if there is one. Raises ServeError."""
        ...


KINDS = ("onnx", "direct", "server")


def open_runtime(file: GgufFile, vocabulary: Vocabulary, threads: int, context_tokens: int, kind: str = "") -> Runtime:
    """``kind``: one of KINDS, or empty for the one that ``suits`` the file. Raises ServeError, lib.model.gguf_write.GgufError."""
    if kind not in ("", *KINDS):
        raise ServeError(f"unknown runtime '{kind}': use {', '.join(KINDS)}")
    try:
        kind = kind or suits(file)
        if kind == "server":
            return ByServer(llama_engine.open_server(file.path, threads, context_tokens))
        return Direct(open_engine(file, threads, context_tokens, kind), vocabulary)
    except EngineError as error:
        raise GgufError(f"{file.path}: {error}; export or download it again") from error


def suits(file: GgufFile) -> str:
    """The kind of runtime for a file: ONNX Runtime if it runs the file's weights as they are, llama.cpp otherwise."""
    if onnx_graph.readable(file):
        return "onnx"
    return "direct" if llama_engine.available() else "server"


def open_engine(file: GgufFile, threads: int, context_tokens: int, kind: str) -> Engine:
    """The engine of a runtime of ``kind``, "onnx" or "direct". Raises EngineError."""
    if kind == "onnx":
        return OnnxModel(file, threads, context_tokens)
    return llama_engine.Llama(file.path, threads, context_tokens)


class Direct:
    """A Runtime on an engine."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary) -> None:
        self._model = engine
        words = Words(vocabulary)
        self._end = vocabulary.end
        self._constraint = lru_cache(CONTEXTS_KEPT)(lambda gbnf: Constraint(gbnf, words))
        self._read: list[int] = []
        self._prefix: tuple[int, ...] = ()
        self._states: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def complete(self, prompt: Prompt, gbnf: str | None, max_new: int) -> Completion:
        try:
            constraint = None if gbnf is None else self._constraint(gbnf)
            cached = self._recall(prompt)
            logits = self._feed(prompt.ids[cached:])
            return self._write(logits, constraint, max_new, cached)
        except (ValueError, EngineError) as error:
            self._forget()
            raise ServeError(f"the request cannot be answered ({error}); try without grammar") from error

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
        if len(self._read) >= len(self._prefix) > 0:
            self._model.keep(len(self._prefix))
            self._states[self._prefix] = self._model.state()
        while sum(memoryview(state).nbytes for state in self._states.values()) > STATES_BYTES:
            self._states.popitem(last=False)
        state = self._states.pop(prefix, None)
        if state is not None:
            self._model.restore(state, len(prefix))
            self._read = list(prefix)
        self._prefix = prefix

    def _forget(self) -> None:
        self._model.keep(0)
        self._read, self._prefix = [], ()

    def _feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        logits = self._model.feed(ids)
        self._read += ids
        return logits

    def _write(
        self, logits: NDArray[np.float32], constraint: Constraint | None, max_new: int, cached: int
    ) -> Completion:
        ids: list[int] = []
        state = constraint.first if constraint else None
        logprob, steps = 0.0, 0
        while True:
            token = constraint.best(state, logits) if constraint and state else int(logits.argmax())
            logprob, steps, known = logprob + _logprob(logits, token), steps + 1, len(ids)
            ids.append(token)
            if constraint and state:
                forced, state = self._forced(constraint, state, token)
                ids += forced
            if ids[-1] == self._end or len(ids) >= max_new:
                return Completion(ids, logprob, cached, steps, ids[-1] != self._end)
            logits = self._feed(ids[known:])

    def _forced(self, constraint: Constraint, state: State, token: int) -> tuple[list[int], State]:
        """What has to follow ``token``, and the state where there is a choice again."""
        found: list[int] = []
        while token != self._end:
            state = constraint.advance(state, token)
            only = constraint.forced(state)
            if only is None:
                break
            token = only
            found.append(token)
        return found, state


def _logprob(logits: NDArray[np.float32], token: int) -> float:
    top = float(logits.max())
    return float(logits[token]) - top - math.log(float(np.exp(logits - top).sum()))


class ByServer:
    """A Runtime that asks llama.cpp's server in this process."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def complete(self, prompt: Prompt, gbnf: str | None, max_new: int) -> Completion:
        request: dict[str, Any] = {
            "prompt": prompt.ids,
            "n_predict": max_new,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "n_probs": 1,
            "cache_prompt": True,
            "id_slot": 0,
        }
        response: dict[str, Any] = self._server.handle_completions(request | ({"grammar": gbnf} if gbnf else {}))
        if "choices" not in response:
            reason = response.get("error", {}).get("message", response)
            raise ServeError(f"llama.cpp refused the request ({reason}); try without grammar")
        choice, timings = response["choices"][0], response["timings"]
        tokens = (choice.get("logprobs") or {}).get("content") or []
        logprob = sum(token["logprob"] for token in tokens)
        cut_off = choice["finish_reason"] == "length"
        return Completion([t["id"] for t in tokens], logprob, timings["cache_n"], timings["predicted_n"], cut_off)
