"""Why a chat endpoint gave no answer, out of the ``openai`` client's exceptions: what may pass and what will not.

>>> Failure("HTTP 429", "slow down", retry=True, wait_s=2.0).reason
'HTTP 429'
>>> wait_seconds({"retry-after": "2"}), wait_seconds({"retry-after": "soon"}), wait_seconds({})
(2.0, 0.0, 0.0)
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import openai

UNREACHABLE = "unreachable"
BAD_REQUEST = (400, 422)
SAMPLING = ("temperature", "top_p", "seed")
_OPTIONAL = {"max_tokens": ("max_completion_tokens",), "response_format": ("response_format", "schema", "grammar")}
_REFUSES = re.compile(r"support|unknown|unrecogni[sz]ed|unexpected|invalid|deprecated|permitted|allowed|extra")


@dataclass(frozen=True)
class Failure:
    """A request without an answer: ``retry`` if another attempt may succeed, after ``wait_s`` seconds at least."""

    reason: str
    detail: str
    retry: bool
    wait_s: float = 0.0


def from_status(error: openai.APIStatusError, say: Callable[[object], str]) -> Failure:
    """A refusal with an HTTP status; ``say`` shortens what the server said."""
    code, body = error.status_code, error.body
    said = body.get("message", body) if isinstance(body, Mapping) else body or error.message
    retry = code in (408, 429) or code >= 500
    return Failure(f"HTTP {code}", say(said), retry, wait_seconds(error.response.headers) if retry else 0.0)


def from_connection(error: Exception, say: Callable[[object], str]) -> Failure:
    """No connection, a broken one, an answer that did not come in time, or a request that could not be written."""
    cause = type(error.__cause__).__name__
    if cause in ("ConnectError", "ConnectTimeout"):
        return Failure(UNREACHABLE, say(error.__cause__), retry=True)
    if isinstance(error, openai.APITimeoutError):
        return Failure("timeout", "no answer in time; raise timeout_s if the model is slow", retry=True)
    if isinstance(error, openai.APIConnectionError):
        return Failure("connection broken", say(error.__cause__ or error), retry=True)
    return Failure("not sent", say(error), retry=False)


def refused_part(error: openai.APIStatusError, request: Mapping[str, Any]) -> str:
    """The part of ``request`` that the server says it cannot take and that can be left out or renamed, or nothing.

    One of ``SAMPLING`` must be named as a word of its own, and as refused: a server may repeat the prompt's words.
    """
    if error.status_code not in BAD_REQUEST:
        return ""
    said = f"{error.message} {error.body}".lower()
    parts = [part for part, words in _OPTIONAL.items() if any(word in said for word in words)]
    parts += [part for part in SAMPLING if error.param == part]
    parts += [part for part in SAMPLING if _REFUSES.search(said) and re.search(rf"\b{part}\b", said)]
    return next((part for part in parts if part in request), "")


def wait_seconds(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After header asks for, given as a number or a date; 0 without one."""
    given = headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        return max(0.0, _moment(given) - time.time())


def _moment(date: str) -> float:
    """Seconds since 1970 of a date in a header; 0 for what is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return 0.0
