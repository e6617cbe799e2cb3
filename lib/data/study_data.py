"""The data of a run that its students are trained and tested on, what parts 1 and 2 wrote, and how varied it is.

>>> rows = [Example(str(i), text, {}, [[]], "L0", "", "") for i, text in enumerate(["dim it", "dim it", "darker"])]
>>> diversity(rows)[["level", "n", "different", "words"]].values.tolist()
[['L0', 3, 2, 3]]
>>> passed(rows[:2], rows[2:]).to_dict("records")
[{'level': 'L0', 'source': '', 'accepted': 2, 'rejected': 1}]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core.examples import read_examples, spread
from lib.core.files import uncollected
from lib.core.task import Example, StudyTask
from lib.data.filter import FEW_REACH, NONE_REACHES, TESTED

TESTS, ACCEPTED, REJECTED = "01_tests.jsonl", "02_accepted.jsonl", "02_rejected.jsonl"
HOMES = "01_homes.jsonl", "02_homes.jsonl"
FILES = (HOMES[0], TESTS, HOMES[1], ACCEPTED)
"""All that is read, in the order in which it is written."""
DEV, DEV_HUMAN, TEST = "dev", "dev_human", "test"
"""Splits of the tests; dev_human is what people said, held out, if the run has it."""


@dataclass(frozen=True)
class StudyData:
    """``accepted``: what is learnt from; ``tests``: what is asked; ``unlabelled``: nobody knows their right answer.

    ``refused``: those whose calls too few verifiers reached, or none, with the ``reason`` in ``extra``.
    All have their whole contexts.
    """

    accepted: list[Example]
    tests: list[Example]
    unlabelled: list[Example] = field(default_factory=list)
    refused: list[Example] = field(default_factory=list)

    def part(self, split: str, rows: int = 0) -> list[Example]:
        """The tests of a split, or so many ``rows`` of them (lib.core.examples.spread)."""
        return spread([example for example in self.tests if example.split == split], rows)


def of_run(task: StudyTask, run: Path) -> StudyData:
    """The data of a run's folder: see ``read``."""
    rejected = run / REJECTED
    homes = [run / name for name in HOMES]
    return read(task, homes, run / TESTS, run / ACCEPTED, rejected=rejected if rejected.is_file() else None)


@uncollected()
def read(
    task: StudyTask, homes: Sequence[Path], tests: Path, accepted: Path, count: int = 0, rejected: Path | None = None
) -> StudyData:
    """``count``: how many of the accepted examples, evenly spaced; 0 = all. Raises RecordError or TaskError.

    ``rejected``: where the unlabelled examples are: without gold answers, and not the words of a test. A notebook names
    the files, so that it is run again when they change (lib/core/provenance.py).
    """
    contexts: dict[str, Any] = {}
    for path in homes:
        contexts |= task.contexts(path)
    learnt = task.resolve(read_examples(accepted, count), contexts)
    others = read_examples(rejected) if rejected else []
    unlabelled = [e for e in others if not e.gold and e.extra.get("reason") != TESTED]
    refused = [e for e in others if e.gold and e.extra.get("reason") in (FEW_REACH, NONE_REACHES)]
    asked = task.resolve(read_examples(tests), contexts)
    return StudyData(learnt, asked, task.resolve(unlabelled, contexts), task.resolve(refused, contexts))


def repeated(examples: Sequence[Example], times: Mapping[str, int]) -> list[Example]:
    """Training data in which examples come as often as ``times`` says of their SOURCE/LEVEL or source; else once."""
    return [e for e in examples for _ in range(times.get(f"{e.source}/{e.level}", times.get(e.source, 1)))]


def passed(accepted: Sequence[Example], rejected: Sequence[Example]) -> pd.DataFrame:
    """How many requests of each level and source were accepted and rejected: a row for each."""
    counts = [Counter((e.level, e.source) for e in side) for side in (accepted, rejected)]
    rows = [[*key, *(count[key] for count in counts)] for key in sorted({*counts[0], *counts[1]})]
    return pd.DataFrame(rows, columns=["level", "source", "accepted", "rejected"])


def mixture(examples: Sequence[Example], times: Mapping[str, int]) -> pd.DataFrame:
    """A row for each source, also one only named in ``times``: n, how often each is used, its share of all."""
    counts = Counter(e.source for e in examples)
    names = [*counts, *(name for name in times if name not in counts)]
    table = pd.DataFrame({"source": names, "n": [counts[s] for s in names], "times": [times.get(s, 1) for s in names]})
    used = table["n"] * table["times"]
    return table.assign(share=used / max(1, used.sum()))


def diversity(examples: Sequence[Example]) -> pd.DataFrame:
    """A row for each level: n, different texts, different words, tools used, mean words and mean calls a request."""
    rows = []
    for level in sorted({e.level for e in examples}):
        found = [e for e in examples if e.level == level]
        texts, n = [e.text.casefold() for e in found], len(found)
        words = [word for text in texts for word in text.split()]
        calls = [call["name"] for e in found for call in (e.gold or [[]])[0]]
        rows.append([level, n, len({*texts}), len({*words}), len({*calls}), len(words) / n, len(calls) / n])
    return pd.DataFrame(rows, columns=["level", "n", "different", "words", "tools", "mean_words", "mean_calls"])


def compared_diversity(left: Sequence[Example], right: Sequence[Example]) -> pd.DataFrame:
    """Different words and word pairs by level in equally many requests of both, evenly spaced in each.

    Columns: level, n (requests of each), left_words, right_words, left_pairs, right_pairs; levels that both have.
    """
    rows = []
    for level in sorted({e.level for e in left} & {e.level for e in right}):
        sides = [[e.text.casefold().split() for e in side if e.level == level] for side in (left, right)]
        n = min(map(len, sides))
        sides = [spread(side, n) for side in sides]
        words = [len({w for line in side for w in line}) for side in sides]
        pairs = [len({p for line in side for p in pairwise(line)}) for side in sides]
        rows.append([level, n, *words, *pairs])
    return pd.DataFrame(rows, columns=["level", "n", "left_words", "right_words", "left_pairs", "right_pairs"])
