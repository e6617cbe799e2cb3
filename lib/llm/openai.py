"""Any OpenAI-compatible chat endpoint (vLLM, Ollama, llama.cpp's server, hosted), through the ``openai`` client.

The client itself retries what may pass (429, 5xx, timeouts, broken connections) and waits as the server asks for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import openai

from lib.llm.types import BackendError, Prompt, Reply, answer_all, read_answer

_SHORTEST_KEY = 8  # shorter ones ("EMPTY") are placeholders for local servers


class OpenAIBackend:
    """A Backend. ``model``: as the endpoint calls it; ``name``: as recordings call it, by default the same.

    ``base_url``: with its path, such as http://localhost:8000/v1; ``key_env``: the environment variable with the key,
    which may be unset for a local endpoint; ``concurrency``: requests at a time; ``timeout_s``: seconds for one answer;
    ``retries``: attempts after the first.
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
    ) -> None:
        """Raises BackendError for a setting that cannot work; the endpoint is first asked by ``complete``."""
        if not re.fullmatch(r"https?://([\w.-]+|\[[\da-fA-F:]+\])(:\d+)?(/[^?\s]*)?", base_url):
            raise BackendError(
                "base_url: expected http://host/path or https://host/path without user, password and query, such as "
                "http://localhost:8000/v1; put a key in an environment variable"
            )
        if not model or min(concurrency, retries + 1, timeout_s) <= 0:
            raise BackendError(f"{base_url}: name a model; concurrency and timeout_s more than 0, retries at least 0")
        self.model, self.base_url, self.concurrency = name or model, base_url, concurrency
        self._served_name, self._key_env, self._key = model, key_env, _key(key_env)
        self._client = openai.OpenAI(base_url=base_url, api_key=self._key, timeout=timeout_s, max_retries=retries)
        self._reached = False

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order; ``latency_s`` is the time of the attempt that was answered.

        The very first request is sent alone. Raises BackendError if it is refused, or if the server cannot be reached
        at any time.
        """
        first = [self._answer(prompt) for prompt in prompts[:1] if not self._reached]
        return first + answer_all(self._answer, prompts[len(first) :], self.concurrency, self.model)

    def _answer(self, prompt: Prompt) -> Reply:
        """One request. What it fails at for itself is its reply's error."""
        reply, request = Reply("", self.model), {"model": self._served_name, **prompt.request()}
        if prompt.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": prompt.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            raw = self._client.chat.completions.with_raw_response.create(**request)
        except openai.APIStatusError as error:
            return self._refused(reply, error)
        except openai.APITimeoutError:
            return reply.failed("timeout", "no answer in time; raise timeout_s if the model is slow")
        except openai.APIConnectionError as error:
            if type(error.__cause__).__name__ == "ConnectError":
                where = f"{self.base_url}: unreachable ({error.__cause__})"
                raise BackendError(f"{where}: start the server or correct base_url") from None
            return reply.failed("connection broken", error.__cause__ or error)
        except (openai.OpenAIError, ValueError) as error:
            return reply.failed("not sent", error)
        self._reached = True
        return read_answer(self._hidden(raw.text).encode(), prompt, self.model, raw.elapsed.total_seconds())

    def _refused(self, reply: Reply, error: openai.APIStatusError) -> Reply:
        """A refusal as this request's error. Raises BackendError with the remedy if nothing was ever answered."""
        body: Any = error.body
        said = body.get("message", body) if isinstance(body, dict) else body or error.message
        refused = reply.failed(f"HTTP {error.status_code}", self._hidden(str(said)))
        key, request = f"check the key in ${self._key_env}", "use an endpoint that takes all settings and JSON schemas"
        path = f"correct the model '{self._served_name}' or base_url's path (often /v1)"
        remedy: Any = {400: request, 401: key, 403: key, 404: path, 422: request}.get(error.status_code)
        if self._reached or not remedy:
            return refused
        raise BackendError(f"{self.base_url}: {refused.error}: {remedy}") from None

    def _hidden(self, text: str) -> str:
        """``text`` without the key, should a server repeat it."""
        return text.replace(self._key, "[key]") if len(self._key) >= _SHORTEST_KEY else text


def _key(variable: str) -> str:
    """The key in an environment variable, "none" if that is unset. Raises BackendError, without showing the key."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        raise BackendError("key_env is not the name of an environment variable: export the key, and give its name here")
    key = os.environ.get(variable, "").strip() or "none"
    if not re.fullmatch(r"[!-~]+", key):
        raise BackendError(f"${variable} holds blanks, line ends or letters that no key has: export it again")
    return key
