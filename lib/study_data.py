"""The data of a run that its students are trained and tested on: what parts 1 and 2 wrote.

>>> data = read(task, paths.run_dir("cpu"))                                              # doctest: +SKIP
>>> len(data.accepted), len(data.part("dev"))                                            # doctest: +SKIP
(28112, 280)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib import heap, records
from lib.task import Example, StudyTask

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
        """The tests of a split, or so many ``rows`` of them (lib.records.spread)."""
        return records.spread([example for example in self.tests if example.split == split], rows)


def read(task: StudyTask, run: Path, accepted: int = 0) -> StudyData:
    """``accepted``: how many of the accepted examples, evenly spaced; 0 = all. Raises RecordError or TaskError."""
    with heap.filling():
        contexts = task.contexts(run / HOMES[0]) | task.contexts(run / HOMES[1])
        learnt = task.resolve(records.read_examples(run / ACCEPTED, accepted), contexts)
        return StudyData(learnt, task.resolve(records.read_examples(run / TESTS), contexts))
