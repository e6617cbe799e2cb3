"""Reinforcement: a student tries, the task's scorer says how good each try was, and better tries become likelier.

The last step of the knowledge transfer of *From Large to Super-Tiny* (arXiv 2504.13471), by group relative policy
optimisation (Shao et al., *DeepSeekMath*, arXiv 2402.03300, section 4.1). Eight answers a request, a small weight on
the divergence from the start, and graded rewards follow STAR (arXiv 2602.03022). A group of equal rewards
counts for nothing (DAPO, arXiv 2503.14476, section 3.2), but no other group takes its place. Requests that are right
every time are left out so, and what they need can be unlearnt with the others: a student learnt to ask back whenever
music was wanted. ``anchors`` are such requests, whose right answers all have the advantage 1: that changes little while
they are likely.

With an ``update`` that takes no gradients the reward of greedy answers itself is maximised
(lib/training/zeroth_order.py).

Each step samples once and takes one gradient step, so no ratio is clipped. TRL's GRPOTrainer is not used, since it
gives every answer a copy of its prompt; here the answers of a context share its prefix (lib/training/packing.py).

    result = reinforce.train({"max_steps": 40}, task, student, by_context, dev, Path("runs/gpu/05_student"))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lib.core.files import known, write_json, write_text
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.model.torch_student import likeliest
from lib.training import layers
from lib.training.cost import check_memory
from lib.training.launch import across
from lib.training.monitor import Monitor, examine
from lib.training.packing import Block, ByContext, Segment, collate, pack
from lib.training.params import BACKWARD, Reinforcement, TrainingError
from lib.training.sampling import Group, Pool, Sampler, sample, try_pool
from lib.training.trainer import Batch, PackedTrainer
from lib.training.work import Result, claim, finished, first, wait

POOL = "pool.csv"  # how many requests of each kind were tried and kept, in the student's folder
COLUMNS = ("reward", "spread", "exact", "kl", "dropped", "none", "invalid", "answer_tokens", "longest", "prompt")
"""Further columns of steps.csv, of a step's samples: mean reward and its standard deviation, share exactly right, KL
divergence from the start (nats a token), shares of groups dropped, of answers that do nothing and of invalid ones;
tokens of an answer, mean and most, and most of a prompt."""


@dataclass(frozen=True)
class Reinforced(Result):
    """``reward``: the mean of the last 20 steps; ``seen`` requests were tried, ``kept`` of them trained on."""

    reward: float
    seen: int
    kept: int


class ReinforceTrainer(PackedTrainer):
    """PackedTrainer over sampled answers; a batch that its loader brings has the places of requests in the pool."""

    columns = COLUMNS

    def __init__(self, task: Task, student: Student, start: Student, pool: Pool, params: Reinforcement, *rest: Any):
        super().__init__(params, student, lambda places: {"places": torch.tensor(places)}, *rest)
        self.settings, self.pool, self.codec = params, pool, Codec(task, student.vocabulary)
        self.start: Any = start.model.eval().requires_grad_(False).to(self.args.device)
        layers.accelerate_layers(self.start, "")

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """Samples the answers of one step; its batches are rows of answers, and losses are divided beforehand."""
        places, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        groups = self.sample([place for batch in places for place in batch["places"].tolist()])
        self.step_log.count(**statistics(groups))
        at_once = len(groups) // len(places)
        self.answers = sum(len(g.samples) for g in groups)
        self.answer_tokens = max(sum(len(s.ids) for g in groups if counts(g, self.settings) for s in g.samples), 1)
        parts = [self.batch(groups[i : i + at_once]) for i in range(0, len(groups), at_once)]
        return parts, self.accelerator.num_processes

    def sample(self, places: Sequence[int]) -> list[Group]:
        """The groups of the requests at these places; the seed and the step's number decide what is drawn."""
        p, model = self.settings, self.accelerator.unwrap_model(self.model)
        rank = f"/{self.args.process_index}" if self.args.process_index else ""
        draw = Sampler(p.temperature, f"{p.seed}/step {self.state.global_step + 1}{rank}", model.device)
        requests = list(self.pool.requests(places, self.codec, p.seed))
        return sample(model.eval(), self.codec, p, requests, p.samples, draw)

    def batch(self, groups: Sequence[Group]) -> Batch:
        """Rows of the groups that count; of the first one, with no weight, if none does."""
        kept = [g for g in groups if counts(g, self.settings)] or groups[:1]
        rows = pack([Block(g.prompt.prefix, list(tries(g, self.settings))) for g in kept], self.settings.row_tokens)
        answers = [s for row in rows for block in row for s in block.segments]
        columns = {
            "advantages": [s.advantage / s.answer / self.answers for s in answers],
            "weights": [s.count / s.answer / self.answers for s in answers],
            "shares": [s.count / self.answer_tokens for s in answers],
        }
        lengths = torch.tensor([s.answer for s in answers])
        of_tokens = {name: torch.tensor(values).repeat_interleave(lengths) for name, values in columns.items()}
        return {**collate(rows, self.codec.vocabulary.end), **of_tokens}

    def token_losses(self, logits: Tensor, answers: Tensor, inputs: Batch) -> dict[str, Tensor]:
        """GRPO's, where the probability ratio is 1; the divergence is the estimator k3 (arXiv 2402.03300, eq. 4)."""
        logprobs = self._logprobs(logits, answers)
        losses = -inputs["advantages"] * (logprobs - logprobs.detach()).exp()
        if not self.settings.kl:
            return {"loss": losses}
        with torch.no_grad():
            start = self._logprobs(*layers.answer_logits(self.start, inputs, self.args.bf16))
        kl = (start - logprobs).exp() - (start - logprobs) - 1
        return {"loss": losses + self.settings.kl * inputs["weights"] * kl, "kl": inputs["shares"] * kl}

    def _logprobs(self, logits: Tensor, answers: Tensor) -> Tensor:
        return (logits / self.settings.temperature).log_softmax(-1).gather(-1, answers[:, None])[:, 0]


