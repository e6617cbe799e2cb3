"""Any OpenAI-compatible chat endpoint (vLLM, Ollama, llama.cpp's server, hosted), through the ``openai`` client.

The client itself retries what may pass (429, 5xx, timeouts, broken connections) and waits as the server asks for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import openai

from lib.llm.answer import SETTINGS, answer_all, chat_request, failed, read_answer
from lib.llm.types import BackendError, Prompt, Reply

OPTIONAL = (*SETTINGS, "response_format")
_SHORTEST_KEY = 8  # shorter ones ("EMPTY") are placeholders for local servers


class OpenAIBackend:
    """A Backend. ``model``: as the endpoint calls it; ``name``: as recordings call it, by default the same.

    ``base_url``: with its path, such as http://localhost:8000/v1; ``key_env``: the environment variable with the key,
    which may be unset for a local endpoint; ``concurrency``: requests at a time; ``timeout_s``: seconds for one answer;
    ``retries``: attempts after the first; ``omit``: those of OPTIONAL, with commas, that the endpoint does not take.
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
        omit: str = "",
    ) -> None:
        """Raises BackendError for a setting that cannot work; the endpoint is first asked by ``complete``."""
        _check(model, base_url, min(concurrency, retries + 1, timeout_s))
        self.model, self.base_url, self.concurrency = name or model, base_url, concurrency
        self._served_name, self._key_env, self._key = model, key_env, _key(key_env)
        self._omitted = {part.strip() for part in omit.split(",") if part}
        if unknown := self._omitted - {*OPTIONAL}:
            raise BackendError(f"{base_url}: omit: '{min(unknown)}' cannot be left out: name {', '.join(OPTIONAL)}")
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
        reply = Reply("", self.model)
        try:
            raw = self._client.chat.completions.with_raw_response.create(**self._request(prompt))
        except openai.APIStatusError as error:
            return self._refused(failed(reply, f"HTTP {error.status_code}", self._hidden(_said(error))))
        except openai.APITimeoutError:
            return failed(reply, "timeout", "no answer in time; raise timeout_s if the model is slow")
        except openai.APIConnectionError as error:
            if type(error.__cause__).__name__ == "ConnectError":
                where = f"{self.base_url}: unreachable ({error.__cause__})"
                raise BackendError(f"{where}: start the server or correct base_url") from None
            return failed(reply, "connection broken", error.__cause__ or error)
        except (openai.OpenAIError, ValueError) as error:
            return failed(reply, "not sent", error)
        self._reached = True
        return read_answer(self._hidden(raw.text).encode(), prompt, self.model, raw.elapsed.total_seconds())

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        request = {"model": self._served_name, **chat_request(prompt)}
        if prompt.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": prompt.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {name: value for name, value in request.items() if name not in self._omitted}

    def _refused(self, reply: Reply) -> Reply:
        """A refusal as this request's error. Raises BackendError with the remedy if nothing was ever answered."""
        key, request = f"check the key in ${self._key_env}", "leave out what it does not take (omit)"
        path = f"correct the model '{self._served_name}' or base_url's path (often /v1)"
        remedies = {"400": request, "401": key, "403": key, "404": path, "422": request}
        remedy = remedies.get(reply.error[5:8])
        if self._reached or not remedy:
            return reply
        raise BackendError(f"{self.base_url}: {reply.error}: {remedy}") from None

    def _hidden(self, text: str) -> str:
        """``text`` without the key, should a server repeat it."""
        return text.replace(self._key, "[key]") if len(self._key) >= _SHORTEST_KEY else text


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    return str(body.get("message", body) if isinstance(body, dict) else body or error.message)


def _key(variable: str) -> str:
    """The key in an environment variable, "none" if that is unset. Raises BackendError, without showing the key."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        raise BackendError("key_env is not the name of an environment variable: export the key, and give its name here")
    key = os.environ.get(variable, "").strip() or "none"
    if not re.fullmatch(r"[!-~]+", key):
        raise BackendError(f"${variable} holds blanks, line ends or letters that no key has: export it again")
    return key


def _check(model: str, base_url: str, smallest: float) -> None:
    if not re.fullmatch(r"https?://([\w.-]+|\[[\da-fA-F:]+\])(:\d+)?(/[^?\s]*)?", base_url):
        raise BackendError(
            "base_url: expected http://host/path or https://host/path without user, password and query, such as "
            "http://localhost:8000/v1; put a key in an environment variable"
        )
    if not model or smallest <= 0:
        raise BackendError(f"{base_url}: name a model; concurrency and timeout_s more than 0, retries at least 0")
