"""Keeps third-party tests out of what is recorded, shown to a model, or trained on.

>>> calls = [{"name": "Note", "arguments": {"text": "buy two large boxes of tea"}}]
>>> example = Example("1", "please buy two large boxes of tea", {}, [calls], "L0", "others", "test")
>>> bare({"calls": calls, "raw": "...", "error": ""}, example)["calls"][0]["arguments"]["text"][:8]
'redacted'
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lib.core.examples import spread
from lib.core.files import Row, digest
from lib.core.task import Example
from lib.data.recording import letters, text_digest
from lib.llm.types import Backend, Prompt, Reply
from lib.teacher.contract import TeacherSet

_ECHO_WORDS, _ECHO_SHARE = 4, 0.6  # a text argument of so many words, and so much of the request, repeats it


class Blanked:
    """A Backend that blanks lines which are sentences of ``others`` before anybody sees them."""

    def __init__(self, inner: Backend, others: Iterable[Example]) -> None:
        self.inner, self.model = inner, inner.model
        self.forbidden = {letters(e.text) for e in others}

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """The inner backend's replies without such lines."""
        return [replace(reply, text=self._clean(reply.text)) for reply in self.inner.complete(prompts)]

    def _clean(self, text: str) -> str:
        lines = text.split("\n")
        return "\n".join("" if letters(s.lstrip("-*. 1234567890)")) in self.forbidden else s for s in lines)


def chosen(found: Mapping[str, list[Example]], skip: Collection[str], rows: int) -> dict[str, list[Example]]:
    """``rows`` of each third-party test (0: all), spread over it, without the tests of ``skip``."""
    return {name: spread(examples, rows) for name, examples in found.items() if name not in skip}


def apart(drawn: TeacherSet, others: Collection[Example]) -> TeacherSet:
    """The set without seeds that have the words of a test, and without pool rows that have those of a seed or test."""
    theirs = {letters(e.text) for e in others}
    tested = theirs | {letters(e.text) for e in drawn.tests}
    seeds = [e for e in drawn.seeds if letters(e.text) not in tested]
    shown = tested | {letters(e.text) for e in seeds}
    tests = [e for e in drawn.tests if letters(e.text) not in theirs]
    return replace(drawn, seeds=seeds, tests=tests, pool=[e for e in drawn.pool if letters(e.text) not in shown])


def bare(row: Row, example: Example) -> Row:
    """A prediction record without what may repeat the sentence; ``redacted`` if that was part of the calls."""
    calls = [
        {**c, "arguments": {k: _unechoed(v, example.text) for k, v in c["arguments"].items()}} for c in row["calls"]
    ]
    kept = {**row, "calls": calls, "raw": "", "error": "failed" if row["error"] else "", "digest": text_digest(example)}
    return {**kept, "redacted": calls != row["calls"]}


def _unechoed(value: Any, text: str) -> Any:
    words = value.split() if isinstance(value, str) else []
    echo = len(words) >= _ECHO_WORDS and len(words) >= _ECHO_SHARE * len(text.split())
    return f"redacted {digest(value)[:8]}" if echo else value
