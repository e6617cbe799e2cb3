"""The shape that a student is cut to, and the shapes on the way there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, NonNegativeInt

from lib.compression.mask_search import search
from lib.compression.prune import PruneError, Sizes, measure, prune
from lib.core.examples import spread
from lib.core.params import Settings
from lib.core.task import Example, Task
from lib.model.student import Student

UNIT, POINTS = 32, 512
"""Steps of the width, since quantised formats have blocks of 32 weights; points on the way from one size to another."""


class Shape(Settings):
    """What stays of a student; 0 keeps all."""

    layers: NonNegativeInt = 0
    ffn_width: NonNegativeInt = 0
    kv_heads: NonNegativeInt = 0
    measured: int = Field(default=256, ge=1)  # requests on which importance is measured
    chosen: Literal["importance", "search"] = "importance"  # the most important parts, or a search that starts there

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.layers, self.ffn_width, self.kv_heads)


def cut(task: Task, student: Student, shape: Shape, by_context: Sequence[Sequence[Example]]) -> Student:
    """A smaller copy of ``student``, its parts chosen on resolved examples. Raises PruneError."""
    if shape.chosen == "search":
        found = search(student, task, by_context, shape.sizes, shape.measured)
    else:
        found = measure(student, task, spread([e for examples in by_context for e in examples], shape.measured))
    return prune(student, found, shape.sizes)


def schedule(student: Student, shape: Shape, most: float = 1 / 3) -> list[Shape]:
    """As few shapes as possible from the student's to ``shape``, each with about an equal share of the weights removed.

    The share is at most ``most``, but for the rounding of sizes. Raises PruneError for a size that is not there, or a
    shape that cuts nothing.
    """
    config = student.model.config
    start, end = Sizes.of(config), shape.sizes.within(config)
    if start == end:
        raise PruneError("shape: cuts nothing: give fewer layers, ffn_width or kv_heads")
    way = [_between(start, end, i / POINTS) for i in range(POINTS + 1)]
    weights = [sizes.parameters(config) for sizes in way]
    count = max(math.ceil(math.log(weights[-1] / weights[0]) / math.log(1 - most) - 1e-9), 1)
    marks = [weights[0] * (weights[-1] / weights[0]) ** (k / count) for k in range(1, count + 1)]
    stops = [min(range(len(way)), key=lambda i: abs(weights[i] - mark)) for mark in marks]
    return [shape.model_copy(update=way[i]._asdict()) for i in dict.fromkeys(stops) if i]


def _between(start: Sizes, end: Sizes, share: float) -> Sizes:
    """Sizes after a share of the way, the width in whole units above the end's."""
    left = [(a - b) * (1 - share) for a, b in zip(start, end, strict=True)]
    width = min(end.ffn_width + round(left[1] / UNIT) * UNIT, start.ffn_width)
    return Sizes(end.layers + round(left[0]), width, end.kv_heads + round(left[2]))
