"""Self-training: a model answers requests that nobody labelled; what its samples agree on becomes training data.

Agreement among samples tells right answers from wrong ones without a label (Wang et al., *Self-Consistency*, arXiv
2203.11171), and a model can be trained on its own labels so chosen (Huang et al., arXiv 2210.11610). Answers agree here
if they have the same effect, as the task says, which also refuses what cannot be executed.

    rows = self_training.label({"utterances": 500}, task, Path("runs/gpu/03_assistant"), requests)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lib.core.examples import spread
from lib.core.files import Row
from lib.core.task import Example, Task
from lib.evaluation.metrics import wilson
from lib.model import student as students
from lib.model.codec import Codec
from lib.training.params import SelfTraining
from lib.training.sampling import Group, Sample, Sampler, sample

SOURCE = "self"  # of the examples that are made here
UNREAD, REFUSED, DISAGREED = "its answer cannot be read", "its calls are refused", "the samples disagree"
UNTAUGHT = "its answer cannot be taught"  # one without calls that says more than to do nothing


@dataclass(frozen=True)
class Labelled:
    """``example`` with the answer that most samples give; ``exact``: whether its own gold has that effect."""

    example: Example
    exact: bool

    @property
    def accepted(self) -> bool:
        return "reason" not in self.example.extra


def label(
    params: Mapping[str, Any] | SelfTraining, task: Task, model: Path, requests: Sequence[Example]
) -> list[Labelled]:
    """Answers to ``params.utterances`` of the requests, evenly spaced; a rejected one has its ``reason`` in ``extra``.

    Raises ParamsError or StudentError.
    """
    params = SelfTraining.read(params, "self_training")
    asked = spread(requests, params.utterances) if params.utterances else []
    if not asked:
        return []
    student = students.load(model)
    students.check_task(student.info, task, str(model))
    codec = Codec(task, student.vocabulary)
    network: Any = student.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    prompts = [(e, codec.prompt(e.context, e.text)) for e in asked]
    draw = Sampler(params.temperature, f"{params.seed}/self-training", network.device)
    groups = sample(network, codec, params, prompts, params.samples, draw)
    return [_labelled(codec.task, e, group, params.agree) for e, group in zip(asked, groups, strict=True)]


def _labelled(task: Task, example: Example, group: Group, agree: int) -> Labelled:
    meanings = [_meaning(task, example, one) for one in group.samples]
    (meaning, count), *_ = Counter(meanings).most_common(1)
    first = group.samples[meanings.index(meaning)]
    calls, raw, refs = first.reading.calls, first.reading.raw, group.prompt.refs
    extra = {key: value for key, value in example.extra.items() if key != "reason"} | {"agreed": count}
    extra |= {} if calls or first.reading.error else task.lesson(raw, refs)
    made = replace(example, gold=[calls], source=SOURCE, extra=extra)
    reason = "" if count >= agree else DISAGREED
    if meaning in (UNREAD, REFUSED):
        reason = str(meaning)
    elif not reason and not calls and "".join(task.taught(made, refs)) != raw:
        reason = UNTAUGHT
    return Labelled(replace(made, extra=extra | {"reason": reason}) if reason else made, first.exact)


def _meaning(task: Task, example: Example, one: Sample) -> Hashable:
    """Equal for samples that mean the same: an effect, or how an answer without calls is written."""
    if one.reading.error:
        return UNREAD
    effect = task.effect(one.reading.calls, example.context)
    return REFUSED if effect is None else (effect, "" if one.reading.calls else one.reading.raw)


def quality(name: str, rows: Sequence[Labelled]) -> dict[str, Any]:
    """A row of a table: how many were asked and accepted, and how many of these are right, with a Wilson interval."""
    kept = [row for row in rows if row.accepted]
    right = sum(row.exact for row in kept)
    low, high = wilson(right, len(kept))
    share = right / len(kept) if kept else float("nan")
    acting = sum(bool(row.example.gold[0]) for row in kept)
    found = {"requests": name, "asked": len(rows), "accepted": len(kept), "acting": acting}
    return {**found, "precision": share, "low": low, "high": high}


def records(rows: Sequence[Labelled]) -> list[Row]:
    """What of these rows is stored beside the unlabelled examples: their ids, the agreed calls, and why not."""
    return [{"id": e.id, "calls": e.gold[0], "extra": e.extra} for e in (row.example for row in rows)]


def accepted(stored: Sequence[Row], unlabelled: Sequence[Example]) -> list[Example]:
    """The accepted examples that ``records`` stored."""
    by_id = {e.id: e for e in unlabelled}
    kept = [row for row in stored if "reason" not in row["extra"]]
    return [replace(by_id[row["id"]], gold=[row["calls"]], source=SOURCE, extra=row["extra"]) for row in kept]
