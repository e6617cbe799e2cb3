"""Replies as lines of a recording: written and read, bad lines told apart from good ones.

>>> line = to_line("0f", Reply("Paris", "a-model", prompt_tokens=9, new_tokens=2, latency_s=0.25))
>>> rows, rejected = read_rows([line.encode(), b'{"key": "1f"}'], "replies.jsonl")
>>> rows[0][1].text, rejected
('Paris', ["replies.jsonl, line 2: 'text' is missing"])
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lib.core.files import parse_object
from lib.llm.types import Reply

_TYPES: dict[str, type | tuple[type, ...]] = {
    "key": str,
    "text": str,
    "model": str,
    "prompt_tokens": int,
    "cached_tokens": int,
    "new_tokens": int,
    "latency_s": (int, float),
    "finish": str,
}
_FINISHES = ("stop", "length", "error")


def to_line(key: str, reply: Reply) -> str:
    """One compact line; ``error`` is there only if the reply failed."""
    row = {"key": key, **{name: getattr(reply, name) for name in _TYPES if name != "key"}}
    row |= {"error": reply.error} if reply.error else {}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_rows(lines: Iterable[bytes], name: str, model: str | None = None) -> tuple[list[tuple[str, Reply]], list[str]]:
    """Keys with replies, and for each other line that is not empty: ``name``, its number and what is wrong with it.

    With ``model``, replies of others are wrong.
    """
    rows, rejected = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line, model))
        except ValueError as error:
            rejected.append(f"{name}, line {number}: {error}")
    return rows, rejected


def _row(line: bytes, model: str | None) -> tuple[str, Reply]:
    """Raises ValueError with what is wrong."""
    row = parse_object(line)
    for key, kind in _TYPES.items():
        _check(row, key, kind)
    if model not in (None, row["model"]):
        raise ValueError(f"a reply of '{row['model']}', not of '{model}'")
    reason = row.get("error", "")
    if not isinstance(reason, str) or row["finish"] not in _FINISHES or (row["finish"] == "error") != bool(reason):
        raise ValueError(
            f"finish {row['finish']!r:.40} with error {reason!r:.40}: expected stop, length, or error with why"
        )
    values: dict[str, Any] = {key: row[key] for key in _TYPES if key != "key"}
    return row["key"], Reply(**values, error=reason)


def _check(row: dict[str, Any], key: str, kind: type | tuple[type, ...]) -> None:
    if key not in row:
        raise ValueError(f"'{key}' is missing")
    value = row[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"'{key}' is {type(value).__name__} {value!r:.40}")
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        raise ValueError(f"'{key}' is {value}")
