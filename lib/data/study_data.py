"""The data of a run that its students are trained and tested on: what parts 1 and 2 wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.core.examples import read_examples, spread
from lib.core.task import Example, StudyTask

TESTS, ACCEPTED = "01_tests.jsonl", "02_accepted.jsonl"
HOMES = "01_homes.jsonl", "02_homes.jsonl"
FILES = (HOMES[0], TESTS, HOMES[1], ACCEPTED)
"""All that is read, in the order in which it is written."""


@dataclass(frozen=True)
class StudyData:
    """``accepted``: what is learnt from; ``tests``: what is asked. Both with their whole contexts."""

    accepted: list[Example]
    tests: list[Example]

    def part(self, split: str, rows: int = 0) -> list[Example]:
        """The tests of a split, or so many ``rows`` of them (lib.core.examples.spread)."""
        return spread([example for example in self.tests if example.split == split], rows)


def of_run(task: StudyTask, run: Path, count: int = 0) -> StudyData:
    """The data of a run's folder: see ``read``."""
    return read(task, [run / name for name in HOMES], run / TESTS, run / ACCEPTED, count)


def read(task: StudyTask, homes: Sequence[Path], tests: Path, accepted: Path, count: int = 0) -> StudyData:
    """``count``: how many of the accepted examples, evenly spaced; 0 = all. Raises RecordError or TaskError.

    A notebook names the files, so that it is run again when they change (lib/core/provenance.py).
    """
    contexts: dict[str, Any] = {}
    for path in homes:
        contexts |= task.contexts(path)
    learnt = task.resolve(read_examples(accepted, count), contexts)
    return StudyData(learnt, task.resolve(read_examples(tests), contexts))


def repeated(examples: Sequence[Example], times: Mapping[str, int]) -> list[Example]:
    """Training data in which the examples of a source come ``times[source]`` times; once if it is not named."""
    return [e for e in examples for _ in range(times.get(e.source, 1))]
