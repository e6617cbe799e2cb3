"""White-box distillation: a student learns the assistant's probabilities of every token of an answer.

The knowledge transfer of *From Large to Super-Tiny* (arXiv 2504.13471); the assistant has the student's vocabulary
(Mirzadeh et al., arXiv 1902.03393). The loss is ``ce_weight`` times the cross-entropy of the accepted answers plus the
rest of 1 times the divergence (Hinton, Vinyals & Dean, arXiv 1503.02531, section 2).

The divergence is over the assistant's ``top_k`` likeliest tokens and one more class, which holds both sides' mass
outside of them:

- forward, KL(assistant || student): the student has to cover all that the assistant finds likely. With top-k it is the
  first term of STAR's constrained distillation (arXiv 2602.03022), which has no class of others;
- reverse, KL(student || assistant): the student has to avoid what the assistant finds unlikely (Gu et al., *MiniLLM*,
  arXiv 2306.08543, section 2.1).

TRL's DistillationTrainer is not used: its rows share no prefixes, its answers are all sampled, and it makes ids of
text, in which a control token cannot be told from a person's words.

    params = {"max_steps": 400, "divergence": "forward", "top_k": 100, "ce_weight": 0.3}
    result = distill.train(params, task, assistant, student, by_context, Path("runs/gpu/04_student"), held_out)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.task import Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.training import layers
from lib.training.cost import check_memory
from lib.training.launch import across
from lib.training.packing import ByContext, Packer, collate
from lib.training.params import Distillation, RowTraining, TrainingError
from lib.training.trainer import Batch, PackedTrainer, RowBatches
from lib.training.work import Result, claim, finished

ACROSS = "trl.experimental.gold.GOLDTrainer"  # TRL's trainer for a teacher and a student of different vocabularies


@dataclass(frozen=True)
class Distilled(Result):
    """``kl_before`` and ``kl_after``: ``measure`` on the held-out examples; NaN if there were none."""

    kl_before: float
    kl_after: float


class DistillTrainer(PackedTrainer):
    """PackedTrainer with an assistant that stays as it is; ``ce`` is the cross-entropy."""

    columns = ("ce", "divergence")

    def __init__(self, assistant: Student, params: Distillation, *arguments: Any) -> None:
        super().__init__(params, *arguments)
        self.distillation = params
        self.assistant: Any = assistant.model.eval().requires_grad_(False).to(self.args.device)
        layers.accelerate_layers(self.assistant, params.compile)

    def token_losses(self, logits: Tensor, answers: Tensor, inputs: Batch) -> dict[str, Tensor]:
        p = self.distillation
        with torch.no_grad():
            assistant_logits, _ = layers.answer_logits(self.assistant, inputs, self.args.bf16)
        ce = F.cross_entropy(logits, answers, reduction="none")
        divergence = divergences(assistant_logits, logits, p.divergence, p.top_k)
        return {"loss": p.ce_weight * ce + (1 - p.ce_weight) * divergence, "ce": ce, "divergence": divergence}


def train(
    params: Mapping[str, Any] | Distillation,
    task: Task,
    assistant: Path,
    student: Path,
    by_context: ByContext,
    out_dir: Path,
    held_out: ByContext = (),
) -> Distilled:
    """Distils ``assistant`` into ``student``, folders or GGUF files of one vocabulary, and writes ``out_dir``.

    Resumes as a fine-tuning does. Raises ParamsError, StudentError, or TrainingError.
    """
    params = Distillation.read(params, "training")
    if not any(by_context):
        raise TrainingError("no examples to distil on: check the stage that accepts them")
    teacher, learner = load_pair(task, assistant, student)
    facts = {**params.model_dump(), "assistant": students.digest(assistant), "student": students.digest(student)}
    if facts["assistant"] == facts["student"] and not params.qat:
        raise TrainingError(f"{assistant} and {student} are the same model: there is nothing to distil")
    result = finished(out_dir, facts, by_context)
    if not result:
        check_memory(params, learner, teacher)
    before = measure(task, teacher, learner, held_out, params)
    if not result and params.processes > 1:
        teacher.model.cpu(), learner.model.cpu()
        result = across(train, params, task, assistant, student, by_context, out_dir)
    work = None if result else claim(out_dir, facts, by_context)
    if work:
        rows, size = RowBatches(params, task, learner, by_context), (params.rows_per_step, params.rows_at_once)
        trainer = DistillTrainer(teacher, params, learner, rows, work, size)
        result = trainer.fit(learner, {**facts, **rows.facts}, out_dir)
        layers.accelerate_layers(teacher.model, "")
    else:
        learner = students.load(out_dir)
    after = measure(task, teacher, learner, held_out, params)
    return Distilled(**vars(result), kl_before=before, kl_after=after)


def load_pair(task: Task, assistant: Path, student: Path) -> tuple[Student, Student]:
    """Assistant and student. Raises TrainingError unless both are students with one vocabulary, and StudentError."""
    remedy = f"A teacher with a vocabulary of its own needs {ACROSS}, which compares texts instead of tokens"
    if not students.is_student(str(assistant)):
        raise TrainingError(f"{assistant}: no student is there: run the notebook that writes it. {remedy}")
    pair = students.load(assistant), students.load(student)
    for path, found in zip((assistant, student), pair, strict=True):
        students.check_task(found.info, task, str(path))
    first, second = ((v.bytes, v.controls, v.json["model"]["merges"]) for v in (pair[0].vocabulary, pair[1].vocabulary))
    if first != second:
        sizes = [f"{path} ({len(s.vocabulary):,} tokens)" for path, s in zip((assistant, student), pair, strict=True)]
        raise TrainingError(f"{' and '.join(sizes)} have different vocabularies: give both one vocab_size. {remedy}")
    return pair


def divergences(assistant: Tensor, student: Tensor, kind: str = "forward", top_k: int = 0) -> Tensor:
    """The divergence of each token, (tokens,) in nats, from logits (tokens, vocabulary) in fp32.

    ``top_k``: 0, or as many as the vocabulary has: all tokens, and no class of others.

    >>> assistant, student = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    >>> round(divergences(assistant, student).item(), 3), divergences(assistant, assistant, top_k=1).item()
    (0.658, 0.0)
    """
    both = [assistant.log_softmax(-1), student.log_softmax(-1)]
    if 0 < top_k < assistant.shape[-1]:
        top = both[0].topk(top_k, dim=-1).indices
        others = [logprobs.scatter(-1, top, float("-inf")).logsumexp(-1, keepdim=True) for logprobs in both]
        both = [torch.cat([logprobs.gather(-1, top), rest], -1) for logprobs, rest in zip(both, others, strict=True)]
    target, other = both if kind == "forward" else both[::-1]
    return (target.exp() * (target - other)).sum(-1)


@torch.no_grad()
def measure(task: Task, assistant: Student, student: Student, by_context: ByContext, params: RowTraining) -> float:
    """KL(assistant || student) over the whole vocabulary, the mean in nats of the answers' tokens; NaN without any."""
    if not any(by_context):
        return math.nan
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models: list[Any] = [s.model.eval().to(device) for s in (assistant, student)]
    rows = Packer(Codec(task, student.vocabulary), by_context, params.row_tokens).epoch()
    found = []
    for first in tqdm(range(0, len(rows), params.rows_at_once), desc="divergence", disable=None):
        inputs = collate(rows[first : first + params.rows_at_once], student.vocabulary.end)
        batch = {name: value.to(device) for name, value in inputs.items()}
        logits = [layers.answer_logits(model, batch, params.bf16)[0] for model in models]
        found.append(divergences(logits[0], logits[1]).cpu())
    return float(torch.cat(found).double().mean())
