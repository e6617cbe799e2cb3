"""The parameters of a fine-tuning, checked, and the schedule that follows from them.

The learning rate warms up and decays along a cosine (Loshchilov & Hutter, arXiv 1608.03983) over what ends the training
first: its steps or its minutes. Progress is therefore measured in time too, and is kept over an interruption.

>>> SftParams.read({"max_steps": 100, "learning_rate": 5.0e-4}).method
'full'
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch

from lib.model.base import WHEEL
from lib.training import compiled_layers, qat

Layers = int | list[int]


class TrainingError(ValueError):
    """A training that cannot start or go on; the message names the parameter or file and the remedy."""


@dataclass(frozen=True)
class Training:
    """One training. 0 stands for "no limit" in ``epochs``, ``max_steps`` and ``max_minutes``; one must be given."""

    method: str = "full"
    """"full": all weights above ``freeze_below``; "lora": low-rank adapters, norms and the embedding."""
    lora_rank: int = 16
    lora_alpha: float = 32.0
    freeze_below: int = 0
    """Layers under this one stay as they are and cost only their forward pass."""
    learning_rate: float = 5.0e-4
    warmup: float = 0.03
    """Share of the training in which the learning rate rises."""
    weight_decay: float = 0.0
    clip: float = 1.0
    row_tokens: int = 1024
    rows_per_step: int = 1
    rows_at_once: int = 1
    """Rows in one forward pass; divides ``rows_per_step``."""
    epochs: int = 0
    max_steps: int = 0
    max_minutes: float = 0.0
    checkpoint_minutes: float = 10.0
    precision: str = "auto"
    """"fp32", "bf16" (autocast) or "auto": bf16 where the hardware computes it."""
    compile: str = ""
    """What torch.compile makes faster: "" nothing; "layers"; "flex": layers and their attention, on a GPU alone."""
    rounded: str = ""
    """The weights are trained as a file of this kind will hold them: one of lib.training.qat.KINDS."""
    workers: int = 0
    """Processes that encode rows; on a GPU a few keep it fed."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, wrong in self.problems().items():
            if wrong:
                values = ", ".join(f"{n}={getattr(self, n)!r}" for n in name.split(", "))
                raise TrainingError(f"training parameters: {values} is not allowed; see {_where(type(self))}")

    def problems(self) -> dict[str, bool]:
        """What is wrong, by the names of the parameters."""
        return {
            "method": self.method not in ("full", "lora"),
            "precision": self.precision not in ("auto", "fp32", "bf16"),
            "compile, freeze_below": self.compile not in compiled_layers.KINDS
            or bool(self.compile and self.freeze_below),
            "rounded, method": self.rounded not in qat.KINDS or bool(self.rounded and self.method != "full"),
            "rows_at_once": self.rows_at_once < 1 or self.rows_per_step % self.rows_at_once != 0,
            "epochs, max_steps, max_minutes": not (self.epochs or self.max_steps or self.max_minutes),
            "learning_rate": isinstance(self.learning_rate, str) or not 0 < self.learning_rate < 1,
            "row_tokens": self.row_tokens < 16,
        }

    @classmethod
    def read(cls, params: Mapping[str, Any] | Self) -> Self:
        """From a mapping. Raises TrainingError for an unknown key or a value that is not allowed."""
        if isinstance(params, cls):
            return params
        if not isinstance(params, Mapping):
            raise TrainingError(f"training parameters: expected {cls.__name__}, got {type(params).__name__}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(params) - known)
        if unknown:
            raise TrainingError(f"training parameters: unknown key '{unknown[0]}'; known: {', '.join(sorted(known))}")
        return cls(**params)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def steps(self, in_epochs: int, per_minute: int) -> int:
        """Steps until the first limit that is not the time; with a time limit alone, more than it can reach.

        ``in_epochs``: steps in all ``epochs``, which counts only if they are limited; ``per_minute``: at most.
        """
        steps = max(in_epochs, 1) if self.epochs else int(self.max_minutes * per_minute) + 1
        return min(steps, self.max_steps or steps) if self.epochs or self.max_minutes else self.max_steps

    @property
    def bf16(self) -> bool:
        """Whether the forward pass runs in bf16."""
        return bf16_hardware() if self.precision == "auto" else self.precision == "bf16"


@dataclass(frozen=True)
class SftParams(Training):
    """A fine-tuning: a training of a student that is built first, or goes on from where it was."""

    base: str = WHEEL
    """A base model (lib/model/base.py) or a student's folder or GGUF to go on from."""
    vocab_size: int = 4096
    layers: Layers = 30
    channels: int = 0
    """Feed-forward channels of the base to begin with, the most important on the examples; 0 = all."""


def _where(kind: type) -> str:
    return f"{kind.__name__} in {kind.__module__.replace('.', '/')}.py"


def bf16_hardware() -> bool:
    """Whether this machine computes bf16 itself: a GPU that does, or a CPU with AVX-512 BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


class Schedule:
    """Progress in [0, 1] and the learning rate's factor; the time spent is saved with the scheduler's state."""

    def __init__(self, steps: int, minutes: float, warmup: float) -> None:
        self.steps, self.minutes, self.warmup = steps, minutes, warmup
        self.spent = 0.0
        """Seconds of training so far, earlier runs included."""
        self.since: float | None = None

    def begin(self) -> None:
        """Starts the clock, also after a resume."""
        self.since = time.monotonic()

    def seconds(self) -> float:
        if self.since is not None:
            now = time.monotonic()
            self.spent, self.since = self.spent + now - self.since, now
        return self.spent

    def progress(self, step: int) -> float:
        in_time = self.seconds() / 60 / self.minutes if self.minutes else 0.0
        return min(max(step / self.steps, in_time), 1.0)

    def __call__(self, step: int) -> float:
        done = self.progress(step)
        if done < self.warmup:
            return max(done, 0.5 / self.steps) / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
