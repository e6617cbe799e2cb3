"""White-box distillation: a student learns the assistant's probabilities of every token of an answer.

The knowledge transfer of *From Large to Super-Tiny* (arXiv 2504.13471), by a teacher's assistant (Mirzadeh et al.,
arXiv 1902.03393). The loss is ``ce_weight`` times the cross-entropy of the accepted answers plus the
rest of 1 times the divergence (Hinton, Vinyals & Dean, arXiv 1503.02531, section 2).

The divergence is over the assistant's ``top_k`` likeliest tokens and one more class, which holds both sides' mass
outside of them:

- forward, KL(assistant || student): the student has to cover all that the assistant finds likely. With top-k it is the
  first term of STAR's constrained distillation (arXiv 2602.03022), which has no class of others;
- reverse, KL(student || assistant): the student has to avoid what the assistant finds unlikely (Gu et al., *MiniLLM*,
  arXiv 2306.08543, section 2.1).

With ``align: text`` the assistant may have another vocabulary. Both read the same requests, each by its own, and their
answers are aligned by text (``ByText``): TRL's loss for GOLD (Patino et al., *Unlocking On-Policy Distillation for Any
Model Family*, 2025, its alignment of sequences and of vocabularies), here on accepted answers instead of sampled ones.
Models of one vocabulary are compared by tokens all the same.

TRL's DistillationTrainer is not used: its rows share no prefixes, its answers are all sampled, and it makes ids of
text, in which a control token cannot be told from a person's words.

    params = {"max_steps": 400, "divergence": "forward", "top_k": 100, "ce_weight": 0.3}
    result = distill.train(params, task, assistant, student, by_context, Path("runs/gpu/04_student"), held_out)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils import send_to_device
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.task import Task
from lib.model import student as students
from lib.model.student import Student
from lib.model.vocabulary import Vocabulary
from lib.training import layers
from lib.training.cost import check_memory
from lib.training.launch import across
from lib.training.packing import IGNORED, ByContext
from lib.training.params import Distillation, RowTraining, TrainingError
from lib.training.trainer import Batch, PackedTrainer, RowBatches
from lib.training.work import Result, claim, finished

FAR = 1 << 20  # bytes, more than an answer has


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
        self.by_text = _by_text(_other(assistant, arguments[0]), arguments[0], self.args.device)
        self.assistant: Any = assistant.model.eval().requires_grad_(False).to(self.args.device)
        layers.accelerate_layers(self.assistant, params.compile)

    def token_losses(self, logits: Tensor, answers: Tensor, inputs: Batch) -> dict[str, Tensor]:
        p = self.distillation
        with torch.no_grad():
            known = layers.answer_logits(self.assistant, inputs.get("assistant", inputs), self.args.bf16)
        ce = F.cross_entropy(logits, answers, reduction="none")
        if self.by_text:
            divergence = self.by_text(known, (logits, answers))
        else:
            divergence = divergences(known[0], logits, p.divergence, p.top_k)
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
    """Distils ``assistant`` into ``student``, folders or GGUF files, and writes ``out_dir``.

    Resumes as a fine-tuning does. Raises ParamsError, StudentError, or TrainingError.
    """
    params = Distillation.read(params, "training")
    if not any(by_context):
        raise TrainingError("no examples to distil on: check the stage that accepts them")
    teacher, learner = load_pair(task, assistant, student, params.align)
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
        rows = RowBatches(params, task, learner, by_context, _other(teacher, learner))
        size = params.rows_per_step, params.rows_at_once
        trainer = DistillTrainer(teacher, params, learner, rows, work, size)
        result = trainer.fit(learner, {**facts, **rows.facts}, out_dir)
        layers.accelerate_layers(teacher.model, "")
    else:
        learner = students.load(out_dir)
    after = measure(task, teacher, learner, held_out, params)
    return Distilled(**vars(result), kl_before=before, kl_after=after)


def load_pair(task: Task, assistant: Path, student: Path, align: str = "tokens") -> tuple[Student, Student]:
    """Assistant and student. Raises StudentError, or TrainingError for different vocabularies that nothing aligns."""
    if not students.is_student(str(assistant)):
        remedy = "run the notebook that writes it (a model of the hub becomes one by a fine-tuning)"
        raise TrainingError(f"{assistant}: no student is there: {remedy}")
    pair = students.load(assistant), students.load(student)
    for path, found in zip((assistant, student), pair, strict=True):
        students.check_task(found.info, task, str(path))
    if align == "tokens" and _other(*pair):
        remedy = "give both one vocab_size, or set align: text, which compares texts instead of tokens"
        sizes = [f"{path} ({len(s.vocabulary):,} tokens)" for path, s in zip((assistant, student), pair, strict=True)]
        raise TrainingError(f"{' and '.join(sizes)} have different vocabularies: {remedy}")
    return pair


def _other(assistant: Student, student: Student) -> Vocabulary | None:
    """The assistant's vocabulary if it is not the student's."""
    first, second = (
        (v.bytes, v.controls, v.json["model"]["merges"]) for v in (assistant.vocabulary, student.vocabulary)
    )
    return assistant.vocabulary if first != second else None


class ByText:
    """The divergence of answers in different vocabularies: TRL's hybrid ULDLoss over the pieces where both end a token.

    Of a piece of several tokens the distribution is that of the last, times the probabilities of those before it (TRL's
    "bayesian" merge). Tokens that both vocabularies have, by their bytes, are compared by KL(assistant || student), all
    others by the difference of the sorted probabilities (Boizard et al., arXiv 2402.12030, its closed form). Both count
    fully; TRL's own weights, by the share of common tokens, would leave little of the first where one is much larger.
    """

    def __init__(self, assistant: Vocabulary, student: Vocabulary, device: Any) -> None:
        from trl.experimental.gold.gold_trainer import ULDLoss  # slow to import, and experimental

        plain = {"crossentropy_weight": 0.0, "distillation_weight": 1.0, "token_merge_strategy": "bayesian"}
        plain |= {"student_temperature": 1.0, "teacher_temperature": 1.0}
        plain |= {"skip_student_eos": False, "skip_teacher_eos": False}
        hybrid = {"use_hybrid_loss": True, "hybrid_matched_weight": 1.0, "hybrid_unmatched_weight": 1.0}
        given: Any = {f"uld_{name}": value for name, value in {**plain, **hybrid}.items()}
        self.vocabularies = assistant, student
        own, other = ({text: i for i, text in enumerate(v.bytes) if text} for v in (student, assistant))
        names: list[Any] = [SimpleNamespace(get_vocab=lambda found=found: found) for found in (own, other)]
        config: Any = SimpleNamespace(**given, use_extended_uld=True, beta=0.0)
        loss: Any = ULDLoss(config, names[0], names[1], device=device)
        loss._merge_probabilities_with_alignment_groups = self._merged  # TRL's own goes through them one by one
        self.loss, self.groups = loss, 0

    def __call__(self, assistant: tuple[Tensor, Tensor], student: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of each of the student's answer tokens, (tokens,): their mean; the sum is that of all pieces.

        Each argument: logits (tokens, vocabulary) and ids (tokens,).
        """
        (known, said), (logits, answers) = assistant, student
        starts = [F.pad(ids, (1, 0), value=0)[None] for ids in (answers, said)]  # a token before the first answer
        labels = [F.pad(ids, (1, 0), value=IGNORED)[None] for ids in (answers, said)]
        ends = [_ends(ids, v) for ids, v in zip((answers, said), self.vocabularies[::-1], strict=True)]
        offsets = [F.pad(torch.stack([found, found], -1), (0, 0, 1, 0))[None] for found in ends]
        mean = self.loss(logits[None], known[None], *labels, *starts, *offsets)
        return (mean * self.groups / len(answers)).expand(len(answers))

    def _merged(self, probs: Tensor, groups: Sequence[Sequence[int]], ids: Sequence[int]) -> Tensor:
        """The distribution of each group, (groups, vocabulary), for ``probs`` of (tokens, vocabulary)."""
        self.groups, device = len(groups), probs.device
        last = torch.tensor([group[-1] for group in groups], device=device)
        before = [(i, g) for g, group in enumerate(groups) for i in group[:-1]]
        at, group = torch.tensor(before, dtype=torch.long, device=device).view(-1, 2).T
        said = probs[at, torch.tensor(ids, device=device)[at]].clamp_min(1e-8).log()
        return probs[last] * torch.zeros(len(groups), device=device).index_add(0, group, said).exp()[:, None]


