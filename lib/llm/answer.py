"""Chat completions in OpenAI's JSON format: requested in several threads, read into replies whatever the server sent.

>>> body = b'{"choices": [{"message": {"content": "Paris"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}'
>>> read_answer(body, Prompt.of("Be brief.", "Capital of France?"), "a-model", 0.25).text
'Paris'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tqdm.auto import tqdm

from lib.llm.types import Prompt, Reply

EXCERPT = 120  # characters of a server's message in an error
SETTINGS = ("max_tokens", "temperature", "top_p", "seed")


def answer_all(answer: Callable[[Prompt], Reply], prompts: Sequence[Prompt], workers: int, name: str) -> list[Reply]:
    """``answer`` of every prompt, at most ``workers`` at a time; replies in the order of ``prompts``."""
    pool = ThreadPoolExecutor(workers)
    try:
        done = pool.map(answer, prompts)
        return list(tqdm(done, total=len(prompts), desc=name[:24], unit=" prompts", disable=None, leave=None))
    finally:
        pool.shutdown(cancel_futures=True)


def chat_request(prompt: Prompt) -> dict[str, Any]:
    """What every kind of endpoint gets, without the schema."""
    messages = [{"role": role, "content": content} for role, content in prompt.messages]
    return {"messages": messages, **{name: getattr(prompt, name) for name in SETTINGS}}


def read_answer(body: bytes, prompt: Prompt, model: str, seconds: float) -> Reply:
    """Never raises: an unusable answer is a reply whose ``error`` is a short reason, a colon and details."""
    reply = Reply("", model, latency_s=round(seconds, 3))
    try:
        answer = json.loads(body)
        choice, usage = answer["choices"][0], answer["usage"]
        reply = replace(reply, text=_clean(choice["message"].get("content") or ""), **_counts(usage))
        finish = choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        return failed(reply, "malformed", body.decode(errors="replace"))
    if finish == "length":
        return replace(reply, finish="length")
    if finish not in ("stop", "eos", "", None):
        return failed(reply, "refused", f"the answer ended with {finish}")
    if not reply.text.strip():
        return failed(reply, "empty", "the answer has no text")
    return reply if prompt.schema is None else _as_json(reply)


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return {"prompt_tokens": int(read or 0), "cached_tokens": int(cached or 0), "new_tokens": int(written or 0)}


def _as_json(reply: Reply) -> Reply:
    """``reply`` without the Markdown fence that models write around JSON where nothing constrains them."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", reply.text, re.DOTALL)
    text = fenced[1] if fenced else reply.text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return failed(reply, "not JSON", f"a schema was asked for: {reply.text}")
    return replace(reply, text=text)


def failed(reply: Reply, reason: str, detail: object) -> Reply:
    """``reply`` as an error, with the beginning of ``detail`` on one line."""
    line = " ".join(_clean(str(detail)).split())
    return replace(reply, finish="error", error=f"{reason}: {line[:EXCERPT]}{'…' * (len(line) > EXCERPT)}")


def _clean(text: str) -> str:
    """``text`` with what UTF-8 cannot hold (single surrogates) replaced."""
    return text.encode("utf-8", "replace").decode()
