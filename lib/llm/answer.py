"""Reads the JSON answer of a chat endpoint (OpenAI's ``chat.completion``) into a Reply, whatever the server sent.

>>> from lib.llm.types import Prompt
>>> body = b'{"choices": [{"message": {"content": "Paris"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}'
>>> read_answer(body, Prompt.of("Be brief.", "Capital of France?"), "a-model", 0.25).text
'Paris'
>>> read_answer(b'{"choi', Prompt.of("Be brief.", "Capital of France?"), "a-model", 0.25).error
'malformed: not JSON: {"choi'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lib.llm.types import Prompt, Reply

EXCERPT = 120


def excerpt(text: object) -> str:
    """The beginning of ``text`` on one line."""
    line = " ".join(_clean(str(text)).split())
    return line if len(line) <= EXCERPT else line[:EXCERPT] + "…"


def read_answer(
    body: bytes, prompt: Prompt, model: str, seconds: float, say: Callable[[object], str] = excerpt
) -> Reply:
    """Never raises: what cannot be used is a reply whose ``error`` is a short reason, a colon and details.

    An answer that was cut off has finish "length"; one that is not JSON where ``prompt`` has a schema is an error.
    ``say`` shortens what the server sent for an error.
    """
    reply = Reply("", model, latency_s=round(seconds, 3))
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return failed(reply, "malformed", f"not JSON: {say(body.decode(errors='replace'))}")
    try:
        choice, usage = answer["choices"][0], answer.get("usage")
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
        reply = _counted(replace(reply, text=_clean(text or "")), usage or {})
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        return failed(reply, "malformed", say(json.dumps(answer, ensure_ascii=False)))
    if not usage:
        return failed(reply, "no usage", "the server does not say how many tokens it read and wrote")
    return judge(reply, finish, prompt, say)


def _counted(reply: Reply, usage: dict[str, Any]) -> Reply:
    """``reply`` with the tokens that the server counted."""
    details = usage.get("prompt_tokens_details") or {}
    return replace(
        reply,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0),
        new_tokens=int(usage.get("completion_tokens") or 0),
    )


def judge(reply: Reply, finish: object, prompt: Prompt, say: Callable[[object], str] = excerpt) -> Reply:
    """``reply`` with its ``finish``: "length", or "error" if it is empty, held back, or not the JSON asked for."""
    if finish == "length":
        return replace(reply, finish="length")
    if finish not in ("stop", "eos", "", None):
        return failed(reply, "refused", f"the answer ended with {say(finish)}")
    if not reply.text.strip():
        return failed(reply, "empty", "the answer has no text")
    if prompt.schema is None:
        return reply
    text = _unfenced(reply.text)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return failed(reply, "not JSON", f"a schema was asked for: {say(reply.text)}")
    return replace(reply, text=text)


def failed(reply: Reply, reason: str, detail: str) -> Reply:
    """``reply`` as an error."""
    return replace(reply, finish="error", error=f"{reason}: {detail}")


def _clean(text: str) -> str:
    """``text`` with what UTF-8 cannot hold (single surrogates) replaced."""
    return text.encode("utf-8", "replace").decode()


def _unfenced(text: str) -> str:
    """JSON out of the Markdown fence that models write around it where nothing constrains them."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    return fenced[1] if fenced else text
