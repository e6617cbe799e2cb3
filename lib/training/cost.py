"""FLOPs, traffic and peak memory of a training's step before it is run; lib/decision/training_cost.py compares them.

An analytic model in the manner of *Understanding the Performance and Estimating the Cost of LLM Fine-Tuning* (arXiv
2408.04693), whose models differ. For a step of n positions (tokens of its rows, with padding) in rows of w:

- forward(model) = n · (2·matrices + 4·L·h·s·seen) + 2·d·V·answers; logits are for answer tokens alone; seen = w, or
  w/2 with compile: flex, which leaves out what the mask hides
- FLOPs = 3 · forward(student), as a backward pass is two forward ones. Distillation adds forward(assistant);
  reinforcement adds forward(start) and, for the prompts, forward(student)
- bytes through memory, of a position in a layer: 184·d + 14·f in an uncompiled forward pass (each operation reads and
  writes its tensors: counted in transformers' Llama layer under autocast), twice as many in the backward pass;
  compiled: 5 times what is kept (below), or 2 times without a backward pass. AdamW: 36 of a weight
- peak memory = 18 bytes of a weight (fp32 weight, gradient, two moments, and a bf16 copy; 6 of an assistant's) + what
  is kept for the backward pass: L·(36·d + 8·f) bytes of a position, L·(16·d + 4·kv + 6·f) compiled + 16 of a logit
  (36 with an assistant). The bytes kept were counted with the three recorded peaks in view: no blind prediction
- while answers are sampled, in place of what is kept: 1.75 times the keys and values of all prompts and answers that
  are written together, as the answers left are copied once a quarter has finished

Not modelled: low-rank adapters, and trainings without back-propagation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lib.model.flops import Shape
from lib.model.student import Student
from lib.model.torch_student import LEAVE_SHARE
from lib.training.params import BACKWARD, Training, TrainingError

COPIED = 2 - LEAVE_SHARE  # times the keys and values, while those of unfinished answers are copied
ANSWERS = 0.3  # of the positions, those with logits: 0.31 of the tokens of packed rows of profile cpu


@dataclass(frozen=True)
class Step:
    """A step: ``positions`` in rows of ``width``, ``at_once`` of them in a pass (0: all).

    ``sampled``: tokens of answers that are written one after another before it, of all answers at a time.

    ``assistant``: a model with a forward pass alone: the assistant, or where reinforcement started.
    """

    student: Shape
    positions: float
    width: int
    compile: str = ""
    assistant: Shape | None = None
    at_once: float = 0.0
    sampled: int = 0
    shards: int = 1  # processes among which the student's weights are divided
    most: float = 0.0  # positions of the largest pass, where passes differ
    held: float = 0.0  # tokens whose keys and values are in memory while answers are sampled; NaN: not known

    def _forward(self, shape: Shape) -> float:
        seen = self.width / (2 if self.compile == "flex" else 1)
        return shape.forward(self.positions, self.positions * seen, self.positions * ANSWERS)

    def _moved(self, shape: Shape, backward: bool) -> float:
        if self.compile:
            return self.positions * self._kept(shape) * (5 if backward else 2)
        return self.positions * shape.layers * (184 * shape.hidden + 14 * shape.ffn_width) * (3 if backward else 1)

    def _kept(self, shape: Shape) -> float:
        d, f, kv = shape.hidden, shape.ffn_width, shape.kv_heads * shape.head_size
        return shape.layers * (16 * d + 4 * kv + 6 * f if self.compile else 36 * d + 8 * f)

    @property
    def _without_gradient(self) -> list[Shape]:
        return ([self.assistant] if self.assistant else []) + ([self.student] if self.sampled else [])

    @property
    def flops(self) -> float:
        return 3 * self._forward(self.student) + sum(map(self._forward, self._without_gradient))

    @property
    def moved_bytes(self) -> float:
        """Bytes read from and written to memory."""
        others = sum(self._moved(shape, backward=False) for shape in self._without_gradient)
        return self._moved(self.student, backward=True) + others + 36 * self.student.weights

    @property
    def layers_passed(self) -> float:
        """Layers that a pass goes through, of all passes; a backward pass is two."""
        layers = 3 * self.student.layers + sum(shape.layers for shape in self._without_gradient)
        return layers * (self.positions / self.at_once if self.at_once else 1)

    @property
    def peak_gb(self) -> float:
        """NaN where the positions or the tokens held are not known."""
        return self.peak_bytes / 1e9 if self.positions and not math.isnan(self.held) else math.nan

    @property
    def peak_bytes(self) -> float:
        positions = self.most or self.at_once or self.positions
        logits = positions * ANSWERS * self.student.vocabulary * (36 if self.assistant else 16)
        weights = 18 * self.student.weights / self.shards + 6 * (self.assistant.weights if self.assistant else 0)
        passes = positions * self._kept(self.student) + logits
        return weights + max(passes, COPIED * self.student.kv_bytes(self.held))


def check_memory(params: Training, student: Student, assistant: Student | None = None) -> None:
    """Raises TrainingError if a step needs more memory than this process's GPU has, before anything is on it.

    A reinforcement's answers are not known beforehand: its weights alone are counted.
    """
    if params.method == "lora" or params.update != BACKWARD or not torch.cuda.is_available():
        return
    other = Shape.of(assistant.model.config.to_dict()) if assistant else None
    width, rows = params.row_tokens, getattr(params, "rows_at_once", 0)
    shards = params.processes if getattr(params, "distributed_type", "") == "FSDP" else 1
    own, compiled = Shape.of(student.model.config.to_dict()), getattr(params, "compile", "")
    step = Step(own, rows * width, width, compiled, other, shards=shards)
    total = torch.cuda.mem_get_info()[1]
    if step.peak_bytes > total:
        said = f"a step needs about {step.peak_bytes / 1e9:,.1f} GB, and the GPU has {total / 1e9:,.1f} GB"
        remedy = "lower rows_at_once or row_tokens, use method: lora or distributed_type: FSDP, or a larger GPU"
        raise TrainingError(f"GPU memory: {said}: {remedy}")
