"""What each model answers to each test, kept beside its file, so that a new model in a list costs its own answers only.

The records are those of lib/evaluation/evaluate.py. They are asked for again if the model, the requests, the way of asking, the
processor or this code changed; an interrupted model goes on where it was.

>>> rows = of_file(Asked("tiny", Path("runs/gpu/06_models/tiny.gguf"), {"dev": dev}), task)  # doctest: +SKIP
>>> of_student("student torch", student, {"dev": dev}, task, folder / "torch.jsonl")     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.core import files, provenance
from lib.core.files import Row
from lib.core.task import Answer, Example, System, Task
from lib.evaluation.evaluate import evaluate
from lib.runtime.gguf_student import GgufStudent

if TYPE_CHECKING:
    from lib.model.student import Student

Tests = Mapping[str, Sequence[Example]]
"""Resolved examples by the name of their test."""


@dataclass(frozen=True)
class Asked:
    """What a file is asked under which name, and how: an answer of more than ``max_new`` tokens counts as wrong.

    ``part``: names a part of the requests, which is kept apart; empty: all of them.
    """

    name: str
    file: Path
    tests: Tests
    grammar: bool = True
    max_new: int = 256
    part: str = ""

    @property
    def kept(self) -> Path:
        return self.file.with_name(f"{self.file.stem}{'' if self.grammar else '_free'}_answers{self.part}.jsonl")

    def key(self, threads: int, processor: Mapping[str, Any]) -> str:
        """What its answers depend on."""
        how = {"threads": threads, "grammar": self.grammar, "max_new": self.max_new}
        return _key([self.name, files.sha256(self.file), how, dict(processor)], self.tests)


def of_file(
    asked: Asked, task: Task, threads: int = 2, known: Sequence[Row] = (), key: str = "", progress: bool = True
) -> list[Row]:
    """The records of a GGUF, asked one request at a time, kept beside it; ``known``: those that there are already.

    ``key``: of all cores' process, for one that has only some of them. Raises GgufError for a file that is no student
    of ``task``.
    """
    key = key or asked.key(threads, processor())
    return _kept(asked.kept, key, asked.name, lambda: student(asked, task, threads), asked.tests, task, known, progress)


def student(asked: Asked, task: Task, threads: int) -> System:
    """The file, ready to answer. Raises GgufError."""
    return GgufStudent(asked.file, task, grammar=asked.grammar, threads=threads, max_new=asked.max_new)


def of_student(name: str, trained: Student, tests: Tests, task: Task, kept: Path) -> list[Row]:
    """The records of a student in torch under ``name``, asked in batches without a grammar; kept in ``kept``."""
    from lib.model.student import weights_digest
    from lib.model.torch_student import TorchStudent

    def system() -> System:
        return TorchStudent(trained, task, name)

    return _kept(kept, _key([name, weights_digest(trained.model)], tests), name, system, tests, task)


def complete(path: Path, key: str) -> bool:
    """Whether all answers of ``key`` are kept in ``path``."""
    done = path.with_suffix(".json")
    if not (done.is_file() and path.is_file()):
        return False
    there = files.read_json(done)
    return bool(there.get("key") == key and there.get("sha256") == files.sha256(path))


def _kept(
    path: Path,
    key: str,
    name: str,
    system: Callable[[], System],
    tests: Tests,
    task: Task,
    known: Sequence[Row] = (),
    progress: bool = True,
) -> list[Row]:
    if complete(path, key):
        return files.read_jsonl(path)
    with files.Resumable(path, key=key) as out:
        there = {(row["test"], row["id"]) for row in out.rows}
        for row in known:
            if (row["test"], row["id"]) not in there:
                out.append(row)
        model = _Opened(name, system)
        rows = [row for test, examples in tests.items() for row in evaluate(model, examples, task, test, out, progress)]
    files.write_json(path.with_suffix(".json"), {"key": key, "sha256": files.sha256(path)})
    return rows


class _Opened:
    """A System that is opened by its first request."""

    def __init__(self, name: str, system: Callable[[], System]) -> None:
        self.name = name
        self._system = cache(system)

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self._system().answer(text, context)

    def __getattr__(self, name: str) -> Any:
        """What only some systems offer, such as ``answer_many``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._system(), name)


def _key(parts: Sequence[Any], tests: Tests) -> str:
    asked = {test: [[e.id, e.text, e.context, e.gold] for e in examples] for test, examples in tests.items()}
    return files.digest([*parts, asked, _code()])


def processor() -> dict[str, Any]:
    hardware = provenance.hardware()
    return {name: hardware[name] for name in ("cpu", "cores")}


@cache
def _code() -> str:
    """What tells this code from other code."""
    return provenance.library("from lib.experiments import predictions")
