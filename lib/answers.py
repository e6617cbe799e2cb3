"""What each model answers to each test, kept beside its file, so that a new model in a list costs its own answers only.

The records are those of lib/evaluation.py. They are asked for again if the model, the requests, the way of asking, the
processor or this code changed; an interrupted model goes on where it was.

>>> rows = of_file("tiny", Path("runs/gpu/06_models/tiny.gguf"), {"dev": dev}, task)     # doctest: +SKIP
>>> of_student("student torch", student, {"dev": dev}, task, folder / "torch.jsonl")     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lib import provenance, records
from lib.evaluation import evaluate
from lib.records import Row
from lib.serve import GgufStudent
from lib.student import Student, weights_digest
from lib.task import Example, System, Task
from lib.torch_student import TorchStudent

Tests = Mapping[str, Sequence[Example]]
"""Resolved examples by the name of their test."""


def of_file(
    name: str,
    file: Path,
    tests: Tests,
    task: Task,
    threads: int = 2,
    grammar: bool = True,
    max_new: int = 256,
) -> list[Row]:
    """The records of a GGUF, asked one request at a time, under ``name``; kept beside it.

    An answer of more than ``max_new`` tokens counts as wrong. Raises GgufError for a file that is no student of
    ``task``.
    """
    how = {"threads": threads, "grammar": grammar, "max_new": max_new}

    def system() -> System:
        return GgufStudent(file, task, **how)  # type: ignore[arg-type]

    kept = file.with_name(f"{file.stem}{'' if grammar else '_free'}_answers.jsonl")
    return _kept(kept, [name, records.sha256(file), how, _processor()], name, system, tests, task)


def of_student(name: str, student: Student, tests: Tests, task: Task, kept: Path) -> list[Row]:
    """The records of a student in torch under ``name``, asked in batches without a grammar; kept in ``kept``."""

    def system() -> System:
        return TorchStudent(student, task, name)

    return _kept(kept, [name, weights_digest(student.model)], name, system, tests, task)


def _kept(path: Path, key: list[Any], name: str, system: Callable[[], System], tests: Tests, task: Task) -> list[Row]:
    asked = {test: [[e.id, e.text, e.context, e.gold] for e in examples] for test, examples in tests.items()}
    whole = records.digest([*key, asked, _code()])
    done = path.with_suffix(".json")
    if done.is_file() and path.is_file():
        there = records.read_json(done)
        if there.get("key") == whole and there.get("sha256") == records.sha256(path):
            return records.read_jsonl(path)
    with records.Resumable(path, key=whole) as out:
        model = system()
        model.name = name
        rows = [row for test, examples in tests.items() for row in evaluate(model, examples, task, test, out)]
    records.write_json(done, {"key": whole, "sha256": records.sha256(path)})
    return rows


def _processor() -> dict[str, Any]:
    hardware = provenance.hardware()
    return {name: hardware[name] for name in ("cpu", "cores")}


@cache
def _code() -> str:
    """What tells this code from other code."""
    return provenance.library("from lib import answers")
