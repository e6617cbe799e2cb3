"""Requests and answers as token ids: all that trains or runs a student reads and writes through here.

A prompt is the context's prefix, which requests of one context share, and the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from lib.core.task import Call, Example, Task
from lib.model.vocabulary import Vocabulary

CONTEXTS_KEPT = 256
IGNORED = -100  # the label of a token that is no answer
FORMAT = 1  # of a student's info; a higher one is for what earlier releases would read wrongly


class StudentError(ValueError):
    """A student that cannot be built, loaded or used; the message names the parameter or file and the remedy."""


@dataclass(frozen=True)
class Prompt:
    """``prefix`` and ``request`` are token ids; ``refs`` is the task's numbering that both were written with."""

    refs: Any
    prefix: list[int]
    request: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prefix + self.request


@dataclass(frozen=True)
class Reading:
    """An answer read back; ``ask`` as of Answer. If ``raw`` is no valid answer, ``error`` says why, without calls."""

    raw: str
    calls: list[Call]
    error: str = ""
    ask: dict[str, str] | None = None


class Codec:
    """Writes prompts and targets, reads answers. Prefixes of the latest contexts are remembered."""

    def __init__(self, task: Task, vocabulary: Vocabulary) -> None:
        self.task, self.vocabulary = task, vocabulary
        self.prefix = lru_cache(CONTEXTS_KEPT)(lambda refs: vocabulary.encode(self.task.prefix(refs)))

    def prompt(self, context: dict[str, Any], text: str, rng: Random | None = None, refs: Any = None) -> Prompt:
        """The prompt of a request, numbered anew (shuffled by ``rng``), or as ``refs`` of the same context."""
        task = self.task
        refs = task.references(context, text, rng) if refs is None else task.focus(refs, context, text)
        said = self.vocabulary.encode(task.request(refs, context, text))
        return Prompt(refs, self.prefix(task.shared(refs)), said)

    def target(self, example: Example, refs: Any) -> list[int]:
        """Ids of the answer that a student learns for an example, the end token included."""
        return [*self.vocabulary.encode(self.task.taught(example, refs)), self.vocabulary.end]

    def read(self, ids: Sequence[int], refs: Any) -> Reading:
        """Reads generated ids; never raises for what a model may write."""
        raw = self.vocabulary.decode(ids)
        try:
            return Reading(raw, self.task.parse(raw, refs), ask=self.task.asked(raw))
        except ValueError as error:
            return Reading(raw, [], str(error))

    def executable(self, ids: Sequence[int], refs: Any, context: dict[str, Any], text: str) -> Reading:
        """As ``read``, with only those calls that the context can carry out."""
        reading = self.read(ids, refs)
        calls, ask = self.task.executable(reading.calls, context, text)
        return replace(reading, calls=calls, ask=reading.ask or ask)


def check_task(info: Mapping[str, Any], task: Task, source: str) -> None:
    """Raises StudentError unless a student's info is of this FORMAT and task, with all controls of its language."""
    if (found := info.get("format")) != FORMAT:
        remedy = "use the release that made it, or build it again"
        raise StudentError(f"{source}: of format {found!r}, this release reads {FORMAT}: {remedy}")
    if info["task"] != task.name:
        raise StudentError(f"{source}: a student for '{info['task']}', not '{task.name}'; give one for this task")
    missing = [text for text in task.controls() if text not in info["controls"]]
    if missing:
        raise StudentError(f"{source}: lacks the control {missing[0]!r} that the task has now; build it again")
