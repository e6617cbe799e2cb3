"""The models of a study: a list of what each is made from and how, and one GGUF file for each.

    models:
      student q4_0: {of: "05_student", kind: "q4_0", embedding: "q8_0"}
      narrow q8_0: {of: "03_assistant", kind: "q8_0", shape: {ffn_width: 448}}                         # pruned only
      super-tiny: {of: "03_assistant", kind: "q4_0", shape: {ffn_width: 352}, training: {max_steps: 600}}

A model with ``training`` is cut to its ``shape`` in steps and distilled from what it is made of after each
(lib/compression/iterate.py). What is cut or trained is kept in the folder ``06_NAME`` of the run. A file is made again
only if what it is made from, its entry, the examples or this code changed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lib.compression.iterate import Job, compress
from lib.compression.shape import Shape, cut
from lib.core import files, paths, provenance
from lib.core.files import Row
from lib.core.params import ParamsError, Settings
from lib.core.task import Example, Task
from lib.model import gguf_write
from lib.model import student as students
from lib.model.gguf_kinds import fitting
from lib.model.gguf_read import GgufFile
from lib.training.params import Distillation

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
        _training(name, entry, recovery)
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
    entries: Mapping[str, Entry],
    run: Path,
    task: Task,
    recovery: Mapping[str, Any],
    by_context: Sequence[Sequence[Example]] = (),
    held_out: Sequence[Sequence[Example]] = (),
) -> list[Row]:
    """A GGUF in ``run/06_models`` for each entry; a row on each, in order.

    ``by_context``, ``held_out``: as in lib.compression.iterate.Job. A row has the entry, ``name``, ``step``,
    ``file`` (its name), ``size_mb`` (10^6 bytes), ``weights``, ``sha256`` and ``cuts`` (rows of ``compress``); it is in a
    JSON file beside the GGUF, too. Raises ParamsError, PruneError, StudentError, GgufError, TrainingError.
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
    data = job.digest if entry.shape or training else files.sha256(job.assistant)
    settings = training.model_dump() if training else None
    code = provenance.library("from lib.compression import models")
    key = files.digest([name, entry.model_dump(), settings, data, code])
    if about.is_file() and file.is_file():
        row = files.read_json(about)
        if row.get("key") == key and row["sha256"] == files.sha256(file):
            return row
    cuts = _write(entry, job, training, file)
    row = {"name": name, **entry.model_dump(exclude_none=True), "step": entry.step, "file": file.name, "cuts": cuts}
    row |= {"size_mb": file.stat().st_size / 1e6, "weights": GgufFile(file).parameters}
    row |= {"sha256": files.sha256(file), "key": key}
    files.write_json(about, row)
    return row


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
    for name, width in gguf.widths.items():
        if gguf.kinds[name] != fitting(own.get(name, entry.kind), width):
            raise ParamsError(f"{student.name}: '{name}' is {gguf.kinds[name]}: say so in models, or name a folder")
    with files.replacing(file) as part:
        shutil.copyfile(student, part)
    return cuts
