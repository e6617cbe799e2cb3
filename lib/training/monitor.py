"""Monitors a reinforcement: every few steps the student answers a development set, greedily, as it is deployed.

A policy finds what the reward does not punish (Amodei et al., *Concrete Problems in AI Safety*, arXiv 1606.06565,
section 4): to do nothing, to answer at length, to write what cannot be read, to give up one level for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import TrainerCallback

from lib.core.files import write_text
from lib.core.task import Example, Task
from lib.evaluation.evaluate import record
from lib.evaluation.metrics import wilson
from lib.model.student import Student
from lib.model.torch_student import TorchStudent
from lib.training.work import first

ALL = "all"
NOTABLE = 0.1  # how much more of something is worth an alarm, as a share

Line = dict[str, Any]


class Monitor(TrainerCallback):
    """Examines before the first step, every ``every`` steps and at the end; a line for each level, and one for all."""

    def __init__(self, path: Path, every: int, ask: Callable[[], list[Line]]) -> None:
        self.path, self.every, self.ask = path, every, ask
        self.lines: list[Line] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drops lines of steps after the checkpoint that the training resumes from."""
        self.lines = [line for line in read(self.path) if line["step"] <= state.global_step]
        if not self.lines:
            self._examine(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        last = control.should_training_stop or state.global_step >= state.max_steps
        if last or state.global_step % self.every == 0:
            self._examine(state.global_step)

    def _examine(self, step: int) -> None:
        if not first():
            return
        self.lines += [{"step": step, **line} for line in self.ask()]
        write_text(self.path, pd.DataFrame(self.lines).to_csv(index=False))


def read(path: Path) -> list[Line]:
    """The lines of a ``guards.csv``; none if there is no file."""
    return pd.read_csv(path, dtype={"level": str, "tokens": float}).to_dict("records") if path.is_file() else []


def alarms(lines: Sequence[Line]) -> list[str]:
    """What is worse in the last examination than in the first, in words.

    A level counts if its accuracy is now below its first 95% interval (Wilson), all else by NOTABLE.
    """
    first, last = ({x["level"]: x for x in lines if x["step"] == lines[i]["step"]} for i in (0, -1))
    begun, ended = first[ALL], last[ALL]
    found = [
        f"{100 * begun[name]:.0f} % of its answers {what} at first, {100 * ended[name]:.0f} % now"
        for name, what in (("none", "did nothing"), ("invalid", "could not be read"))
        if ended[name] > begun[name] + NOTABLE
    ]
    if ended["tokens"] > begun["tokens"] * (1 + NOTABLE):
        found.append(f"an answer had {begun['tokens']:.1f} tokens at first, {ended['tokens']:.1f} now")
    for level, line in first.items():
        now = last[level]["accuracy"]
        if now < wilson(round(line["accuracy"] * line["n"]), line["n"])[0]:
            found.append(f"{level} fell from {100 * line['accuracy']:.0f} % right to {100 * now:.0f} %")
    return found


def examine(student: Student, task: Task, dev: Sequence[Example], batch: int = 64, max_new: int = 96) -> list[Line]:
    """Greedy answers to ``dev``, a line for each level in the levels' order and one for all of them.

    Means: ``accuracy``, ``reward``, ``none`` (validly does nothing) and ``invalid`` in [0, 1]; ``tokens`` of an answer.
    """
    training = student.model.training
    system = TorchStudent(student, task, batch=batch, max_new=max_new)
    answers = system.answer_many([(e.text, e.context) for e in dev])
    student.model.train(training)
    rows = [record(system.name, e, a, task, "guard") for e, a in zip(dev, answers, strict=True)]
    names = {"level": "level", "exact": "accuracy", "reward": "reward", "new_tokens": "tokens"}
    table = pd.DataFrame(rows)[[*names]].rename(columns=names)
    table["invalid"] = [bool(row["error"]) for row in rows]
    table["none"] = [not row["calls"] and not row["error"] for row in rows]
    found = pd.concat([table.sort_values("level"), table.assign(level=ALL)]).groupby("level", sort=False)
    means = found[["accuracy", "reward", "none", "invalid", "tokens"]].mean().round(6)
    means.insert(0, "n", found.size())
    return means.reset_index().to_dict("records")
