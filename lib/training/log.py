"""What happens between the steps of a training: the CSV line, the progress bar, checkpoints and the end of its time.

>>> StepLog(Path("steps.csv"), schedule, checkpoint_minutes=10)                       # doctest: +SKIP
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from lib.training.params import Schedule

COLUMNS = {"step": int, "loss": float, "lr": float, "tokens": int, "tokens_per_s": float, "seconds": float}

WHOLE = "whole"


class StepLog(TrainerCallback):
    """Writes a line a step as it goes, saves every ``checkpoint_minutes``, ends the training with its time."""

    def __init__(self, path: Path, schedule: Schedule, checkpoint_minutes: float, more: Sequence[str] = ()) -> None:
        """``more``: columns of numbers that this training has beside COLUMNS."""
        self.path, self.schedule, self.checkpoint_minutes = path, schedule, checkpoint_minutes
        self.columns = [*COLUMNS, *more]
        self.rows: list[dict[str, Any]] = []
        self._saved = 0.0
        self._begin_step()

    def _begin_step(self) -> None:
        self._loss, self._tokens = 0.0, 0
        self._more = dict.fromkeys(self.columns[len(COLUMNS) :], 0.0)

    def count(self, loss: float, tokens: int, **more: float) -> None:
        """Adds one forward pass to the step; losses of a step add up to its mean over its answer tokens."""
        self._loss += loss
        self._tokens += tokens
        self._more = {name: value + more.get(name, 0.0) for name, value in self._more.items()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock, and drops lines of steps after the checkpoint that the training goes on from."""
        self.rows = [row for row in read_steps(self.path) if row["step"] <= state.global_step]
        write_steps(self.path, self.rows, self.columns)
        self._saved = self.schedule.spent
        self.schedule.begin()
        self._bar = tqdm(total=100, desc="train", unit="%", bar_format="{desc} {percentage:3.0f}%|{bar}|{postfix}")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        seconds = self.schedule.seconds()
        took = seconds - (self.rows[-1]["seconds"] if self.rows else 0.0)
        rate = self._tokens / max(took, 1e-9)
        lr = kwargs["optimizer"].param_groups[0]["lr"]
        row = (state.global_step, self._loss, lr, self._tokens, round(rate, 1), round(seconds, 3), *self._more.values())
        self.rows.append(dict(zip(self.columns, row, strict=True)))
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(row)
        self._begin_step()
        self._show(self.schedule.progress(state.global_step))
        control.should_training_stop |= self.schedule.progress(state.global_step) >= 1
        if seconds - self._saved >= self.checkpoint_minutes * 60 and not control.should_training_stop:
            control.should_save, self._saved = True, seconds

    def _show(self, progress: float) -> None:
        last = self.rows[-1]
        self._bar.n = round(100 * progress)
        self._bar.set_postfix_str(f"step {last['step']}, loss {last['loss']:.3f}, {last['tokens_per_s']:.0f} tokens/s")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Marks the checkpoint as whole: a kill while it was written leaves it without the mark."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()


def last_checkpoint(folder: Path) -> str | None:
    """The latest whole checkpoint in ``folder``."""
    found = {int(mark.parent.name.rpartition("-")[2]): mark.parent for mark in folder.glob(f"checkpoint-*/{WHOLE}")}
    return str(found[max(found)]) if found else None


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``steps.csv``; none if there is no file. A line cut off by a kill is left out."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if all(line.values())]
    return [{name: COLUMNS.get(name, float)(value) for name, value in line.items()} for line in lines]


def write_steps(path: Path, rows: list[dict[str, Any]], columns: Sequence[str] = tuple(COLUMNS)) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
