"""White-box distillation: a student learns the assistant's probabilities of every token of an answer, not the answer.

The knowledge transfer of *From Large to Super-Tiny* (arXiv 2504.13471); the assistant is the teacher's stand-in with
the student's vocabulary (Mirzadeh et al., arXiv 1902.03393). Losses: lib/training/losses.py and lib/training/distill_trainer.py.

TRL's DistillationTrainer does a part of this. It is not used because it writes every prompt out by itself and attends
with a 2-D mask, where rows share prefixes by a 4-D mask here (lib/training/packing.py), which saves most of the tokens; because
all its answers are sampled, and it knows neither accepted ones with their cross-entropy nor top-k; and because it makes
ids of text, in which a control token cannot be told from a person's words. So the trainer is TRL's SFTTrainer with
another loss.

>>> params = {"max_minutes": 4, "divergence": "forward", "top_k": 100, "ce_weight": 0.3, "on_policy": 0.25}
>>> pair = Path("runs/cpu/03_assistant"), Path("runs/cpu/03_student")
>>> result = distill(params, task, *pair, groups, Path("runs/cpu/04_student"), held_out)   # doctest: +SKIP
>>> round(result.kl_before, 3), round(result.kl_after, 3)                                  # doctest: +SKIP
(0.142, 0.061)

``steps.csv`` has three columns more than a fine-tuning's: ``ce`` (cross-entropy of the accepted answers),
``divergence`` (of all answers, penalty included), ``sampled`` (the share of answer tokens that the student sampled).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from lib.core.files import sha256
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.training import finetune, losses, workdir
from lib.training.distill_trainer import DistillParams, DistillTrainer
from lib.training.finetune import TrainResult, answer_logits
from lib.training.packing import Packer, collate
from lib.training.params import Training, TrainingError

ACROSS = "trl.experimental.gold.GOLDTrainer"
"""TRL's trainer for a teacher and a student of different vocabularies."""


@dataclass(frozen=True)
class DistillResult(TrainResult):
    """``kl_before`` and ``kl_after``: ``measure`` on the held-out examples; no number if there were none."""

    kl_before: float
    kl_after: float


def distill(
    params: Mapping[str, Any] | DistillParams,
    task: Task,
    assistant: Path,
    student: Path,
    groups: Sequence[Sequence[Example]],
    out_dir: Path,
    held_out: Sequence[Sequence[Example]] = (),
) -> DistillResult:
    """Distils ``assistant`` into ``student`` on ``groups`` (examples that share a context), written to ``out_dir``.

    Both are students' folders or GGUF files of one vocabulary; neither is changed. A killed distillation is taken up
    as a fine-tuning is (lib/training/finetune.py). Raises TrainingError for parameters that are not allowed, vocabularies that
    differ, no examples, work of other parameters or models, or a loss that is no number; StudentError.
    """
    params = DistillParams.read(params)
    if not any(groups):
        raise TrainingError("no examples to distil on: check the stage that accepts them")
    known, learner = load_pair(task, assistant, student)
    facts = {**params.to_dict(), "assistant": sha256(assistant), "student": sha256(student)}
    if facts["assistant"] == facts["student"] and not params.rounded:
        raise TrainingError(f"{assistant} and {student} are the same model: there is nothing to distil")
    work = workdir.claim(out_dir, facts, groups)
    before = measure(task, known, learner, held_out, params)
    result = finetune.fit(_trainer(params, task, known, learner, groups, work), learner, facts, out_dir)
    after = measure(task, known, learner, held_out, params)
    return DistillResult(**vars(result), kl_before=before, kl_after=after)


def load_pair(task: Task, assistant: Path, student: Path) -> tuple[Student, Student]:
    """Assistant and student. Raises TrainingError unless both are students with one vocabulary, and StudentError."""
    if not students.is_student(str(assistant)):
        raise TrainingError(f"{assistant}: no student is there: run the notebook that writes it. {_REMEDY}")
    pair = students.load(assistant), students.load(student)
    for path, found in zip((assistant, student), pair, strict=True):
        students.check_task(found.info, task, str(path))
    if _tokens(pair[0]) != _tokens(pair[1]):
        sizes = [f"{path} ({len(s.vocabulary):,} tokens)" for path, s in zip((assistant, student), pair, strict=True)]
        raise TrainingError(f"{' and '.join(sizes)} have different vocabularies: give both one vocab_size. {_REMEDY}")
    return pair


_REMEDY = f"A teacher with a vocabulary of its own needs {ACROSS}, which compares texts instead of tokens"


def _tokens(student: Student) -> tuple[Any, ...]:
    """All that decides how texts become ids."""
    vocabulary = student.vocabulary
    return vocabulary.bytes, vocabulary.controls, [tuple(pair) for pair in vocabulary.json["model"]["merges"]]


@torch.no_grad()
def measure(
    task: Task,
    assistant: Student,
    student: Student,
    groups: Sequence[Sequence[Example]],
    params: Training,
) -> float:
    """KL(assistant || student) in nats, the mean over the tokens of the accepted answers, over all of the vocabulary.

    Of ``params``: how rows are made and computed. No number without examples.
    """
    if not any(groups):
        return math.nan
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = [s.model.eval().to(device) for s in (assistant, student)]
    packer = Packer(Codec(task, student.vocabulary), groups, params.row_tokens)
    total, tokens = 0.0, 0
    for first in tqdm(range(0, packer.rows_until(1), params.rows_at_once), desc="divergence", disable=None):
        rows = [packer.row(i) for i in range(first, min(first + params.rows_at_once, packer.rows_until(1)))]
        batch = {name: value.to(device) for name, value in collate(rows, student.vocabulary.end).items()}
        known, learnt = (answer_logits(model, batch, params.bf16)[0].log_softmax(-1) for model in models)
        total += float(losses.forward(known, learnt).sum())
        tokens += len(known)
    return total / tokens


def _trainer(
    params: DistillParams,
    task: Task,
    assistant: Student,
    student: Student,
    groups: Sequence[Sequence[Example]],
    work: Path,
) -> DistillTrainer:
    """Rows stay rows until the student has answered some of their requests, which only the training process can."""
    collator = (lambda rows: {"rows": rows}) if params.on_policy else None
    more = {"assistant": assistant.model, "settings": params, "end": student.vocabulary.end}
    return finetune.make_trainer(DistillTrainer, params, task, student, groups, work, collator, **more)
