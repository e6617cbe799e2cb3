"""The models of a study: a list of what each is made from and how, and one GGUF file for each.

    models:
      student q4_0: {of: "05_student", kind: "q4_0", embedding: "q8_0"}
      narrow q8_0: {of: "03_assistant", kind: "q8_0", shape: {ffn_width: 448}}                         # pruned only
      super-tiny: {of: "03_assistant", kind: "q4_0", shape: {ffn_width: 352}, training: {max_steps: 600}}

A model with ``training`` is cut by a third at most, distilled from what it is made of, and again (Muralidharan et al.,
*Minitron*, arXiv 2407.14679). It differs in that the assistant that was never cut teaches every step, so that losses do
not add up through the teachers, and in that width and depth shrink together. Without a ``shape`` it is one distillation
of the assistant into itself, for quantisation-aware training. What is cut or trained is kept in the folder ``06_NAME``
of the run. A file is made again only if what it is made from, its entry, the examples or this code changed; not with
other versions of packages, so that a run can be begun on a GPU and finished elsewhere.
"""

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal

from lib.compression.prune import Sizes
from lib.compression.shape import Shape, cut, schedule
from lib.core import files, paths, provenance
from lib.core.examples import digest_examples
from lib.core.files import Row
from lib.core.params import ParamsError, Settings
from lib.core.task import Task
from lib.model import gguf_write
from lib.model import student as students
from lib.model.feed_forward import Weights
from lib.model.gguf_read import GgufFile
from lib.model.gguf_write import fitting
from lib.training import distill
from lib.training.packing import ByContext
from lib.training.params import Distillation
from lib.training.work import RUN, Result

PARENT, PRUNED = "parent", "pruned only"
Kind = Literal["f16", "q8_0", "q5_0", "q4_0"]


class Entry(Settings):
    """One model of the list."""

    of: str  # a student's folder in the run, or a path from the project's root; a GGUF there is taken as it is
    kind: Kind
    embedding: Kind | None = None  # the token embedding's, if it is another
    shape: Shape | None = None  # what stays of it; without training it is pruned only
    training: dict[str, Any] | None = None  # changes of the parameters that all distillations of the list share

    @property
    def step(self) -> str:
        """What was done to make it."""
        if self.training is not None:
            return "pruned and distilled" if self.shape else "quantisation-aware"
        if self.shape:
            return PRUNED
        return "released" if self.of.endswith(".gguf") else "student" if "student" in self.of else "quantised"


@dataclass(frozen=True)
class Job:
    """What a student is made from: resolved examples ``by_context`` to learn from, ``held_out`` ones to measure on."""

    task: Task
    assistant: Path
    by_context: ByContext
    held_out: ByContext = ()

    @cached_property
    def digest(self) -> str:
        examples = [digest_examples([e for es in sets for e in es]) for sets in (self.by_context, self.held_out)]
        return files.digest([students.digest(self.assistant), examples])


def read(models: Mapping[str, Any], recovery: Mapping[str, Any]) -> dict[str, Entry]:
    """The entries by name, in order. ``recovery``: parameters that all distillations share. Raises ParamsError."""
    entries = {name: Entry.read(values, f"models: {name}") for name, values in models.items()}
    if not entries:
        raise ParamsError("models: none: give at least one, such as {student q8_0: {of: 05_student, kind: q8_0}}")
    for name, entry in entries.items():
        if not re.fullmatch(r"[A-Za-z0-9][\w .-]*", name):
            raise ParamsError(f"models: '{name}': it names a file: use letters, digits, blanks and . _ - only")
        if [file_name(other).casefold() for other in entries].count(file_name(name).casefold()) > 1:
            raise ParamsError(f"models: {name}: another name gives the same file: rename one")
        if entry.shape and entry.shape.experts:
            remedy = "train it as a variant of params/frontier.yaml"
            raise ParamsError(f"models: {name}: shape: experts: they run in torch, no file holds them: {remedy}")
        training = _training(name, entry, recovery)
        if entry.shape and entry.shape.vocab_size and training and training.align != "text":
            raise ParamsError(
                f"models: {name}: shape: vocab_size: add training: {{align: text}}: vocabularies differ then"
            )
    return entries


