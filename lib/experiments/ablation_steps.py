"""The steps of an ablation run: fine-tuning, then distillation and reinforcement in any order, shared by variants.

A step's student is kept under a name that says what it depends on, so variants that begin alike train that part once.

>>> steps = chain({"max_steps": 5}, [{"kd": {"top_k": 20}}, {"rl": {}}], {"kd": {"max_steps": 1}, "rl": {"max_steps": 1}}, 1)
>>> [kind for kind, _ in steps]
['sft', 'kd', 'rl']
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.compression import prune
from lib.core.examples import spread
from lib.core.files import Row, alone, digest, write_json
from lib.core.task import Example, Task
from lib.model import student as students
from lib.training import distill, finetune, reinforce
from lib.training.params import Distillation, Finetuning, Reinforcement, TrainingError

SFT, KD, RL = "sft", "kd", "rl"
KINDS: dict[str, Any] = {SFT: Finetuning, KD: Distillation, RL: Reinforcement}
"""The parameters of each kind of step."""
WIDTH = "ffn_width"
"""A fine-tuning's further parameter: the base is first cut to this width, by importance on some examples; 0: not."""
MEASURED = 256
"""Examples on which that importance is measured."""

Step = tuple[str, dict[str, Any]]
Changes = Sequence[Mapping[str, Mapping[str, Any] | None]]


def chain(
    training: Mapping[str, Any], steps: Changes, defaults: Mapping[str, Mapping[str, Any]], seed: int
) -> list[Step]:
    """All steps of a run with their parameters. Raises TrainingError for a step or parameters that there are not."""
    found: list[Step] = [(SFT, {**training, "seed": seed})]
    for step in steps:
        if len(step) != 1 or not set(step) <= {KD, RL}:
            raise TrainingError(f"steps: {dict(step)}: expected {KD}: {{...}} or {RL}: {{...}}, one a line")
        ((kind, changed),) = step.items()
        found.append((kind, {**defaults.get(kind, {}), **(changed or {}), "seed": seed}))
    for kind, settings in found:
        KINDS[kind].read({k: v for k, v in settings.items() if k != WIDTH}, f"steps: {kind}")
    return found


@dataclass(frozen=True)
class Kept:
    """Where students stay that several variants begin with: in ``folder``, for the examples of that ``digest``."""

    folder: Path
    digest: str

    def place(self, steps: Sequence[Step], assistant: Path | None) -> tuple[Path, Path]:
        """The student after these steps, and the lock of who trains it."""
        kind, settings = steps[-1]
        learnt_from = assistant if any(kind == KD for kind, _ in steps) else None
        key = digest([self.digest, str(learnt_from), list(steps)])[:8]
        return self.folder / f"{kind}-{settings['seed']}-{key}", self.folder / f".{key}"


def train(
    steps: Sequence[Step],
    task: Task,
    groups: Sequence[Sequence[Example]],
    dev: Sequence[Example],
    assistant: Path | None,
    kept: Kept,
    out: Path,
) -> list[Row]:
    """Trains the steps one after the other, the last one into ``out``; what is there already is not trained again.

    ``groups``: resolved examples that share a context; ``dev``: requests that guard reinforcement. Returns for each
    step its ``kind``, ``steps``, ``tokens``, ``seconds`` and ``loss``. Raises as the steps do.
    """
    made: list[Row] = []
    start: Path | None = None
    for i, (kind, settings) in enumerate(steps):
        folder, lock = kept.place(steps[: i + 1], assistant)
        last = i == len(steps) - 1
        if last and _done(folder) and not _done(out):
            shutil.copytree(folder, out, dirs_exist_ok=True)
            shutil.copy(_facts(folder), _facts(out))
        folder = out if last else folder
        with nullcontext() if last else alone(lock):
            if not _done(folder):
                row = _one(kind, settings, task, groups, dev, assistant, start, folder)
                write_json(_facts(folder), row)
        made.append(json.loads(_facts(folder).read_text(encoding="utf-8")))
        start = folder
    return made


def _done(folder: Path) -> bool:
    return folder.is_dir() and _facts(folder).exists()


def _facts(folder: Path) -> Path:
    return folder.with_name(folder.name + ".step.json")


def _one(
    kind: str,
    settings: dict[str, Any],
    task: Task,
    groups: Sequence[Sequence[Example]],
    dev: Sequence[Example],
    assistant: Path | None,
    start: Path | None,
    folder: Path,
) -> Row:
    if kind == SFT:
        result: Any = finetune.train(_begun(settings, task, groups, folder), task, groups, folder)
    elif start is None or (kind == KD and assistant is None):
        raise TrainingError(f"{kind}: nothing to start from, or no assistant: name one in params/ablation.yaml")
    elif kind == KD:
        assert assistant is not None
        result = distill.train(settings, task, assistant, start, groups, folder)
    else:
        result = reinforce.train(settings, task, start, groups, dev, folder)
    row = {"kind": kind, "steps": result.steps, "tokens": result.tokens, "seconds": round(result.seconds, 3)}
    return {**row, "loss": getattr(result, "loss", None)}


def _begun(
    settings: Mapping[str, Any], task: Task, groups: Sequence[Sequence[Example]], folder: Path
) -> dict[str, Any]:
    """A fine-tuning's parameters, from a student that is cut first if ``ffn_width`` asks for it."""
    values = {name: value for name, value in settings.items() if name != WIDTH}
    width = settings.get(WIDTH, 0)
    if not width:
        return values
    p = Finetuning.read(values, "training")
    student = students.start(task, p.base, p.vocab_size, p.layers, p.seed)
    examples = spread([e for group in groups for e in group], MEASURED)
    cut = prune.prune(student, prune.measure(student, task, examples), channels=width)
    return {**values, "base": str(students.save(cut, folder.with_name(folder.name + ".start")))}
