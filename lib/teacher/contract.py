"""What a task brings for a teacher, a large language model: requests to work on, prompts, and the pipeline's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lib.core.task import Example, StudyTask, TaskError
from lib.llm.types import Backend, Prompt, Reply
from lib.teacher.pipeline import OneStage, OneStageSystem, Pipeline, Prototype
from lib.teacher.write import Writer

PIPELINE = "pipeline"  # its name in records


@dataclass(frozen=True)
class TeacherSet:
    """What a teacher works on; examples name a key of ``contexts``, and no kind has the words of another.

    ``seeds`` are paraphrased (split "train"), ``tests`` are answered (split "dev"), ``pool`` is shown in prompts.
    """

    contexts: dict[str, Any]
    seeds: list[Example]
    tests: list[Example]
    pool: list[Example]


class TeacherTask(StudyTask, Protocol):
    """A task that a large model can be the teacher of. ``recordings``: the folder with what teachers answered."""

    recordings: Path

    def teacher_set(self, seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
        """Draws ``seeds`` requests to paraphrase, ``tests`` of each level, and ``pool`` requests to show."""

    def writer(self, prompts: Path | None = None) -> Writer:
        """How candidates are requested and judged, with the prompts in a file or the task's own."""

    def prototype(self, pool: Sequence[Example]) -> Prototype:
        """The pipeline's steps; ``pool``: resolved examples to retrieve from."""

    def one_stage(self, pool: Sequence[Example]) -> dict[str, OneStage]:
        """Prompts of one-stage systems by name."""

    def masked(self, example: Example, contexts: Mapping[str, Any]) -> str:
        """The words of a request with names and numbers masked, for comparing with tests."""


def has_teacher(task: StudyTask) -> bool:
    """Whether ``task`` has a recorded teacher."""
    return hasattr(task, "recordings")


def teacher_task(task: StudyTask) -> TeacherTask:
    """``task`` if it has a recorded teacher. Raises TaskError."""
    if not has_teacher(task):
        raise TaskError(f"task '{task.name}' has no teacher: see TeacherTask in lib/teacher/contract.py")
    return task  # type: ignore[return-value]


def compared(
    task: TeacherTask, pool: Sequence[Example], backend: Backend, names: Sequence[str] = ()
) -> list[Pipeline | OneStageSystem]:
    """The one-stage systems and the pipeline around one model, or those of ``names``. Raises TaskError."""
    singles = [OneStageSystem(prompts, backend, name) for name, prompts in task.one_stage(pool).items()]
    systems: list[Pipeline | OneStageSystem] = [*singles, Pipeline(task.prototype(pool), backend, PIPELINE)]
    if unknown := sorted(set(names) - {system.name for system in systems}):
        raise TaskError(f"systems: unknown '{unknown[0]}': use some of {', '.join(s.name for s in systems)}")
    return [system for system in systems if not names or system.name in names]


class Sampled:
    """A Backend that samples at temperature 0.7 what is requested greedily, for a second opinion of a system."""

    def __init__(self, inner: Backend, seed: int) -> None:
        self.inner, self.model, self.seed = inner, inner.model, seed

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        return self.inner.complete([replace(p, temperature=0.7, top_p=0.95, seed=p.seed + self.seed) for p in prompts])