class RewardTrainer(ReinforceTrainer):
    """Without back-propagation the reward itself can be raised: the loss is 1 less that of greedy answers."""

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        return PackedTrainer.get_batch_samples(self, epoch_iterator, num_batches, device)

    def compute_loss(self, model: Any, inputs: Batch, *arguments: Any, **more: Any) -> Any:
        p, network, passes = self.settings, self.accelerator.unwrap_model(model), self.args.gradient_accumulation_steps
        requests = list(self.pool.requests(inputs["places"].tolist(), self.codec, p.seed))
        found = statistics(groups := sample(network.eval(), self.codec, p, requests, 1, likeliest))
        tokens = sum(len(g.prompt.ids) + len(g.samples[0].ids) for g in groups)
        self.step_log.count(tokens=tokens, **{name: value / passes for name, value in found.items()})
        return torch.tensor((1 - found["reward"]) / passes, device=network.device)


def counts(group: Group, params: Reinforcement) -> bool:
    """Whether a group changes the student: rewards that differ, or an anchor."""
    return group.spread or (params.anchors > 0 and group.right)


def tries(group: Group, params: Reinforcement) -> Iterator[Segment]:
    """A group's distinct answers with their advantages: rewards less their mean, by their spread; 1 for an anchor's."""
    rewards = torch.tensor([s.reward for s in group.samples])
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4) if group.spread else torch.ones(len(rewards))
    for ids in dict.fromkeys(tuple(s.ids) for s in group.samples):
        same = torch.tensor([tuple(s.ids) == ids for s in group.samples]) & counts(group, params)
        yield Segment(group.prompt.request + list(ids), len(ids), float(advantages[same].sum()), int(same.sum()))


def statistics(groups: Sequence[Group]) -> dict[str, float]:
    """The columns of COLUMNS that a step's samples give."""
    samples = [(s, s.reading) for g in groups for s in g.samples]
    names = ["reward", "exact", "none", "invalid", "answer_tokens"]
    values = [(s.reward, s.exact, not (r.calls or r.error), bool(r.error), len(s.ids)) for s, r in samples]
    table = pd.DataFrame(values, columns=names)
    dropped, longest = sum(not g.spread for g in groups) / len(groups), float(table["answer_tokens"].max())
    spread, prompt = float(table["reward"].std(ddof=0)), float(max(len(g.prompt.ids) for g in groups))
    return {**table.mean().to_dict(), "longest": longest, "prompt": prompt, "spread": spread, "dropped": dropped}


def train(
    params: Mapping[str, Any] | Reinforcement,
    task: Task,
    student: Path,
    by_context: ByContext,
    dev: Sequence[Example],
    out_dir: Path,
) -> Reinforced:
    """Trains the student in the folder ``student``, examines it on ``dev`` on the way, and writes ``out_dir``.

    Resumes as a fine-tuning does. Raises ParamsError, StudentError, or TrainingError.
    """
    params = Reinforcement.read(params, "training")
    if not any(by_context) or not dev:
        which = "development set to examine the student on" if any(by_context) else "examples to learn from"
        raise TrainingError(f"no {which}: run the stages that write the accepted requests and the tests")
    if not student.is_dir():
        raise TrainingError(f"{student}: reinforcement starts from a student's folder: run the stage that trains it")
    learner = students.load(student)
    students.check_task(learner.info, task, str(student))
    facts = {**params.model_dump(), "start": students.digest(student)}
    done = finished(out_dir, facts, [*by_context, dev])
    if done := done or across(train, params, task, student, by_context, dev, out_dir):
        known = students.load(out_dir).info["training"]
        reward = float(pd.read_csv(out_dir / "steps.csv")["reward"].tail(20).mean())
        return Reinforced(**vars(done), reward=reward, seen=known["seen"], kept=known["kept"])
    work = claim(out_dir, facts, [*by_context, dev])
    start = students.load(student)
    check_memory(params, learner, start)
    if first():
        tried = _pool(params, task, learner, by_context, work / "pool.json")
        write_text(work / POOL, tried.table(task).to_csv(index=False))
    wait()
    pool = _pool(params, task, learner, by_context, work / "pool.json")
    at_once = max(params.sequences_at_once // params.samples, 64)
    ask = partial(examine, learner, task, dev, batch=at_once, max_new=params.max_new)
    size = params.groups_per_step, params.groups_at_once
    monitor = Monitor(work / "guards.csv", params.guard_every, ask)
    kind = ReinforceTrainer if params.update == BACKWARD else RewardTrainer
    trainer = kind(task, learner, start, pool, params, work, size, [monitor])
    result = trainer.fit(learner, {**facts, "seen": pool.seen, "kept": pool.kept}, out_dir)
    return Reinforced(**vars(result), reward=trainer.last("reward"), seen=pool.seen, kept=pool.kept)


def _pool(params: Reinforcement, task: Task, student: Student, by_context: ByContext, path: Path) -> Pool:
    """The requests to train on; what was kept is remembered in ``path``, for a training that is resumed."""
    if kept := known(path):
        return Pool([e for group in by_context for e in group], **kept)
    model: Any = student.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    pool = try_pool(model, Codec(task, student.vocabulary), params, by_context)
    write_json(path, {"runs": pool.runs, "tried": pool.tried, "reward": pool.reward, "anchors": pool.anchors})
    return pool