def _by_text(other: Vocabulary | None, student: Student, device: Any) -> ByText | None:
    return ByText(other, student.vocabulary, device) if other else None


def _ends(ids: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Where in the text each token of answers in a row ends, in bytes; that of answer n begins at n * FAR."""
    sizes, last = torch.tensor([len(text) for text in vocabulary.bytes], device=ids.device), ids == vocabulary.end
    total, number = sizes[ids].cumsum(0), last.cumsum(0) - last.long()
    begins = F.pad(total[last], (1, 0))[number]
    return torch.where(last, (number + 1) * FAR, number * FAR + total - begins)


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
    """KL(assistant || student) over the whole vocabulary, the mean in nats of the answers' tokens; NaN without any.

    For different vocabularies it is the loss of ``ByText``.
    """
    if not any(by_context):
        return math.nan
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models: list[Any] = [s.model.eval().to(device) for s in (assistant, student)]
    other = _other(assistant, student)
    by_text = _by_text(other, student, device)
    plain = params.model_copy(update={"seed": 0, "workers": 0, "compile": ""})
    rows, found = RowBatches(plain, task, student, by_context, other), []
    for first in tqdm(range(0, rows.packer.epoch_rows, params.rows_at_once), desc="divergence", disable=None):
        inputs = send_to_device(rows(range(first, min(first + params.rows_at_once, rows.packer.epoch_rows))), device)
        both = zip(models, (inputs.get("assistant", inputs), inputs), strict=True)
        known, own = [layers.answer_logits(model, batch, params.bf16) for model, batch in both]
        found.append((by_text(known, own) if by_text else divergences(known[0], own[0])).cpu())
    return float(torch.cat(found).double().mean())
