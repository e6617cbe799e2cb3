"""Requests and answers as token ids: the one place where a task's pieces meet the student's vocabulary.

Training (lib/training/packing.py), the student in torch (lib/model/student.py) and in GGUF (lib/runtime/gguf_student.py) all read and write through
it, so that they cannot differ. A prompt is the context's prefix, which requests of one context share, and the request:

>>> codec = Codec(task, vocabulary)                                   # doctest: +SKIP
>>> prompt = codec.prompt({"items": ["Tea"]}, "tea please")           # doctest: +SKIP
>>> codec.read(codec.target(example, prompt.refs), prompt.refs)            # doctest: +SKIP
Reading(raw='none', calls=[], error='')
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from lib.core.task import Call, Example, Task
from lib.model.vocabulary import Vocabulary

CONTEXTS_KEPT = 256


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
    """An answer read back: ``calls`` is empty and ``error`` says why if ``raw`` is no valid answer."""

    raw: str
    calls: list[Call]
    error: str = ""


class Codec:
    """Writes prompts and targets, reads answers. Prefixes of the latest contexts are remembered."""

    def __init__(self, task: Task, vocabulary: Vocabulary) -> None:
        self.task = task
        self.vocabulary = vocabulary
        self._prefixes: OrderedDict[Any, list[int]] = OrderedDict()

    def prompt(self, context: dict[str, Any], text: str, rng: Random | None = None, refs: Any = None) -> Prompt:
        """The prompt of a request, numbered anew (shuffled by ``rng``) unless ``refs`` is given."""
        refs = self.task.references(context, text, rng) if refs is None else refs
        return Prompt(refs, self.prefix(refs), self.vocabulary.encode(self.task.request(refs, context, text)))

    def prefix(self, refs: Any) -> list[int]:
        ids = self._prefixes.get(refs)
        if ids is None:
            ids = self._prefixes[refs] = self.vocabulary.encode(self.task.prefix(refs))
            while len(self._prefixes) > CONTEXTS_KEPT:
                self._prefixes.popitem(last=False)
        return ids

    def target(self, example: Example, refs: Any) -> list[int]:
        """Ids of the answer that a student learns for an example, the end token included."""
        return [*self.vocabulary.encode(self.task.taught(example, refs)), self.vocabulary.end]

    def read(self, ids: Sequence[int], refs: Any) -> Reading:
        """Reads generated ids; never raises for what a model may write."""
        raw = self.vocabulary.decode(ids)
        try:
            return Reading(raw, self.task.parse(raw, refs))
        except ValueError as error:
            return Reading(raw, [], str(error))
