"""Any OpenAI-compatible chat endpoint (vLLM, Ollama, llama.cpp's server, hosted), through the ``openai`` client.

Requests go out at most ``concurrency`` at a time. What may pass (429, 5xx, timeouts, broken connections) is tried again
after exponential back-off with jitter, or after what the server's Retry-After asks for; other refusals are not.

>>> backend = OpenAIBackend("qwen2.5:1.5b", "http://localhost:11434/v1")                       # doctest: +SKIP
>>> backend.complete([Prompt.of("Answer with one word.", "What is the capital of France?")])   # doctest: +SKIP
[Reply(text='Paris', model='qwen2.5:1.5b', prompt_tokens=28, ...)]

Back-off with jitter: M. Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Lock
from typing import Any
from urllib.parse import urlsplit

import openai

from lib.llm.answer import excerpt, failed, read_answer
from lib.llm.failure import BAD_REQUEST, SAMPLING, UNREACHABLE, Failure, from_connection, from_status, refused_part
from lib.llm.secret import Secret
from lib.llm.threads import answer_all
from lib.llm.types import BackendError, Prompt, Reply

LONGEST_WAIT = 120.0

log = logging.getLogger(__name__)


class OpenAIBackend:
    """A Backend. ``model``: as the endpoint calls it; ``name``: as recordings call it, by default the same.

    ``base_url``: with its path, such as http://localhost:8000/v1; ``key_env``: the environment variable with the key,
    which may be unset for a local endpoint; ``timeout_s``: seconds for one answer; ``retries``: attempts after the
    first; ``backoff_s``: seconds before the second, doubled each time. ``counts``: failures and retries by reason.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        key_env: str = "OPENAI_API_KEY",
        name: str = "",
        concurrency: int = 8,
        timeout_s: float = 120.0,
        retries: int = 5,
        backoff_s: float = 1.0,
    ) -> None:
        """Raises BackendError for a setting that cannot work; the endpoint is first asked by ``complete``."""
        _check(model, base_url, concurrency, retries, timeout_s)
        self.model, self.base_url, self.counts = name or model, base_url, Counter[str]()
        self.concurrency, self.retries, self.backoff_s = concurrency, retries, backoff_s
        self._served_name, self._secret = model, Secret(key_env)
        self._client = openai.OpenAI(base_url=base_url, api_key=self._secret.reveal(), timeout=timeout_s, max_retries=0)
        self._lock, nothing = Lock(), frozenset[str]()
        self._refused = self._taken = self._told = nothing
        self._reached = self._down = False

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order; ``latency_s`` is the time of the attempt that was answered.

        Raises BackendError if the very first request finds no server, no access or no such model, or is refused as a
        bad one with nothing left to do without.
        """
        first = [self._first(prompt) for prompt in prompts[:1] if not self._reached]
        return first + answer_all(self._answer, prompts[len(first) :], self.concurrency, self.model)

    def _first(self, prompt: Prompt) -> Reply:
        """The first contact, one request alone, so that a wrong key is refused once and not by every thread."""
        got = self._try(prompt, Event())
        if isinstance(got, Failure) and (remedy := self._remedy(got)):
            raise BackendError(self._secret.redact(f"{self.base_url}: {got.reason}: {got.detail}: {remedy}"))
        self._reached = True
        return self._reply(got)

    def _answer(self, prompt: Prompt, stop: Event) -> Reply:
        return self._reply(self._try(prompt, stop))

    def _reply(self, got: Reply | Failure) -> Reply:
        """A reply without the key in it, counted if it is no plain answer."""
        reply = failed(Reply("", self.model), got.reason, got.detail) if isinstance(got, Failure) else got
        if reply.finish != "stop":
            self._count(reply.error.partition(":")[0] or reply.finish)
        return replace(reply, text=self._secret.redact(reply.text), error=self._secret.redact(reply.error))

    def _try(self, prompt: Prompt, stop: Event) -> Reply | Failure:
        """One prompt, tried again while that makes sense."""
        attempt = 0
        while isinstance(got := self._send(prompt), Failure) and self._again(got, attempt) and not stop.is_set():
            self._count(f"retry after {got.reason}")
            pause = min(self.backoff_s * 2**attempt, LONGEST_WAIT)
            stop.wait(got.wait_s + pause * random.uniform(0.5, 1.0))
            attempt += 1
        self._down = isinstance(got, Failure) and got.reason == UNREACHABLE
        return got

    def _again(self, failure: Failure, attempt: int) -> bool:
        """Whether to retry: rarely where no server is found, so that a long run ends when its server is gone."""
        if not failure.retry or failure.wait_s > LONGEST_WAIT:
            return False
        if failure.reason != UNREACHABLE:
            return attempt < self.retries
        return attempt < (0 if self._down else self.retries if self._reached else min(1, self.retries))

    def _send(self, prompt: Prompt, without: frozenset[str] = frozenset()) -> Reply | Failure:
        """One request; sent again without a part that the server does not take."""
        request, began = self._request(prompt, without | self._refused), time.perf_counter()
        try:
            raw = self._client.chat.completions.with_raw_response.create(**request)
            seconds = time.perf_counter() - began
            self._taken |= request.keys()
            return read_answer(raw.http_response.content, prompt, self.model, seconds, self._said)
        except openai.APIStatusError as error:
            failure, part = from_status(error, self._said), refused_part(error, request)
        except (openai.OpenAIError, ValueError) as error:
            failure, part = from_connection(error, self._said), ""
        if not part:
            return failure
        self._remember(part, failure)
        return self._send(prompt, without | {part})

    def _request(self, prompt: Prompt, without: frozenset[str]) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
        request: dict[str, Any] = {
            "model": self._served_name,
            "messages": [{"role": role, "content": content} for role, content in prompt.messages],
            limit: prompt.max_tokens,
            **{name: getattr(prompt, name) for name in SAMPLING if name not in without},
        }
        if prompt.schema is not None and "response_format" not in without:
            schema = {"name": "reply", "strict": True, "schema": prompt.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _remember(self, part: str, failure: Failure) -> None:
        """A part refused is never sent again, unless it was taken before: then only its value was at fault."""
        with self._lock:
            new = part not in self._refused | self._taken
            self._refused |= {part} if new else set()
            told, self._told = part in self._told, self._told | {part}
        if told or not (new or part in SAMPLING):
            return
        scope = "from now on" if new else "where it refuses the value"
        ours = "; sampling is then the server's, not the prompt's" if part in SAMPLING else ""
        log.warning("%s does not take %s (%s): sent without it %s%s", self.base_url, part, failure.detail, scope, ours)

    def _said(self, message: object) -> str:
        """What a server or library said, without the key, as the beginning of one line."""
        return excerpt(self._secret.redact(str(message)))

    def _remedy(self, failure: Failure) -> str:
        """What to do about a failure after which no request can succeed; nothing for others."""
        action = "check the key in" if self._secret.is_real else "export a key as"
        if failure.reason in ("HTTP 401", "HTTP 403"):
            return f"{action} ${self._secret.variable}"
        if failure.reason == "HTTP 404":
            return f"correct the model '{self._served_name}' ({self._served()}) or base_url's path (often /v1)"
        if failure.reason in [f"HTTP {code}" for code in BAD_REQUEST]:
            return "the endpoint does not take such requests: change what it names, or use another endpoint or model"
        return "start the server or correct base_url" if failure.reason == UNREACHABLE else ""

    def _served(self) -> str:
        try:
            names = [str(model.id) for model in self._client.models.list().data]
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):
            return "the server lists no models"
        return "served: " + self._said(", ".join(names) or "none")

    def _count(self, reason: str) -> None:
        with self._lock:
            self.counts[reason] += 1


def _check(model: str, base_url: str, concurrency: int, retries: int, timeout_s: float) -> None:
    try:
        url = urlsplit(base_url)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BackendError("base_url: expected http://host/path or https://host/path, such as http://localhost:8000/v1")
    if url.username or url.password or url.query:
        raise BackendError("base_url must hold no user, password or query: put the key in an environment variable")
    if not model:
        raise BackendError(f"{base_url}: name the model that the endpoint is to run")
    if concurrency < 1 or retries < 0 or timeout_s <= 0:
        raise BackendError(f"{base_url}: concurrency must be at least 1, retries at least 0, timeout_s more than 0")
