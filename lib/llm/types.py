"""One small interface to large language models: a chat prompt goes in, a reply comes out.

Backends differ in where the model runs: ``lib.llm.torch`` (transformers), ``lib.llm.gguf`` (a GGUF file),
``lib.llm.openai`` (an endpoint) and ``lib.llm.replay`` (a recording, the default). A prompt's key names it there:

>>> prompt = Prompt.of("Answer with one word.", "What is the capital of France?", max_tokens=4)
>>> prompt.key("a-model") == prompt.key("another")
False
>>> body = b'{"choices": [{"message": {"content": "Paris"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}'
>>> read_answer(body, prompt, "a-model", 0.25).text
'Paris'
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from tqdm.auto import tqdm

EXCERPT = 120  # characters of a server's message in an error


class BackendError(ValueError):
    """No request of this backend can succeed: the message names the cause and the remedy."""


@dataclass(frozen=True)
class Prompt:
    """A chat request with its sampling settings.

    ``messages``: (role, content) pairs; ``schema``: JSON schema that decoding is constrained to, or None;
    ``temperature`` 0 is greedy; ``seed`` distinguishes several samples of one request.
    """

    messages: tuple[tuple[str, str], ...]
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, system: str, *turns: str, **settings: Any) -> Prompt:
        """A system message, then turns of user and assistant, the last one the user's."""
        roles = ("user", "assistant")
        return cls((("system", system), *((roles[i % 2], turn) for i, turn in enumerate(turns))), **settings)

    def key(self, model: str) -> str:
        """32 hex digits of the SHA-256 of model, messages, schema and sampling settings."""
        text = json.dumps([model, asdict(self)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def request(self) -> dict[str, Any]:
        """As every kind of endpoint gets it, without the schema."""
        messages = [{"role": role, "content": content} for role, content in self.messages]
        return {"messages": messages} | {k: getattr(self, k) for k in ("max_tokens", "temperature", "top_p", "seed")}


@dataclass(frozen=True)
class Reply:
    """What a model answered. ``finish``: "stop", "length" (cut off) or "error" (``error`` then says why).

    ``latency_s``: seconds until the reply was there; replies of one batch share their batch's time.
    ``cached_tokens``: the part of ``prompt_tokens`` whose keys and values were computed before.
    """

    text: str
    model: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    latency_s: float = 0.0
    finish: str = "stop"
    error: str = ""

    def failed(self, reason: str, detail: object) -> Reply:
        """This reply as an error, with the beginning of ``detail`` on one line."""
        line = " ".join(str(detail).split())
        return replace(self, finish="error", error=f"{reason}: {line[:EXCERPT]}{'…' * (len(line) > EXCERPT)}")


class Backend(Protocol):
    """Where prompts are answered. ``model`` names the weights: part of every recorded request's key."""

    model: str

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order, with ``error`` for a prompt that fails. Raises BackendError where none could succeed."""


def answer_all(answer: Callable[[Prompt], Reply], prompts: Sequence[Prompt], workers: int, name: str) -> list[Reply]:
    """``answer`` of every prompt, at most ``workers`` at a time; replies in the order of ``prompts``."""
    pool = ThreadPoolExecutor(workers)
    try:
        done = pool.map(answer, prompts)
        return list(tqdm(done, total=len(prompts), desc=name[:24], unit=" prompts", disable=None, leave=None))
    finally:
        pool.shutdown(cancel_futures=True)


def read_answer(body: bytes, prompt: Prompt, model: str, seconds: float) -> Reply:
    """Reads a chat completion. Never raises: of what is none the reply has an ``error``, "short reason: details"."""
    reply = Reply("", model, latency_s=round(seconds, 3))
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        text, finish = choice["message"].get("content") or "", choice.get("finish_reason")
        reply = replace(reply, text=text.encode("utf-8", "replace").decode(), **_counts(answer["usage"]))
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        return reply.failed("malformed", body.decode(errors="replace"))
    if finish == "length":
        return replace(reply, finish="length")
    if finish not in ("stop", "eos", "", None):
        return reply.failed("refused", f"the answer ended with {finish}")
    if not reply.text.strip():
        return reply.failed("empty", "the answer has no text")
    return reply if prompt.schema is None else _as_json(reply)


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
    counts = {"prompt_tokens": usage.get("prompt_tokens"), "new_tokens": usage.get("completion_tokens")}
    return {name: int(count or 0) for name, count in {**counts, "cached_tokens": cached}.items()}


def _as_json(reply: Reply) -> Reply:
    """``reply`` without the Markdown fence that models write around JSON where nothing constrains them."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", reply.text, re.DOTALL)
    text = fenced[1] if fenced else reply.text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return reply.failed("not JSON", f"a schema was asked for: {reply.text}")
    return replace(reply, text=text)