def _training(name: str, entry: Entry, recovery: Mapping[str, Any]) -> Distillation | None:
    if entry.training is None:
        return None
    return Distillation.read({**recovery, **entry.training}, f"models: {name}: training")


def file_name(name: str) -> str:
    """The name of a model's GGUF."""
    return name.replace(" ", "-") + ".gguf"


def source(name: str, entry: Entry, run: Path) -> Path:
    """The student that a model is made from. Raises ParamsError with what makes it."""
    for place in (run / entry.of, paths.ROOT / entry.of):
        if students.is_student(str(place)):
            return place
    remedy = "give a folder of the run, such as 05_student, or a path from the project's root"
    if re.match(r"0[1-5]_", entry.of):
        remedy = f"run stage {entry.of[:2]} first (make reproduce)"
    raise ParamsError(f"models: {name}: of: no student '{entry.of}': {remedy}")


def make(
    entries: dict[str, Entry], run: Path, task: Task, recovery: Row, by_context: ByContext, held_out: ByContext
) -> list[Row]:
    """A GGUF in ``run/06_models`` for each entry; a row on each, in order.

    ``by_context``, ``held_out``: as in ``Job``. A row, which is in a JSON file beside the GGUF, too, has the entry,
    ``name``, ``step``, ``file`` (its name), ``size_mb`` (10^6 bytes), ``weights``, ``sha256`` and ``cuts`` (rows of
    ``compress``). Raises ParamsError, StudentError, GgufError, TrainingError.
    """
    places = {name: source(name, entry, run) for name, entry in entries.items()}
    (run / "06_models").mkdir(exist_ok=True)
    made = []
    for name, entry in entries.items():
        job = Job(task, places[name], by_context, held_out)
        made.append(_made(name, entry, job, _training(name, entry, recovery), run / "06_models" / file_name(name)))
    return made


def _made(name: str, entry: Entry, job: Job, training: Distillation | None, file: Path) -> Row:
    """The row of a model, whose file is made unless it is complete and of the same inputs; written last."""
    about = file.with_suffix(".json")
    data = job.digest if entry.shape or training else students.digest(job.assistant)
    settings = training.model_dump() if training else None
    key = files.digest([name, entry.model_dump(), settings, data, _code()])
    row = files.known(about)
    if row.get("key") == key and file.is_file() and row["sha256"] == files.sha256(file):
        return row
    cuts = _write(entry, job, training, file)
    row = {"name": name, **entry.model_dump(exclude_none=True), "step": entry.step, "file": file.name, "cuts": cuts}
    row |= {"size_mb": file.stat().st_size / 1e6, "weights": GgufFile(file).parameters}
    row |= {"sha256": files.sha256(file), "key": key}
    files.write_json(about, row)
    return row


_code = cache(partial(provenance.library, "from lib.compression import models"))


def _write(entry: Entry, job: Job, training: Distillation | None, file: Path) -> list[Row]:
    """Makes the student if it has to be cut or trained, and its file; the rows of its cuts."""
    cuts: list[Row] = []
    student, made = job.assistant, file.parent.with_name(f"06_{file.stem}")
    if training:
        cuts, student = compress(job, training, entry.shape or Shape(), made), made
    elif entry.shape:
        student = students.save(cut(job.task, students.load(student), entry.shape, job.by_context), made)
    if student.is_dir():
        gguf_write.export(student, file, entry.kind, entry.embedding)
        return cuts
    own, gguf = {gguf_write.EMBEDDING: entry.embedding or entry.kind}, GgufFile(student)
    for name, (kind, width) in gguf.kinds.items():
        if kind != fitting(own.get(name, entry.kind), width):
            raise ParamsError(f"{student.name}: '{name}' is {kind}: say so in models, or name a folder")
    with files.replacing(file) as part:
        shutil.copyfile(student, part)
    return cuts


