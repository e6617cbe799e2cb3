"""The parameters of a training: one mapping in a notebook or YAML file, checked by the class that its training names.

>>> Finetuning.read({"max_steps": 100, "learning_rate": 5.0e-4}, "training").method
'full'
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lib.core.params import Settings
from lib.model.base import WHEEL
from lib.model.torch_student import bf16_hardware

BACKWARD = "adam"  # the update that takes gradients by back-propagation


class TrainingError(ValueError):
    """A training that cannot start or go on; the message names the parameter or file and the remedy."""


def _since(default: Any, **limits: Any) -> Any:
    """A field that records of trainings have where it differs from its default: earlier ones stay what they were."""
    return Field(default, exclude_if=lambda value: value == default, **limits)


class Computing(Settings):
    """How a model is run."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"  # "auto": bf16 where the hardware computes it
    seed: int = 0

    @property
    def bf16(self) -> bool:
        """Whether the forward pass runs in bf16."""
        return bf16_hardware() if self.precision == "auto" else self.precision == "bf16"


class Training(Computing):
    """What all trainings have in common."""

    method: Literal["full", "lora"] = "full"  # all weights; or low-rank adapters, norms and the embedding
    lora_rank: int = Field(16, ge=1)
    learning_rate: float = Field(5.0e-4, gt=0, lt=1)
    warmup: float = Field(0.03, ge=0, lt=1)  # share of the steps in which the learning rate rises
    row_tokens: int = Field(1024, ge=16)
    max_steps: int = Field(ge=1)  # the learning rate's schedule is over these
    # adam, or without back-propagation: lib/training/zeroth_order.py
    update: Literal["adam", "zo-sgd", "zo-sign", "zo-adam", "forward"] = _since(BACKWARD)
    perturbation: float = _since(1.0e-3, gt=0)  # step at which zo-* look to both sides; of the weights, fp32
    max_minutes: float = Field(0.0, ge=0)  # a cap that stops a training early on a slow machine; 0: never
    checkpoint_minutes: float = Field(10.0, ge=0)
    processes: int = Field(1, ge=1, exclude=True)  # that share a step's rows (lib/training/launch.py), one on each GPU


class RowTraining(Training):
    """A training on rows of accepted answers (lib/training/packing.py)."""

    rows_per_step: int = Field(1, ge=1)
    rows_at_once: int = Field(1, ge=1)  # rows in one forward pass; divides rows_per_step
    distributed_type: Literal["MULTI_GPU", "FSDP"] = Field(
        "MULTI_GPU", exclude=True
    )  # of processes (params/accelerate)
    compile: Literal["", "layers", "flex"] = ""  # by torch.compile: the layers; "flex": their attention, too, on a GPU
    qat: Literal["", "q4_0", "q4_0 with embedding"] = ""  # quantisation-aware training (lib/training/layers.py)
    workers: int = Field(0, ge=0)  # processes that encode rows; a few keep a GPU busy

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rows_per_step % self.rows_at_once:
            raise ValueError(f"rows_at_once: {self.rows_at_once} does not divide rows_per_step")
        if self.qat and self.method != "full":
            raise ValueError("qat: needs method: full, since adapters are merged after the training")
        if self.distributed_type == "FSDP" and (self.qat or self.method != "full" or self.processes == 1):
            raise ValueError("distributed_type: FSDP: set processes to 2 or more, method: full, qat: ''")
        if self.update != BACKWARD and self.distributed_type == "FSDP":
            raise ValueError(f"update: {self.update}: needs distributed_type: MULTI_GPU")
        if self.update != BACKWARD and (self.qat or (self.update == "forward" and self.compile)):
            raise ValueError(f"update: {self.update}: needs qat: '', and forward compile: ''")
        return self


class Finetuning(RowTraining):
    """A fine-tuning of a student that is built from a base model, or goes on from where it was."""

    base: str = WHEEL  # a base model (lib/model/base.py), or a student's folder or GGUF
    vocab_size: int = Field(4096, ge=1)
    layers: int | list[int] = 30  # how many of the base's layers to keep, or which
    random_start: bool = _since(False)  # the base's shape with random weights
    language_loss: float = _since(0.0, ge=0, le=1)  # weight of a request's own tokens; an answer's have 1


class Distillation(RowTraining):
    """A training with an assistant."""

    divergence: Literal["forward", "reverse"] = "forward"  # lib/training/distill.py
    top_k: int = Field(100, ge=0)  # the assistant's likeliest tokens; all others are one class; 0: the vocabulary
    ce_weight: float = Field(0.5, ge=0, le=1)  # share of cross-entropy in the loss
    align: Literal["tokens", "text"] = "tokens"  # "text": for another vocabulary; ignores top_k unless both are equal

    @model_validator(mode="after")
    def _aligns(self) -> Self:
        if self.align == "text" and self.divergence == "reverse":
            raise ValueError("align: text has no reverse divergence: set divergence: forward")
        return self


class Sampling(Computing):
    """Sampled answers (lib/training/sampling.py)."""

    samples: int = Field(8, ge=2)  # answers to a request: its group
    sequences_at_once: int = Field(512, ge=2)  # answers that are sampled at a time
    temperature: float = Field(1.0, gt=0, le=5)
    max_new: int = Field(64, ge=1)  # tokens of an answer; a longer one is cut off and invalid
    graded: bool = True  # the scorer's graded reward; or 1 for exactly right and 0 otherwise


class SelfTraining(Sampling):
    """What a model's own agreement labels (lib/training/self_training.py)."""

    utterances: int = Field(0, ge=0)  # unlabelled requests to answer, evenly spaced; 0: none
    agree: int = Field(7, ge=1)  # so many of an utterance's samples must have one effect

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.agree > self.samples or 2 * self.agree <= self.samples:
            raise ValueError(f"agree: {self.agree} is no majority of {self.samples} samples: use more than half")
        return self


class Reinforcement(Training, Sampling):
    """A training on sampled answers (lib/training/reinforce.py)."""

    learning_rate: float = Field(2.0e-5, gt=0, lt=1)
    warmup: float = Field(0.05, ge=0, lt=1)
    pool: int = Field(0, ge=0)  # requests to try before training; 0: all
    pool_shares: dict[str, float] = {}  # of the pool, by source, level or the task's trait; all others share the rest
    pool_samples: int = Field(4, ge=2)  # answers to each; a request whose answers get equal rewards is left out
    anchors: float = Field(
        0.0, ge=0
    )  # requests that it gets right every time, to one that it does not: what is not lost
    together: int = Field(1, ge=1)  # requests of one context in a row; above 1 the pool is drawn by contexts
    groups_per_step: int = Field(8, ge=1)
    groups_at_once: int = Field(8, ge=1)  # groups in one forward pass; divides groups_per_step
    kl: float = Field(1.0e-3, ge=0)  # weight of the KL divergence from the start
    guard_every: int = Field(10, ge=1)  # steps between two examinations on the development set

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.groups_per_step % self.groups_at_once:
            raise ValueError(f"groups_at_once: {self.groups_at_once} does not divide groups_per_step")
        shares = self.pool_shares.values()
        if shares and (min(shares) < 0 or sum(shares) > 1 + 1e-9):
            raise ValueError(f"pool_shares: {self.pool_shares}: shares of at least 0, and of at most 1 together")
        if shares and (not self.pool or self.together > 1):
            raise ValueError("pool_shares: needs a pool above 0 and together: 1")
        if self.update == "forward":
            raise ValueError("update: forward: a reward has no slope of its own: use zo-sgd, zo-sign or zo-adam")
        return self
