"""Asks a model thousands of requests that it was not trained on, and tells which answers have sensitive effects.

Random requests are drawn by the task as its development set is, with another seed. What people said is what the task
holds out of it, in new homes: more than the study chose by, and most of it not read one by one. Requests of one context
are in one half. What is drawn and answered is kept, so that a run resumes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core import files, provenance
from lib.core.examples import by_context, read_examples
from lib.core.files import Row
from lib.core.task import Example, StudyTask, said, sensitive, unasked
from lib.data.study_data import DEV, DEV_HUMAN, HOMES, TESTS
from lib.experiments.predictions import Asked, of_files

NAMES = {DEV: "random", DEV_HUMAN: "people"}
HALVES = CHOSEN, CHECKED = "chosen on", "checked on"
COLUMNS = ["test", "id", "level", "half", "confidence", "said", "exact", "does", "wrong"]
"""Of the answers with sensitive effects; ``said``: whether the request names them; ``does``, ``wrong``: their kinds and
the wrong ones, separated by ", "."""
CHUNK = 500  # requests that a process answers before it takes others
SEED = 26  # of requests that no run has


def draw(task: StudyTask, params: Mapping[str, Any], per_level: int, people: int, work: Path) -> list[list[Example]]:
    """Requests by context: ``per_level`` random ones of each level, ``people``'s at most. ``params``: of part 1."""
    given = {**params, "seed": SEED, "seeds": 0, "dev": per_level, "test": 0, "human": 0, "dev_human": people}
    given |= {"human_speech": given.get("human_speech", "") if people else ""}
    folder = work / files.digest([given, provenance.library("", task.name)])[:12]
    if not folder.is_dir():
        with files.replacing(folder) as part:
            part.mkdir()
            task.sample(given, part)
    contexts, groups = task.contexts(folder / HOMES[0]), by_context(read_examples(folder / TESTS), "home")
    return [task.resolve(group, contexts) for group in groups]


def measure(
    task: StudyTask, model: Path, groups: list[list[Example]], work: Path, workers: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of COLUMNS, and by test and half how many requests were asked (n) and right.

    ``workers``: processes that answer; 0 = as many as there are cores. Raises GgufError.
    """
    copy = work / files.sha256(model)[:12] / model.name  # answers are kept beside it
    if not copy.is_file():
        with files.replacing(copy) as part:
            shutil.copyfile(model, part)
    asked = [(e, HALVES[i % 2]) for i, group in enumerate(groups) for e in group]
    chunks = [[e for e, _ in asked[at : at + CHUNK]] for at in range(0, len(asked), CHUNK)]
    tests = [Asked(copy.stem, copy, {f"requests {i}": chunk}) for i, chunk in enumerate(chunks)]
    answers = of_files(tests, task, 1, workers)
    found = [_row(task, e, half, row) for (e, half), row in zip(asked, answers, strict=True)]
    table = pd.DataFrame(found, columns=COLUMNS)
    counts = table.groupby(["test", "half"], sort=False)["exact"].agg(n="size", right="sum").reset_index()
    return table[table["does"] != ""].reset_index(drop=True), counts


def _row(task: StudyTask, example: Example, half: str, answer: Row) -> list[Any]:
    done, wrong = sensitive(task, answer["calls"], example.context), unasked(task, example, answer["calls"])
    kinds = [", ".join(sorted({*some.values()})) for some in (done, wrong)]
    known = [NAMES.get(example.split, example.split), example.id, example.level, half]
    named = not done or said(task, example.text, answer["calls"], example.context)
    return [*known, round(answer["confidence"], 5), named, answer["exact"], *kinds]
