"""TRL's GRPOTrainer over requests of a task: groups from lib/training/sampling.py, one copy of a prompt for all of its answers.

Group relative policy optimisation: Shao et al., *DeepSeekMath* (arXiv 2402.03300, section 4.1). Loss, advantages, the
divergence from the start and the optimiser are TRL's. What is not: requests are token ids from the codec; a group whose
rewards are all the same counts for nothing, its divergence included (as in the dynamic sampling of Yu et al., arXiv
2503.14476, section 3.2, without drawing another group in its place); and log-probabilities are computed over trees
(lib/training/branches.py), a prompt followed by the answers of its group that do not see each other, where TRL gives every
answer a prompt of its own. With prompts of 200 tokens and answers of ten that is a fifth of the work, and less where
consecutive prompts begin alike.

>>> trainer = GroupTrainer(source=source, log_file=log, schedule=schedule, row_tokens=1024, ...)    # doctest: +SKIP
>>> trainer.train()                                                                               # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback
from trl import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from lib.training import qat
from lib.training.branches import ROOT, Branch, Tree, collate, size, visible
from lib.training.finetune import answer_logits
from lib.training.log import StepLog
from lib.training.params import Schedule, TrainingError
from lib.training.sampling import Group

COLUMNS = ("reward", "spread", "exact", "kl", "dropped", "none", "invalid", "answer_tokens")
"""What steps.csv has beside lib.training.log.COLUMNS, of a step's samples: mean reward and its standard deviation, share
exactly right, divergence from the start (nats a token, of the groups that count), share of groups dropped, share of
answers that do nothing and of those that are invalid, mean tokens of an answer."""

SHARED = 32
"""Tokens that prompts must begin with alike to share them."""

Asked = tuple[list[int], list[list[int]]]
"""A prompt and the answers to it."""

Source = Callable[[Sequence[int], int], list[Group]]
"""From rows of the plan and the step's number: a group for each."""


def reward(reward: Sequence[float], **_: Any) -> list[float | None]:
    """The rewards that the rollout gave."""
    return list(reward)


class GroupTrainer(qat.RoundedSteps, GRPOTrainer):
    """A dataset row is a place in the plan, as text, in ``prompt``; it stops at a loss that is no number."""

    def __init__(
        self, source: Source, log_file: StepLog, schedule: Schedule, row_tokens: int, callbacks: Any, **arguments: Any
    ) -> None:
        super().__init__(
            reward_funcs=reward, rollout_func=self._roll_out, callbacks=[log_file, *callbacks], **arguments
        )
        self.remove_callback(PrinterCallback)
        self.source, self.log_file, self.schedule, self.row_tokens = source, log_file, schedule, row_tokens
        self._groups: list[Group] = []

    def _roll_out(self, prompts: Sequence[str], _: Any) -> dict[str, Any]:
        """TRL's rollout function: ``prompts`` has each place of the plan as often as there are samples."""
        places = [int(p) for p in prompts[:: self.num_generations]]
        self._groups = self.source(places, self.state.global_step + 1)
        samples = [(g.prompt.ids, s) for g in self._groups for s in g.samples]
        self.log_file.count(0.0, 0, **statistics(self._groups))
        return {
            "prompt_ids": [ids for ids, _ in samples],
            "completion_ids": [s.ids for _, s in samples],
            "logprobs": [s.logprobs for _, s in samples],
            "reward": [s.reward for _, s in samples],
        }

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's, with the answers of groups without spread masked: they count neither as loss nor as divergence."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        kept = torch.tensor(
            [g.spread for g in self._groups for _ in g.samples], device=output["completion_mask"].device
        )
        output["completion_mask"] = output["completion_mask"] * kept[:, None]
        output["num_items_in_batch"] = output["completion_mask"].sum()
        return output

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """TRL's, but the groups stay together (it shuffles their answers), so that they can share their prompt."""
        arguments: Any = self.args
        at_once = arguments.steps_per_generation
        if self._step % at_once == 0 or not hasattr(self, "_parts"):
            batch = self._generate_and_score_completions(generation_batch)
            self._parts: list[Any] = split_tensor_dict(batch, at_once)
        inputs: dict[str, Any] = self._parts[self._step % at_once]
        return inputs

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        """Log-probabilities at the sampling temperature and entropies, both (answers, tokens), 0 where masked."""
        at_once = batch_size or len(input_ids)
        parts = [
            self._score(model, input_ids[i : i + at_once], attention_mask[i : i + at_once].bool(), logits_to_keep)
            for i in range(0, len(input_ids), at_once)
        ]
        logprobs, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return logprobs, entropies if compute_entropy else None, None

    def _score(self, model: Any, ids: Tensor, seen: Tensor, width: int) -> tuple[Tensor, Tensor]:
        answered = seen[:, -width:]
        rows = grow(ids.tolist(), seen.tolist(), width, self.row_tokens)
        empty = torch.zeros(answered.shape, device=ids.device)
        if not rows:
            return empty + 0.0 * model.lm_head.weight[0, 0].float(), empty
        batch = {name: t.to(ids.device) for name, t in collate(rows, self._tokenizer.pad_token_id).items()}
        seen_by = visible(batch["branches"], batch["kin"])
        logits, tokens = answer_logits(self.accelerator.unwrap_model(model), batch, self.args.bf16, seen_by)
        logprobs = (logits / self.temperature).log_softmax(-1)
        chosen = logprobs.gather(-1, tokens[:, None])[:, 0]
        with torch.no_grad():
            entropy = -(logprobs.exp() * logprobs).sum(-1)
        return empty.masked_scatter(answered, chosen), empty.masked_scatter(answered, entropy)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        value = float(loss.detach())
        if value != value or abs(value) == float("inf"):
            rate = self.optimizer.param_groups[0]["lr"] if self.optimizer else 0.0
            raise TrainingError(
                f"step {self.state.global_step + 1}: the loss is {value}; lower learning_rate ({rate:.2g} now)"
                " or use precision: fp32"
            )
        kl = self._metrics["train"].get("kl", [0.0])[-1] / self.args.gradient_accumulation_steps
        self._metrics["train"].clear()
        tokens = inputs["prompt_mask"][:: self.num_generations].sum() + inputs["completion_mask"].sum()
        self.log_file.count(value, int(tokens), kl=kl)
        return loss


