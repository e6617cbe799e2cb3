"""From an assistant to a smaller student: cut a third at most, distil from the uncut assistant, and again.

The schedule is Minitron's advice (Muralidharan et al., arXiv 2407.14679). It differs in that the assistant that was
never cut teaches every step, so that losses do not add up through the teachers, and in that width and depth shrink
together. A shape that cuts nothing is one distillation of the assistant into itself, for quantisation-aware training.

    rows = compress(Job(task, assistant, by_context, held_out), params, Shape(ffn_width=352), run / "06_super-tiny")
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib.compression.prune import Sizes
from lib.compression.shape import Shape, cut, schedule
from lib.core.examples import digest_examples
from lib.core.files import Row, digest, read_json, sha256, write_json
from lib.core.task import Example, Task
from lib.model import student as students
from lib.training import distill
from lib.training.params import Distillation


@dataclass(frozen=True)
class Job:
    """What a student is made from: resolved examples ``by_context`` to learn from, ``held_out`` ones to measure on."""

    task: Task
    assistant: Path
    by_context: Sequence[Sequence[Example]]
    held_out: Sequence[Sequence[Example]] = ()

    @cached_property
    def digest(self) -> str:
        examples = [digest_examples([e for es in sets for e in es]) for sets in (self.by_context, self.held_out)]
        return digest([sha256(self.assistant), examples])


def compress(job: Job, params: Distillation, shape: Shape, out: Path) -> list[Row]:
    """Cuts the assistant to ``shape`` in steps and distils after each, the last one into ``out``; a row for each.

    A row has the step's sizes, ``parameters``, ``removed`` (the share of them), ``cut_seconds``, ``kl_before``
    and ``kl_after`` recovery (KL divergence from the assistant in nats a token; None without held-out examples),
    ``train_steps``, ``seconds`` and ``tokens`` of the distillation, and ``folder``, the student's beside ``out``. Rows
    and earlier students are in ``<out>_steps``; a step that is complete there is not done again.

    Raises PruneError for a shape that cannot be had, StudentError for an assistant that is none of this task, and what
    ``distill.train`` raises.
    """
    assistant = students.load(job.assistant)
    students.check_task(assistant.info, job.task, str(job.assistant))
    shapes = schedule(assistant, shape) if any(shape.sizes) else [shape]
    del assistant  # training needs the memory
    folder, start, rows = out.with_name(out.name + "_steps"), job.assistant, []
    for number, step in enumerate(shapes, 1):
        made = out if number == len(shapes) else folder / f"{number}_recovered"
        row = _step(job, params, step, start, folder / f"{number}_pruned", made)
        rows.append({"step": number, **row, "folder": made.relative_to(out.parent).as_posix()})
        start = made
    return rows


def _step(job: Job, params: Distillation, shape: Shape, start: Path, pruned: Path, made: Path) -> Row:
    """The row of a step, which is done unless it is complete. The row is written last."""
    file = pruned.with_suffix(".json")
    key = digest([job.digest, params.model_dump(), sha256(start), shape.model_dump()])
    if file.is_file() and students.is_student(str(made)) and (row := read_json(file))["key"] == key:
        return row
    facts = _prune(job, shape, start, pruned, key) if any(shape.sizes) else {}
    begin = pruned if facts else start
    result = distill.train(params, job.task, job.assistant, begin, job.by_context, made, job.held_out)
    model = students.load(made).model
    row = {**Sizes.of(model.config)._asdict(), "parameters": model.num_parameters(), **facts}
    kl = {"kl_before": result.kl_before, "kl_after": result.kl_after}
    row |= {name: None if math.isnan(value) else value for name, value in kl.items()}
    row |= {"train_steps": result.steps, "seconds": round(result.seconds, 1), "tokens": result.tokens, "key": key}
    write_json(file, row)
    return row


def _prune(job: Job, shape: Shape, start: Path, pruned: Path, key: str) -> Row:
    """Writes the student that is cut and not yet recovered, unless it is there; says what was cut."""
    if not (students.is_student(str(pruned)) and students.load(pruned).info["pruned"].get("key") == key):
        began = time.monotonic()
        small = cut(job.task, students.load(start), shape, job.by_context)
        small.info["pruned"] |= {"chosen": shape.chosen, "key": key, "seconds": round(time.monotonic() - began, 1)}
        students.save(small, pruned)
    small = students.load(pruned)
    about, weights = small.info["pruned"], small.model.num_parameters()
    removed = 1 - weights / Sizes(*about["of"]).parameters(small.model.config)
    return {"chosen": shape.chosen, "removed": round(removed, 4), "cut_seconds": about["seconds"]}
