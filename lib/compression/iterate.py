"""From an assistant to a small student: cut a third at most, distil from the unpruned assistant, and again.

The schedule is Minitron's advice (Muralidharan et al., arXiv 2407.14679: iterative cuts, each recovered by
distillation). It differs in that the teacher of every step is the assistant that was never cut, not the step before,
so that losses do not add up through the teachers, and in that width and depth shrink together.

>>> shape, out = Shape(channels=464), Path("runs/gpu/06_tiny")
>>> [step.channels for step in schedule(students.load(assistant), shape)]                # doctest: +SKIP
[912, 464]
>>> rows = compress({"max_minutes": 3}, task, assistant, shape, homes, out, dev)         # doctest: +SKIP
>>> [row["parameters"] for row in rows], rows[1]["kl_after"] < rows[1]["kl_before"]      # doctest: +SKIP
([83292480, 60068160], True)

The recovered student is ``out``; the model that was cut but not yet recovered is ``<out>_pruned``. Earlier steps, the
logs of searches and a row for each step are in ``<out>_steps``. What is complete there is not done again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.compression.mask_search import SearchParams
from lib.compression.prune import PruneError, parameters, sizes_of
from lib.compression.shape import Shape, cut, schedule
from lib.core.files import Row, digest, read_json, sha256, write_json
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.student import Student
from lib.training.distill import Distilled, measure
from lib.training.distill import train as distill
from lib.training.log import read_steps
from lib.training.params import Distillation, TrainingError


@dataclass(frozen=True)
class Compression:
    """All that the steps have in common."""

    params: Distillation
    task: Task
    assistant: Path
    groups: Sequence[Sequence[Example]]
    held_out: Sequence[Sequence[Example]]
    search: SearchParams

    def data(self) -> str:
        """What tells these examples from others."""
        sets = (self.groups, self.held_out)
        return digest([[[e.id, e.text, e.gold] for group in groups for e in group] for groups in sets])


@dataclass(frozen=True)
class Step:
    """Where one step reads and writes."""

    number: int
    shape: Shape
    start: Path
    pruned: Path
    recovered: Path
    row: Path
    search: Path


def compress(
    params: Mapping[str, Any] | Distillation,
    task: Task,
    assistant: Path,
    shape: Shape,
    groups: Sequence[Sequence[Example]],
    out: Path,
    held_out: Sequence[Sequence[Example]] = (),
    search: SearchParams | None = None,
    most: float = 1 / 3,
) -> list[Row]:
    """Cuts ``assistant`` to ``shape`` in steps and distils after each; a row for each step.

    ``params``: of the distillation of every step; ``groups``: resolved examples that share a context, to choose parts
    and to distil on; ``held_out``: to measure on. A row has the step's sizes, ``parameters``, ``removed`` (the share
    of what was there), ``kl_before`` and ``kl_after`` recovery (against the assistant, nats a token; None without
    held-out examples), ``cut_seconds``, ``seconds`` and ``tokens`` of the distillation, and its folders' names.

    Raises PruneError for a shape that cannot be had, TrainingError for no examples or parameters that are not allowed,
    StudentError for an assistant that is none of this task.
    """
    if shape.source != "assistant" or not shape.cuts:
        raise PruneError("shape: compression cuts an assistant: set source: assistant, and layers, channels or groups")
    settings = Distillation.read(params, "training")
    if not any(groups):
        raise TrainingError("no examples to compress on: check the stage that accepts them")
    job = Compression(settings, task, assistant, groups, held_out, search or SearchParams())
    data = job.data()
    return [_step(job, step, data) for step in _steps(_schedule(job, shape, most), assistant, out)]


def rows(run: Path) -> list[Row]:
    """The rows of all cuts that a run made, by ``model`` and step; none if there is none. Raises RecordError."""
    files = sorted(run.glob("06_*_steps/[0-9]*.json"))
    return [{"model": f.parent.name.removeprefix("06_").removesuffix("_steps"), **read_json(f)} for f in files]


def _schedule(job: Compression, shape: Shape, most: float) -> list[Shape]:
    known = students.load(job.assistant)
    students.check_task(known.info, job.task, str(job.assistant))
    return schedule(known, shape, most)


def _steps(shapes: Sequence[Shape], assistant: Path, out: Path) -> list[Step]:
    folder = out.with_name(out.name + "_steps")
    found: list[Step] = []
    for number, shape in enumerate(shapes, 1):
        start = found[-1].recovered if found else assistant
        pruned, recovered = folder / f"{number}_pruned", folder / f"{number}_recovered"
        if number == len(shapes):
            pruned, recovered = out.with_name(out.name + "_pruned"), out
        row, search = folder / f"{number}.json", folder / f"{number}_search"
        found.append(Step(number, shape, start, pruned, recovered, row, search))
    return found


def _step(job: Compression, step: Step, data: str) -> Row:
    """The row of a step, which is done unless it is complete. The row is written last."""
    chosen = [asdict(step.shape), asdict(job.search) if step.shape.chosen == "search" else None]
    key = digest([sha256(step.start), sha256(job.assistant), chosen, job.params.model_dump(), data])
    if step.row.is_file() and students.is_student(str(step.pruned)) and students.is_student(str(step.recovered)):
        row: Row = json.loads(step.row.read_text(encoding="utf-8"))
        if row["key"] == key:
            return row
    pruned = _pruned(job, step, digest([sha256(step.start), chosen, data]))
    result = _recovered(job, step)
    row = {"step": step.number, **_facts(step, pruned), **_figures(result), "key": key}
    write_json(step.row, row)
    return row


def _pruned(job: Compression, step: Step, key: str) -> Student:
    """The student of the step that is cut and not yet recovered."""
    if students.is_student(str(step.pruned)):
        there = students.load(step.pruned)
        if there.info["pruned"].get("key") == key:
            return there
    began = time.monotonic()
    examples = [e for group in job.groups for e in group]
    made = cut(job.task, students.load(step.start), step.shape, examples, job.search, step.search)
    made.info["pruned"] |= {"chosen": step.shape.chosen, "key": key, "seconds": round(time.monotonic() - began, 1)}
    students.save(made, step.pruned)
    return made


def _recovered(job: Compression, step: Step) -> Distilled:
    """Distils, unless a distillation of the same models and parameters is complete and only its row is missing."""
    facts = {**job.params.model_dump(), "assistant": sha256(job.assistant), "student": sha256(step.pruned)}
    if not is_trained(step.recovered, facts):
        return distill(job.params, job.task, job.assistant, step.pruned, job.groups, step.recovered, job.held_out)
    known = students.load(job.assistant)
    before, after = (
        measure(job.task, known, students.load(path), job.held_out, job.params)
        for path in (step.pruned, step.recovered)
    )
    rows = read_steps(step.recovered / "steps.csv")
    last = rows[-20:]
    loss = sum(row["loss"] for row in last) / len(last)
    tokens, steps = sum(r["tokens"] for r in rows), job.params.max_steps
    return Distilled(step.recovered, len(rows), steps, tokens, rows[-1]["seconds"], loss, before, after)


def is_trained(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Whether a student there was trained with these parameters and models."""
    if not students.is_student(str(folder)):
        return False
    training = json.loads((folder / "student.json").read_text(encoding="utf-8")).get("training", {})
    return {name: training.get(name) for name in facts} == dict(facts)


def _facts(step: Step, pruned: Student) -> Row:
    """What a step cut, and where its models are."""
    layers, channels, groups = sizes_of(pruned.model.config)
    there = pruned.info["pruned"]
    weights, before = pruned.model.num_parameters(), parameters(pruned.model.config, *there["of"])
    return {
        "layers": layers,
        "channels": channels,
        "groups": groups,
        "chosen": step.shape.chosen,
        "parameters": weights,
        "removed": round(1 - weights / before, 4),
        "cut_seconds": there["seconds"],
        "pruned": step.pruned.name,
        "recovered": step.recovered.name,
    }


def _figures(result: Distilled) -> Row:
    """What recovery brought and cost."""
    kls = {"kl_before": result.kl_before, "kl_after": result.kl_after}
    found: Row = {name: None if math.isnan(kl) else kl for name, kl in kls.items()}
    return {**found, "seconds": round(result.seconds, 1), "tokens": result.tokens, "train_steps": result.steps}
