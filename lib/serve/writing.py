"""Writes a Reply as OpenAI's and Ollama's protocols want it, plain or streamed, and a Turn as an OpenAI request.

A stream is written when the answer is there; it has one tool call a chunk, because some clients read only the first
(Home Assistant 2026.11). https://platform.openai.com/docs/api-reference/chat, github.com/ollama/ollama/docs/api.md
"""

import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastapi import Response

from lib.core.turn import Message, Reply, ToolCall, Turn

Row = dict[str, Any]
JSON, EVENTS, LINES = "application/json", "text/event-stream", "application/x-ndjson"


@dataclass
class Used:
    """What the model did for a reply: tokens read and written, and seconds in all."""

    read: int = 0
    written: int = 0
    seconds: float = 0.0


def encoded(value: Any) -> bytes:
    """In ASCII, so that no text can spoil a body."""
    return json.dumps(value).encode()


def answered(value: Any, status: int = 200) -> Response:
    return Response(encoded(value), status, media_type=JSON)


def with_ids(reply: Reply) -> Reply:
    """The reply with an id for each call, its own where they are distinct."""
    if len({call.id for call in reply.calls} - {""}) == len(reply.calls):
        return reply
    return replace(reply, calls=tuple(replace(call, id=f"call_{uuid4().hex}") for call in reply.calls))


def openai_call(call: ToolCall) -> Row:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def openai(reply: Reply, model: str, used: Used, stream: bool, usage: bool = True) -> Response:
    """``usage``: whether a stream ends with it, as a client may ask for."""
    base = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}
    counts = {"prompt_tokens": used.read, "completion_tokens": used.written, "total_tokens": used.read + used.written}
    calls, reason = list(map(openai_call, reply.calls)), "tool_calls" if reply.calls else "stop"
    if not stream:
        message = {"role": "assistant", "content": reply.text or None} | ({"tool_calls": calls} if calls else {})
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return answered({**base, "object": "chat.completion", "choices": [choice], "usage": counts})
    deltas: list[Row] = [{"role": "assistant"}, *([{"content": reply.text}] if reply.text else [])]
    deltas += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(calls)]
    choices: list[list[Row]] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": reason}])
    base["object"] = "chat.completion.chunk"
    chunks: list[Row] = [{**base, "choices": choice} for choice in choices]
    chunks += [{**base, "choices": [], "usage": counts}] if usage else []
    events = (*map(encoded, chunks), b"[DONE]")
    return Response(b"".join(b"data: %b\n\n" % event for event in events), media_type=EVENTS)


def ollama(reply: Reply, model: str, used: Used, stream: bool) -> Response:
    """A last line, or the only one, with the counts."""
    calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call in reply.calls]
    base = {"model": model, "created_at": datetime.now(UTC).isoformat()}
    last = {"done": True, "done_reason": "stop", "total_duration": int(used.seconds * 1e9)}
    last |= {"load_duration": 0, "prompt_eval_count": used.read, "eval_count": used.written}
    if not stream:
        return answered({**base, "message": _said(reply.text, calls), **last})
    parts = [_said(reply.text)] * bool(reply.text) + [_said("", [call]) for call in calls]
    rows: list[Row] = [{**base, "message": part, "done": False} for part in parts]
    rows.append({**base, "message": _said(""), **last})
    return Response(b"".join(encoded(row) + b"\n" for row in rows), media_type=LINES)


def _said(text: str, calls: list[Row] | None = None) -> Row:
    return {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}


def openai_request(turn: Turn, model: str) -> Row:
    """The turn as a request of its own, not streamed."""
    keys = ("name", "description", "parameters")
    tools = [{"type": "function", "function": {key: getattr(tool, key) for key in keys}} for tool in turn.tools]
    messages = list(map(_openai_message, turn.messages))
    return {"model": model, "messages": messages, **({"tools": tools} if tools else {}), "stream": False}


def _openai_message(message: Message) -> Row:
    row: Row = {"role": message.role, "content": message.text}
    row |= {"tool_calls": list(map(openai_call, message.calls))} if message.calls else {}
    return row | ({"tool_call_id": message.call_id} if message.role == "tool" else {})
