"""The requests that every system of a bench answers: one command each, several for each of some contexts.

The task's own sampler draws them, with a fixed seed and the sizes that ``params/bench.yaml`` gives. A *block* is what
is asked about one context: its first request finds an empty cache (cold), the others find the context in it (warm).
Slow systems get the first few of the same blocks.

>>> plan([["a1", "a2", "a3"], ["b1", "b2", "b3"]], cold=2, warm=3)
[['a1', 'a2'], ['b1', 'b2', 'b3']]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from lib.core import params, paths
from lib.core.examples import read_examples
from lib.core.task import Example, StudyTask, TaskError

Request = TypeVar("Request")
HOMES, SEEDS, TESTS = "01_homes.jsonl", "01_prototype.jsonl", "01_tests.jsonl"


def draw(task: StudyTask, values: Mapping[str, Any], folder: Path) -> None:
    """Writes a sample of the task to ``folder``: the first notebook's smoke parameters, changed by ``values``.

    Raises lib.core.params.ParamsError for a parameter that the notebook does not have.
    """
    defaults = params.load(paths.notebooks()[0], "smoke")
    params.check(defaults, dict(values), "params/bench.yaml: sample")
    folder.mkdir(parents=True, exist_ok=True)
    task.sample({**defaults, **values}, folder)


def read(task: StudyTask, folder: Path, name: str = TESTS) -> list[Example]:
    """The sample's examples of one file, each with its whole context."""
    return task.resolve(read_examples(folder / name), task.contexts(folder / HOMES))


def by_context(task: StudyTask, folder: Path, seed: int) -> list[list[Example]]:
    """The sample's requests that one call answers, by context, in an order drawn with ``seed``."""
    groups: dict[Any, list[Example]] = {}
    for example in read(task, folder):
        groups.setdefault(tuple(task.prefix(task.references(example.context))), []).append(example)
    kept = [[e for e in group if e.gold and all(len(calls) == 1 for calls in e.gold)] for group in groups.values()]
    rng = Random(seed)
    return [rng.sample(group, len(group)) for group in kept if group]


def plan(groups: Sequence[Sequence[Request]], cold: int, warm: int) -> list[list[Request]]:
    """Blocks of ``cold`` contexts with ``warm`` further requests in all, from the beginning of ``groups``.

    Raises TaskError if there are too few.
    """
    counts = [warm * (i + 1) // cold - warm * i // cold for i in range(cold)]
    if len(groups) < cold or any(len(g) <= n for g, n in zip(groups, counts, strict=False)):
        raise TaskError(
            f"params/bench.yaml: {cold} contexts with {warm + cold} requests are asked for, the sample has "
            f"{[len(g) for g in groups]} for each of its own: raise sample.dev or lower cold and warm"
        )
    return [list(group[: 1 + n]) for group, n in zip(groups, counts, strict=False)]
