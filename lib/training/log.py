"""What happens between two steps: a line in ``steps.csv``, the progress bar, checkpoints and the time cap.

The lines are the trainer's own log history, so a training that resumes from a checkpoint has those before it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm
from transformers import TrainerCallback

from lib.core.files import write_text

COLUMNS = {"step": int, "loss": float, "lr": float, "tokens": int, "tokens_per_s": float, "seconds": float}
WHOLE = "whole"  # the file that marks a checkpoint as complete


class StepLog(TrainerCallback):
    """Measures steps, writes their lines, saves every ``minutes`` and stops the training after ``cap`` minutes."""

    def __init__(self, path: Path, minutes: float, cap: float = 0.0, more: Sequence[str] = ()) -> None:
        """``more``: columns of numbers that this training has besides COLUMNS."""
        self.path, self.minutes, self.cap, self.more = path, minutes, cap, more
        self.rows: list[dict[str, Any]] = []
        self.seconds, self._counts = 0.0, dict.fromkeys(["tokens", *more], 0.0)

    def count(self, **values: float) -> None:
        """Adds to the columns of the current step."""
        for name, value in values.items():
            self._counts[name] += value

    def measured(self) -> dict[str, float]:
        """What the trainer does not log itself of the step that has ended."""
        counts, self._counts = self._counts, dict.fromkeys(self._counts, 0.0)
        took = self.seconds - (self.rows[-1]["seconds"] if self.rows else 0.0)
        rate = round(counts["tokens"] / max(took, 1e-9), 1)
        return {**counts, "tokens": int(counts["tokens"]), "tokens_per_s": rate, "seconds": round(self.seconds, 3)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows = [self._row(logs) for logs in state.log_history if "seconds" in logs]
        self.seconds = self._saved = self.rows[-1]["seconds"] if self.rows else 0.0
        self._since = time.monotonic() - self.seconds
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit=" steps")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = time.monotonic() - self._since
        if self.cap and self.seconds >= self.cap * 60:
            control.should_training_stop = True
        if self.seconds - self._saved >= self.minutes * 60 and not control.should_training_stop:
            control.should_save, self._saved = True, self.seconds

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "seconds" in state.log_history[-1] and state.is_world_process_zero:
            self.rows.append(self._row(state.log_history[-1]))
            write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False))
            self._bar.update()
            self._bar.set_postfix_str(f"loss {self.rows[-1]['loss']:.3f}, {self.rows[-1]['tokens_per_s']:.0f} tokens/s")

    def _row(self, logs: dict[str, Any]) -> dict[str, Any]:
        return {name: logs["learning_rate" if name == "lr" else name] for name in [*COLUMNS, *self.more]}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Marks the checkpoint: a kill while it was written leaves it without the mark."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()


def last_checkpoint(folder: Path) -> str | None:
    """The latest complete checkpoint in ``folder``."""
    found = {int(mark.parent.name.rpartition("-")[2]): mark.parent for mark in folder.glob(f"checkpoint-*/{WHOLE}")}
    return str(found[max(found)]) if found else None


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``steps.csv``; none if there is no file."""
    return pd.read_csv(path, dtype=COLUMNS).to_dict("records") if path.is_file() else []