def statistics(groups: Sequence[Group]) -> dict[str, float]:
    """The columns of COLUMNS that a step's samples give."""
    samples = [s for g in groups for s in g.samples]
    rewards = torch.tensor([s.reward for s in samples], dtype=torch.float64)
    return {
        "reward": float(rewards.mean()),
        "spread": float(rewards.std(unbiased=False)),
        "exact": sum(s.exact for s in samples) / len(samples),
        "dropped": sum(not g.spread for g in groups) / len(groups),
        "none": sum(s.nothing for s in samples) / len(samples),
        "invalid": sum(s.invalid for s in samples) / len(samples),
        "answer_tokens": sum(len(s.ids) for s in samples) / len(samples),
    }


def grow(ids: Sequence[list[int]], seen: Sequence[list[bool]], width: int, row_tokens: int) -> list[Tree]:
    """Rows of up to ``row_tokens`` (more if one group has more): each prompt once, its unmasked answers behind it.

    ``ids`` and ``seen`` are (answers, tokens): prompts padded on the left, answers of up to ``width`` on the right.
    Consecutive prompts that begin with the same SHARED tokens share what they have in common. The answers' order stays.
    """
    pairs = [_cut(row, mask, width) for row, mask in zip(ids, seen, strict=True)]
    families: list[list[Asked]] = []
    for prompt, group in groupby(pairs, key=lambda pair: pair[0]):
        asked = prompt, [answer for _, answer in group if answer]
        if not asked[1]:
            continue
        if families and _common([*families[-1], asked]) >= SHARED and size(_tree([*families[-1], asked])) <= row_tokens:
            families[-1].append(asked)
        else:
            families.append([asked])
    return _fill([_tree(family) for family in families], row_tokens)


def _cut(row: Sequence[int], mask: Sequence[bool], width: int) -> tuple[list[int], list[int]]:
    """A prompt and an answer without their padding; an answer that is masked is empty."""
    split = len(row) - width
    begin, end = split - sum(mask[:split]), split + sum(mask[split:])
    return list(row[begin:split]), list(row[split:end])


def _common(family: Sequence[Asked]) -> int:
    """How many tokens all prompts begin with, their last one never included."""
    columns = zip(*(prompt[:-1] for prompt, _ in family), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _tree(family: Sequence[Asked]) -> Tree:
    """What the prompts share, then each one's rest with its answers.

    Every answer follows a copy of its prompt's last token, which predicts its first one.
    """
    shared = _common(family)
    tree = [Branch(family[0][0][:shared])]
    for prompt, answers in family:
        rest = prompt[shared:-1]
        tree += [Branch(rest, parent=0)] if rest else []
        fork = len(tree) - 1 if rest else 0
        tree += [Branch([prompt[-1], *answer], fork, len(answer)) for answer in answers]
    return tree


def _fill(trees: Sequence[Tree], row_tokens: int) -> list[Tree]:
    """Trees side by side, in order, as long as they fit into a row."""
    rows: list[Tree] = []
    for tree in trees:
        if not rows or size(rows[-1]) + size(tree) > row_tokens:
            rows.append([])
        begin = len(rows[-1])
        rows[-1] += [replace(b, parent=b.parent + begin if b.parent != ROOT else ROOT) for b in tree]
    return rows