def compress(job: Job, params: Distillation, shape: Shape, out: Path) -> list[Row]:
    """Cuts the assistant to ``shape`` in steps and distils after each, the last one into ``out``; a row for each.

    A row has the step's sizes, ``parameters``, ``removed`` (the share of them), ``kl_before`` and
    ``kl_after`` recovery (KL divergence from the assistant in nats a token; None without held-out examples),
    ``train_steps``, ``seconds`` and ``tokens`` of the distillation, and ``folder``, the student's beside ``out``. Rows
    and earlier students are in ``<out>_steps``; a step that is complete there is not done again. Raises ParamsError,
    StudentError for an assistant that is none of this task, and what ``distill.train`` raises.
    """
    assistant = students.load(job.assistant)
    students.check_task(assistant.info, job.task, str(job.assistant))
    shapes = schedule(assistant, shape) if shape.changes else [shape]
    del assistant  # training needs the memory
    folder, start, rows = out.with_name(out.name + "_steps"), job.assistant, []
    for number, step in enumerate(shapes, 1):
        made = out if number == len(shapes) else folder / f"{number}_recovered"
        row = _step(job, params, step, start, folder / f"{number}_pruned", made)
        rows.append({"step": number, **row, "folder": made.relative_to(out.parent).as_posix()})
        start = made
    return rows


def recover(job: Job, params: Distillation, shape: Shape, out: Path) -> Result:
    """``compress`` in all; a shape that changes nothing leaves the assistant as it is, without a step."""
    if not shape.changes:
        return Result(students.save(students.load(job.assistant), out), 0, 0, 0, 0.0, 0.0)
    rows = compress(job, params, shape, out)
    steps, tokens, seconds = (sum(row[key] for row in rows) for key in ("train_steps", "tokens", "seconds"))
    return Result(out, steps, steps, tokens, seconds, Result.read(out, steps).loss)


def _step(job: Job, params: Distillation, shape: Shape, start: Path, pruned: Path, made: Path) -> Row:
    """The row of a step, which is done unless it is complete. The row is written last."""
    file = pruned.with_suffix(".json")
    key = files.digest([job.digest, params.model_dump(), students.digest(start), shape.model_dump(), _code()])
    old = files.known(file)
    if old.get("key") == key and made.is_dir() and old.get("student") == files.sha256(made, RUN):
        return old
    facts = _prune(job, shape, start, pruned, key) if shape.changes else {}
    begin = pruned if facts else start
    result = distill.train(params, job.task, job.assistant, begin, job.by_context, made, job.held_out)
    model = students.load(made).model
    row = {**Sizes.of(model.config)._asdict(), "parameters": Weights.of(model).stored, **facts}
    kl = {"kl_before": result.kl_before, "kl_after": result.kl_after}
    row |= {name: None if math.isnan(value) else value for name, value in kl.items()}
    row |= {"train_steps": result.steps, "seconds": round(result.seconds, 1), "tokens": result.tokens, "key": key}
    row["student"] = files.sha256(made, RUN)
    files.write_json(file, row)
    return row


def _prune(job: Job, shape: Shape, start: Path, pruned: Path, key: str) -> Row:
    """Writes the student that is cut and not yet recovered, unless it is there; says what was cut."""
    if not (students.is_student(str(pruned)) and students.load(pruned).info["pruned"].get("key") == key):
        small = cut(job.task, students.load(start), shape, job.by_context)
        small.info["pruned"] |= {"chosen": shape.chosen, "key": key}
        students.save(small, pruned)
    whole, left = (Weights.of(students.load(path).model).stored for path in (start, pruned))
    return {"chosen": shape.chosen, "removed": round(1 - left / whole, 4)}
