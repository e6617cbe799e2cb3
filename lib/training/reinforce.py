"""Reinforcement: a student tries, the task's scorer says how good each try was, and better tries become likelier.

The last step of the knowledge transfer of *From Large to Super-Tiny* (arXiv 2504.13471), by group relative policy
optimisation (arXiv 2402.03300, section 4.1; lib/training/grpo.py, lib/training/reinforce_params.py). First the student answers a pool of
requests a few times; those it always gets the same reward for are left out, since they would teach nothing. Eight
answers a request, a small weight on the divergence from the start, and graded rewards follow STAR (arXiv 2602.03022).

>>> result = reinforce({"max_minutes": 3}, task, Path("runs/gpu/04_student"), groups, dev,
...                    Path("runs/gpu/05_student"))                                        # doctest: +SKIP
>>> result.steps, round(result.reward, 2)                                                # doctest: +SKIP
(160, 0.94)

The student's folder gets ``steps.csv`` (a line a step: lib.training.log.COLUMNS, lib.training.grpo.COLUMNS) and ``guards.csv``
(lib/training/monitor.py). A killed training goes on from its last checkpoint when it is started again with the same parameters.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig

from lib.core import files
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.training import workdir
from lib.training.grpo import COLUMNS, GroupTrainer, Source
from lib.training.layers import prepare, restore
from lib.training.log import StepLog, last_checkpoint
from lib.training.monitor import Guards, examine
from lib.training.params import Schedule, TrainingError
from lib.training.reinforce_params import ReinforceParams
from lib.training.sampling import Group, Pool, Rollouts, Sampler, look

MOST_STEPS_PER_MINUTE = 1200


@dataclass(frozen=True)
class ReinforceResult:
    """``reward`` is the mean of the last 20 steps; ``seen`` requests were looked at, ``kept`` of them trained on."""

    folder: Path
    steps: int
    tokens: int
    seconds: float
    reward: float
    seen: int
    kept: int


def reinforce(
    params: Mapping[str, Any] | ReinforceParams,
    task: Task,
    student: Path,
    groups: Sequence[Sequence[Example]],
    dev: Sequence[Example],
    out_dir: Path,
) -> ReinforceResult:
    """Trains the student in the folder ``student`` on ``groups`` (examples that share a context), guarded by ``dev``.

    Writes the folder ``out_dir``.

    Work in progress is beside it, in ``<out_dir>.part``, and is taken up if parameters, data and start are the same.
    Raises TrainingError for parameters that are not allowed, nothing to learn from, work of other parameters, or a loss
    that is no number; StudentError for a start that is no student of this task.
    """
    params = ReinforceParams.read(params)
    start = _start(params, task, student, groups, dev)
    facts = {**params.to_dict(), "start": files.sha256(student)}
    work = workdir.claim(out_dir, facts, [*groups, dev])
    model: Any = start.model
    prepare(model.to("cuda" if torch.cuda.is_available() else "cpu"), params)
    pool = _pool(params, Codec(task, start.vocabulary), model, groups, work / "pool.json")
    trainer = make_trainer(params, task, start, student, pool, dev, work)
    trainer.train(resume_from_checkpoint=last_checkpoint(work / "checkpoints"))
    restore(start.model)
    rows = trainer.log_file.rows
    start.info["training"] = {**facts, "steps": len(rows), "seen": pool.seen, "kept": pool.kept}
    folder = workdir.finish(start, work, out_dir)
    mean = sum(row["reward"] for row in rows[-20:]) / max(len(rows[-20:]), 1)
    tokens = sum(row["tokens"] for row in rows)
    return ReinforceResult(folder, len(rows), tokens, trainer.schedule.spent, mean, pool.seen, pool.kept)


def _start(
    params: ReinforceParams, task: Task, student: Path, groups: Sequence[Sequence[Example]], dev: Sequence[Example]
) -> Student:
    """The student to begin with, once everything that can be known has been checked."""
    if not any(groups):
        raise TrainingError("no examples to learn from: check the stage that writes the accepted requests")
    if not dev:
        raise TrainingError("no development set to guard the training with: check the stage that samples the tests")
    if not student.is_dir():
        raise TrainingError(f"{student}: reinforcement starts from a student's folder: run the stage that trains it")
    start = students.load(student)
    students.check_task(start.info, task, str(student))
    if params.freeze_below >= start.model.config.num_hidden_layers:
        raise TrainingError(f"freeze_below: {params.freeze_below}, but the student has only as many layers or fewer")
    return start


def _pool(params: ReinforceParams, codec: Codec, model: Any, groups: Sequence[Sequence[Example]], path: Path) -> Pool:
    """The requests to train on; what was kept is remembered in ``path``, for a training that goes on."""
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        return Pool([e for group in groups for e in group], **known, seed=params.seed)
    rollouts = _rollouts(params, codec, params.pool_samples)
    draw = Sampler(params.temperature, f"{params.seed}/pool", model.device)
    pool = look(model.eval(), rollouts, groups, params.pool, params.together, draw)
    files.write_json(path, {"runs": pool.runs, "seen": pool.seen, "reward": pool.reward})
    return replace(pool, seed=params.seed)


def _rollouts(params: ReinforceParams, codec: Codec, samples: int) -> Rollouts:
    return Rollouts(codec, samples, params.max_new, params.sequences_at_once, params.graded, params.bf16)


def make_trainer(
    params: ReinforceParams,
    task: Task,
    student: Student,
    start: Path,
    pool: Pool,
    dev: Sequence[Example],
    work: Path,
) -> GroupTrainer:
    """The trainer; TRL reads the frozen reference, if ``params.kl`` asks for one, from the folder ``start``."""
    student.model.config._name_or_path = str(start)
    steps = count_steps(params, pool.kept)
    schedule = Schedule(steps, params.max_minutes, params.warmup)
    weights = [p for p in student.model.parameters() if p.requires_grad]
    decay = params.weight_decay
    optimizer = AdamW(weights, lr=params.learning_rate, weight_decay=decay, betas=(0.9, 0.99), fused=True)
    at_once = max(params.sequences_at_once // params.samples, 64)
    ask = partial(examine, student, task, dev, batch=at_once, max_new=params.max_new)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
        return GroupTrainer(
            source=_source(params, Codec(task, student.vocabulary), student.model, pool),
            log_file=StepLog(work / "steps.csv", schedule, params.checkpoint_minutes, COLUMNS),
            schedule=schedule,
            row_tokens=params.row_tokens,
            callbacks=[Guards(work / "guards.csv", params.guard_every, ask)],
            model=student.model,
            args=_arguments(params, steps, work),
            train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(steps * params.groups_per_step)]}),
            processing_class=PreTrainedTokenizerFast.from_pretrained(start),
            optimizers=(optimizer, LambdaLR(optimizer, schedule)),
        )


def _source(params: ReinforceParams, codec: Codec, model: Any, pool: Pool) -> Source:
    """Where the trainer's groups come from: the step's number and the seed decide what is drawn."""
    rollouts = _rollouts(params, codec, params.samples)

    def groups(places: Sequence[int], step: int) -> list[Group]:
        draw = Sampler(params.temperature, f"{params.seed}/step {step}", model.device)
        return rollouts.ask(model, pool.asked(places, codec), draw)

    return groups


def count_steps(params: ReinforceParams, requests: int) -> int:
    """``Training.steps`` over groups of answers to ``requests`` requests."""
    return params.steps(params.epochs * requests // params.groups_per_step, MOST_STEPS_PER_MINUTE)


def _arguments(params: ReinforceParams, steps: int, work: Path) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(work / "checkpoints"),
        max_steps=steps,
        num_generations=params.samples,
        per_device_train_batch_size=params.groups_at_once * params.samples,
        gradient_accumulation_steps=params.groups_per_step // params.groups_at_once,
        max_completion_length=params.max_new,
        temperature=params.temperature,
        beta=params.kl,
        loss_type=params.loss,
        scale_rewards=params.scale,
        max_grad_norm=params.clip,
        shuffle_dataset=False,
        bf16=params.bf16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        seed=params.seed,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        save_strategy="no",
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
