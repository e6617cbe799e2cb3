"""What one client does in a round, by the study's own trainer, and what a server makes of all clients' replies.

Federated averaging (McMahan et al., arXiv 1602.05629), of all weights or of adapters as in FederatedScope-LLM (arXiv
2309.00363); blocks in turn (FedCyBGD, arXiv 2406.11187; here all clients of a round train its block, and the download
is whole); prompt tokens with control variates (SCAFFOLD, arXiv 1910.06378) and the server's momentum (FedPepTAO, arXiv
2310.15080, without its choice of layers); or steps along random directions, of which seeds and sizes are sent and no
weights (FedKSeed, arXiv 2312.06353, without its pool of seeds; GPUs and processors draw other directions of a seed).

Speech stays where it is. That is no privacy: weights and slopes can tell of what they were trained on.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.core.examples import by_context
from lib.core.task import Example, StudyTask
from lib.federated.settings import PROMPT, SEEDS, Job, Prompted, trained
from lib.model import student as students
from lib.model.student import Student
from lib.training.layers import Prepared
from lib.training.params import TrainingError
from lib.training.trainer import PackedTrainer, RowBatches
from lib.training.zeroth_order import shift

Arrays = dict[str, NDArray[Any]]
PROMPTS, VARIATE, OWN = "prompt", "variate", "own variate"
DIRECTIONS, MOVED = "directions", "moved"  # seeds, and by how much of each direction the weights moved


@dataclass
class Model:
    """The start of a job, with new prompt tokens where its strategy has any; equal on all machines."""

    job: Job
    task: StudyTask
    student: Student

    @classmethod
    def of(cls, job: Job) -> Model:
        task = job.data.task
        if job.strategy == PROMPT:
            task = cast(StudyTask, Prompted(task, job.settings.prompt_tokens))
        student = students.updated(students.load(job.start), task)
        network: Any = student.model
        network.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(job, task, student)

    def prepared(self) -> Prepared:
        """With adapters where its strategy has any."""
        torch.manual_seed(self.job.seed)
        return Prepared(self.student.model, self.job.settings.of(self.job.strategy, self.job.seed))

    def names(self, number: int) -> list[str]:
        """The weights that round ``number`` trains."""
        chosen = trained(self.job.strategy, len(self.student.model.model.layers), self.job.settings.blocks, number)
        return [name for name, _ in self.student.model.named_parameters() if chosen(name)]

    @property
    def rows(self) -> list[int]:
        """Of the embedding, those of prompt tokens."""
        known = self.student.vocabulary.controls
        return [known[f"<prompt {i}>"] for i in range(self.job.settings.prompt_tokens)]

    @torch.no_grad()
    def put(self, arrays: Arrays) -> None:
        """Takes over what was sent."""
        weights = dict(self.student.model.named_parameters())
        for name, array in arrays.items():
            if name in weights:
                weights[name].copy_(torch.from_numpy(array))
        if PROMPTS in arrays:
            self.student.model.model.embed_tokens.weight[self.rows] = torch.from_numpy(arrays[PROMPTS])
        for seed, size in zip(arrays.get(DIRECTIONS, ()), arrays.get(MOVED, ()), strict=True):
            shift([*weights.values()], int(seed), float(size))

    def arrays(self, number: int | None = None) -> Arrays:
        """What its strategy sends: of round ``number``, or with None all that is ever trained."""
        if self.job.strategy == SEEDS:
            return {DIRECTIONS: np.zeros(0, np.int64), MOVED: np.zeros(0)}
        if self.job.strategy == PROMPT:
            found = self.student.model.model.embed_tokens.weight[self.rows].detach().cpu().numpy().copy()
            return {PROMPTS: found, VARIATE: np.zeros_like(found)}
        weights, blocks = dict(self.student.model.named_parameters()), range(1, self.job.settings.blocks + 1)
        names = {name: None for i in ([number] if number else blocks) for name in self.names(i)}
        return {name: weights[name].detach().cpu().numpy().copy() for name in names}


def fit(
    job: Job, examples: Sequence[Example], arrays: Arrays, number: int, client: int, own: Tensor | None = None
) -> Arrays:
    """What a client sends after its training in round ``number``, from 1, with its control variate ``own``."""
    params = job.settings.of(job.strategy, job.seed + 100 * number + 10_000 * client)
    model = Model.of(job)
    with tempfile.TemporaryDirectory() as work:
        groups = by_context(examples, job.settings.key)
        rows, size = RowBatches(params, model.task, model.student, groups), (params.rows_per_step, params.rows_at_once)
        trainer = PackedTrainer(params, model.student, rows, Path(work), size)
        model.put(arrays)
        chosen, variates = {*model.names(number)}, _Variates(model, arrays, own)
        for name, weight in model.student.model.named_parameters():
            weight.requires_grad_(name in chosen)
        variates.hook()
        trainer.train()
    if trainer.zeroth_order:
        seeds, moved = zip(*trainer.zeroth_order.taken, strict=True)
        return {DIRECTIONS: np.array(seeds, np.int64), MOVED: np.array(moved)}
    return {**model.arrays(number), **variates.arrays()}


class _Variates:
    """Gradients of prompt tokens alone, corrected by the difference of the server's variate and the client's own.

    A client's new variate is the mean of its gradients in the round (SCAFFOLD's first option, over all its steps).
    """

    def __init__(self, model: Model, arrays: Arrays, own: Tensor | None) -> None:
        self.model, self.sum, self.count = model, torch.zeros(0), 0
        if PROMPTS in arrays:
            variate = torch.from_numpy(arrays[VARIATE])
            self.correction, self.sum = variate - (torch.zeros_like(variate) if own is None else own), variate * 0

    def hook(self) -> None:
        if len(self.sum):
            self.model.student.model.model.embed_tokens.weight.register_hook(self._correct)

    def _correct(self, gradient: Tensor) -> Tensor:
        rows = gradient[self.model.rows]
        self.sum, self.count = self.sum + rows.cpu(), self.count + 1
        found = torch.zeros_like(gradient)
        found[self.model.rows] = rows + self.correction.to(rows.device)
        return found

    def arrays(self) -> Arrays:
        return {VARIATE: (self.sum / max(self.count, 1)).numpy()} if len(self.sum) else {}


def initial(job: Job) -> Arrays:
    """What a server sends in its first round."""
    model = Model.of(job)
    model.prepared()
    return model.arrays()


def learnt(job: Job, arrays: Arrays) -> tuple[StudyTask, Student]:
    """The student with what was learnt, adapters merged, and the task that it is to be asked by."""
    model = Model.of(job)
    prepared = model.prepared()
    model.put(arrays)
    prepared.restore()
    return model.task, model.student


def fault(reply: Mapping[str, NDArray[Any]], before: Arrays) -> str:
    """Why a client's reply cannot be used, or an empty string."""
    for name, array in reply.items():
        if name not in before:
            return f"sent '{name}', which was not asked for"
        if name not in (DIRECTIONS, MOVED) and array.shape != before[name].shape:
            return f"sent '{name}' of shape {array.shape}, not {before[name].shape}"
        if not np.isfinite(array).all():
            return f"sent '{name}' with values that are no numbers"
    pair = [len(reply[name]) for name in (DIRECTIONS, MOVED) if name in reply]
    return "" if reply and len({*pair}) < 2 else "sent nothing that can be used"


