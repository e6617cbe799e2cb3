"""The loss of a distillation and the batches it is computed on: an SFTTrainer with an assistant (see lib/training/distill.py).

Answers are accepted ones, where the loss is ``ce_weight`` times the cross-entropy plus the rest of 1 times the
divergence (Hinton, Vinyals & Dean, arXiv 1503.02531, section 2), or sampled from the student (lib/training/on_policy.py), where
it is the divergence alone. GKD (Agarwal et al., arXiv 2306.13649, algorithm 1) draws once for a whole step which of the
two it is; here it is drawn for every request.

>>> DistillParams.read({"max_steps": 100, "on_policy": 0.25}).divergence
'forward'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.training import compiled_layers, losses, on_policy, qat
from lib.training.finetune import PackedTrainer, answer_logits
from lib.training.packing import ALIGN, IGNORED, Row, collate
from lib.training.params import Training


@dataclass(frozen=True)
class DistillParams(Training):
    """A training with an assistant."""

    divergence: str = "forward"
    """One of lib.training.losses.KINDS."""
    beta: float = 0.5
    """Of "jsd" alone: the assistant's share in the mixture."""
    top_k: int = 100
    """The assistant's likeliest tokens that are compared one by one; all others are one class. 0: the vocabulary."""
    temperature: float = 1.0
    ce_weight: float = 0.5
    """The share of cross-entropy in the loss of an accepted answer."""
    tail_weight: float = 0.0
    """Weight of the probability of what only the student finds likely; STAR uses 10."""
    on_policy: float = 0.0
    """Share of the requests whose answer is sampled from the student, anew at every step."""
    sample_temperature: float = 1.0

    def problems(self) -> dict[str, bool]:
        return super().problems() | {
            "divergence": self.divergence not in losses.KINDS,
            "beta": not 0 < self.beta < 1,
            "top_k": self.top_k < 0,
            "temperature": self.temperature <= 0,
            "ce_weight": not 0 <= self.ce_weight <= 1,
            "tail_weight": self.tail_weight < 0,
            "on_policy": not 0 <= self.on_policy <= 1,
            "sample_temperature": self.sample_temperature <= 0,
        }


class DistillTrainer(PackedTrainer):
    """PackedTrainer with an assistant that stays as it is."""

    columns = ("ce", "divergence", "sampled")

    def __init__(self, assistant: Any, settings: DistillParams, end: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.settings, self.end_token, self.accepted_tokens = settings, end, 1
        self.assistant = assistant.eval().requires_grad_(False).to(self.args.device)
        self.assistant.set_attn_implementation(arguments["model"].config._attn_implementation)
        compiled_layers.install(self.assistant, settings.compile)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[Any, Any]:
        """The batches of one step and its number of answer tokens, counted when the student has answered."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.settings.on_policy:
            batches = [self._answered(batch["rows"], i) for i, batch in enumerate(batches)]
            items = self._get_num_items_in_batch(batches, device)
        accepted = [(b["labels"][:, 1:] != IGNORED) & ~b["sampled"][:, 1:] for b in batches]
        self.accepted_tokens = max(sum(int(a.sum()) for a in accepted), 1)
        return batches, items

    def _answered(self, rows: list[Row], number: int) -> dict[str, Tensor]:
        """The batch in which the student has answered its share; a step after a resume is answered as it was."""
        p, seed = self.settings, f"{self.settings.seed}/{self.state.global_step}/{number}"
        with (
            qat.applied(self.model),
            torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16),
        ):
            rows = on_policy.answered(self.model, rows, {self.end_token}, p.on_policy, p.sample_temperature, seed)
        return collate(rows, self.end_token, compiled_layers.ALIKE if p.compile else ALIGN)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits, answers = answer_logits(self.model, inputs, self.args.bf16)
        with torch.no_grad():
            known, _ = answer_logits(self.assistant, inputs, self.args.bf16)
        accepted = ~inputs["sampled"][:, 1:][inputs["labels"][:, 1:] != IGNORED]
        crossed = F.cross_entropy(logits, answers, reduction="none") * accepted
        apart = self._divergence(known, logits)
        weight = self.settings.ce_weight
        items = len(answers) if num_items_in_batch is None else num_items_in_batch
        loss = (weight * crossed + (1 - weight * accepted) * apart).sum() / items
        means = crossed.sum() / self.accepted_tokens, apart.sum() / items, (~accepted).sum() / items
        more = dict(zip(self.columns, (float(m.detach()) for m in means), strict=True))
        self._log_loss(float(loss.detach()), int(inputs["tokens"].sum()), **more)
        return (loss, {}) if return_outputs else loss

    def _divergence(self, known: Tensor, logits: Tensor) -> Tensor:
        p = self.settings
        return losses.loss(known, logits, p.divergence, p.top_k, p.temperature, p.beta, p.tail_weight)
