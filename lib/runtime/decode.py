"""Completes a prompt on the CPU, greedily: by ONNX Runtime where it can run the file's weights, by llama.cpp otherwise.

``Decoder`` appends the tokens that the grammar leaves no choice about and reads them together with the next choice,
instead of asking for them one by one; it keeps the keys and values of the latest contexts, so that changing between
them does not mean reading them again. ``ByServer`` asks llama.cpp's server, which decodes every token and keeps one
context.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lib.model.codec import Prompt
from lib.model.gguf_read import GgufError, GgufFile
from lib.model.vocabulary import Vocabulary
from lib.runtime import onnx_graph
from lib.runtime.grammar import Answer, Grammars, to_gbnf
from lib.runtime.onnx_engine import EngineError, OnnxModel

STATES_BYTES = 128 << 20
"""Memory for the keys and values of contexts that are not the present one."""
KINDS = ("onnx", "server")


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
    def complete(self, prompt: Prompt, grammar: str | None, max_new: int) -> Completion:
        """The likeliest answer, token by token, under the grammar if there is one. Raises ServeError."""
        ...


def open_runtime(file: GgufFile, vocabulary: Vocabulary, threads: int, context_tokens: int, kind: str = "") -> Runtime:
    """``kind``: one of KINDS, or empty for the one that ``suits`` the file. Raises ServeError or GgufError."""
    kind = kind or suits(file)
    try:
        if kind == "onnx":
            return Decoder(OnnxModel(file, threads, context_tokens), vocabulary)
        if kind == "server":
            from lib.runtime.llama_server import open_server

            return ByServer(open_server(file.path, threads, context_tokens), vocabulary)
    except RuntimeError as error:  # EngineError or LlamaError
        raise GgufError(f"{file.path}: {error}; export or download it again") from error
    raise ServeError(f"unknown runtime '{kind}': use {', '.join(KINDS)}")


def suits(file: GgufFile) -> str:
    """The kind of runtime for a file: ONNX Runtime if it runs the file's weights as they are, llama.cpp otherwise."""
    return "onnx" if onnx_graph.readable(file) else "server"


class Decoder:
    """A Runtime on a model that takes tokens and gives logits."""

    def __init__(self, model: OnnxModel, vocabulary: Vocabulary) -> None:
        self._model, self._end = model, vocabulary.end
        self._grammars = Grammars(vocabulary)
        self._read: list[int] = []
        self._prefix: tuple[int, ...] = ()
        self._states: OrderedDict[tuple[int, ...], NDArray[np.float32]] = OrderedDict()

    def complete(self, prompt: Prompt, grammar: str | None, max_new: int) -> Completion:
        try:
            answer = None if grammar is None else self._grammars.start(grammar)
            cached = self._recall(prompt)
            return self._write(self._feed(prompt.ids[cached:]), answer, max_new, cached)
        except (ValueError, EngineError) as error:
            self._model.keep(0)
            self._read, self._prefix = [], ()
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
        while sum(state.nbytes for state in self._states.values()) > STATES_BYTES:
            self._states.popitem(last=False)
        state = self._states.pop(prefix, None)
        if state is not None:
            self._model.restore(state, len(prefix))
            self._read = list(prefix)
        self._prefix = prefix

    def _feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        logits = self._model.feed(ids)
        self._read += ids
        return logits

    def _write(self, logits: NDArray[np.float32], answer: Answer | None, max_new: int, cached: int) -> Completion:
        ids: list[int] = []
        logprob, steps = 0.0, 0
        while True:
            token = answer.best(logits) if answer else int(logits.argmax())
            logprob, steps, known = logprob + _logprob(logits, token), steps + 1, len(ids)
            ids += answer.take(token) if answer else [token]
            if ids[-1] == self._end or len(ids) >= max_new:
                return Completion(ids, logprob, cached, steps, ids[-1] != self._end)
            logits = self._feed(ids[known:])


def _logprob(logits: NDArray[np.float32], token: int) -> float:
    top = float(logits.max())
    return float(logits[token]) - top - math.log(float(np.exp(logits - top).sum()))


class ByServer:
    """A Runtime that asks llama.cpp's server in this process."""

    def __init__(self, server: Any, vocabulary: Vocabulary) -> None:
        self._server, self._controls = server, vocabulary.controls

    def complete(self, prompt: Prompt, grammar: str | None, max_new: int) -> Completion:
        request: dict[str, Any] = {
            "prompt": prompt.ids,
            "n_predict": max_new,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "n_probs": 1,
            "cache_prompt": True,
            "id_slot": 0,
        }
        if grammar is not None:
            request["grammar"] = to_gbnf(grammar, self._controls)
        response: dict[str, Any] = self._server.handle_completions(request)
        if "choices" not in response:
            reason = response.get("error", {}).get("message", response)
            raise ServeError(f"llama.cpp refused the request ({reason}); try without grammar")
        choice, timings = response["choices"][0], response["timings"]
        tokens = (choice.get("logprobs") or {}).get("content") or []
        logprob = sum(token["logprob"] for token in tokens)
        cut_off = choice["finish_reason"] == "length"
        return Completion([t["id"] for t in tokens], logprob, timings["cache_n"], timings["predicted_n"], cut_off)