def merged(before: Arrays, replies: Sequence[Arrays], counts: Sequence[int], momentum: float, state: Arrays) -> Arrays:
    """The server's arrays after a round: means by ``counts`` of examples; those that nobody sent stay.

    Prompt tokens move by their mean's change with ``momentum``, kept in ``state``; seeds of all are put together.
    """
    shares = np.array(counts, float) / sum(counts)
    if DIRECTIONS in before:
        seeds = np.concatenate([before[DIRECTIONS], *(reply[DIRECTIONS] for reply in replies)])
        moved = [reply[MOVED] * share for reply, share in zip(replies, shares, strict=True)]
        return {DIRECTIONS: seeds, MOVED: np.concatenate([before[MOVED], *moved])}
    found = dict(before)
    for name in replies[0]:
        mean = sum(share * reply[name].astype(np.float64) for reply, share in zip(replies, shares, strict=True))
        found[name] = np.asarray(mean, before[name].dtype)
    if PROMPTS in before:
        state[PROMPTS] = momentum * state.get(PROMPTS, np.float32(0)) + (found[PROMPTS] - before[PROMPTS])
        found[PROMPTS] = before[PROMPTS] + state[PROMPTS]
    return found


def checked(replies: Mapping[int, Arrays], before: Arrays, number: int) -> tuple[dict[int, Arrays], dict[int, str]]:
    """Those of a round's replies, by client, that can be used, and why others cannot. Raises TrainingError for none."""
    faults = {client: said for client, reply in replies.items() if (said := fault(reply, before))}
    names = Counter(frozenset(reply) for client, reply in replies.items() if client not in faults).most_common(1)
    faults |= {c: "sent other arrays than most" for c, r in replies.items() if c not in faults and {*r} != names[0][0]}
    good = {client: reply for client, reply in replies.items() if client not in faults}
    if not good:
        said = "; ".join(f"client {client} {text}" for client, text in faults.items()) or "no client answered"
        raise TrainingError(f"round {number}: {said}: at least one client must train; lower learning_rate or wait")
    return good, faults
