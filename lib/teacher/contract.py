"""What a task brings for a teacher: its prompts, its prototype, and the requests that the teacher works on.

>>> systems = compared(task, pool, backend)                                              # doctest: +SKIP
>>> [system.name for system in systems]                                                  # doctest: +SKIP
['one-stage zero-shot', 'one-stage few-shot', 'pipeline']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lib.core.task import Example, StudyTask, TaskError
from lib.llm.types import Backend, Prompt, Reply
from lib.teacher.pipeline import OneStage, OneStageSystem, Pipeline, Prototype
from lib.teacher.write import Writer

PIPELINE, STUDENT = "pipeline", "student"
"""Names of readers in records."""


@dataclass(frozen=True)
class TeacherSet:
    """What a teacher works on; examples name a key of ``contexts``. None has the words of one of another kind.

    ``seeds`` are expanded (split "train"), ``tests`` are answered (split "dev"), and ``pool`` holds the examples that
    prompts may show: other requests than the seeds, so that no reader of a candidate is shown its seed.
    """

    contexts: dict[str, Any]
    seeds: list[Example]
    tests: list[Example]
    pool: list[Example]


class TeacherTask(StudyTask, Protocol):
    """A task that a large model can be the teacher of."""

    recordings: Path
    """The folder with what teachers answered."""

    def teacher_set(self, seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
        """Draws ``seeds`` requests to expand, ``tests`` of each level, and ``pool`` requests to show."""
        ...

    def writer(self, prompts: Path | None = None) -> Writer:
        """How candidates are asked for and judged, with the prompts in a file or the task's own."""
        ...

    def prototype(self, pool: Sequence[Example]) -> Prototype:
        """The pipeline's steps; ``pool``: resolved examples to retrieve from."""
        ...

    def one_stage(self, pool: Sequence[Example]) -> dict[str, OneStage]:
        """Prompts of one-stage systems by name."""
        ...

    def masked(self, example: Example, contexts: Mapping[str, Any]) -> str:
        """The words of a request with names and numbers masked, for comparing with tests."""
        ...


def teacher_task(task: StudyTask) -> TeacherTask:
    """``task`` if it brings what a teacher needs. Raises TaskError with what is missing."""
    needed = ("recordings", "teacher_set", "writer", "prototype", "one_stage", "masked")
    missing = [name for name in needed if not hasattr(task, name)]
    if missing:
        raise TaskError(f"task '{task.name}' lacks {', '.join(missing)}: see TeacherTask in lib/teacher/contract.py")
    return task  # type: ignore[return-value]


def compared(
    task: TeacherTask, pool: Sequence[Example], backend: Backend, names: Sequence[str] = ()
) -> list[Pipeline | OneStageSystem]:
    """The one-stage systems and the pipeline around one model, or those of ``names``. Raises TaskError."""
    singles = [OneStageSystem(prompts, backend, name) for name, prompts in task.one_stage(pool).items()]
    systems: list[Pipeline | OneStageSystem] = [*singles, Pipeline(task.prototype(pool), backend, PIPELINE)]
    unknown = sorted(set(names) - {system.name for system in systems})
    if unknown:
        raise TaskError(f"systems: unknown '{unknown[0]}': use some of {', '.join(s.name for s in systems)}")
    return [system for system in systems if not names or system.name in names]


class Sampled:
    """A Backend that samples what is asked for greedily, so that a system can be asked for a second opinion."""

    def __init__(self, inner: Backend, seed: int, temperature: float = 0.7, top_p: float = 0.95) -> None:
        self.inner, self.model, self.seed = inner, inner.model, seed
        self.temperature, self.top_p = temperature, top_p

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies to the prompts with this temperature, top_p and ``seed`` added to their own."""
        return self.inner.complete(
            [replace(p, temperature=self.temperature, top_p=self.top_p, seed=p.seed + self.seed) for p in prompts]
        )
