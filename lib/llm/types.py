"""One small interface to large language models: a chat prompt goes in, a reply comes out.

Backends differ in where the model runs: ``lib.llm.torch`` (transformers), ``lib.llm.gguf`` (a GGUF file),
``lib.llm.openai`` (an endpoint) and ``lib.llm.replay`` (a recording, the default). A prompt's key names it there:

>>> prompt = Prompt.of("Answer with one word.", "What is the capital of France?", max_tokens=4)
>>> prompt.key("a-model") == prompt.key("another")
False
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol


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


class Backend(Protocol):
    """Where prompts are answered. ``model`` names the weights: part of every recorded request's key."""

    model: str

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order, with ``error`` for a prompt that fails. Raises BackendError where none could succeed."""
