"""The work folder of a training, the log of its steps, and what is known of a finished one.

Work in progress is in ``<student>.part``. A killed training leaves it, and the same training (parameters, data and
models) resumes it, also in another number of processes; another one is refused. A finished student keeps ``run.json``,
by which the same training by the same code is not repeated. Of several processes the first alone writes.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather_object, reduce
from tqdm.auto import tqdm
from transformers import TrainerCallback

from lib.core import provenance
from lib.core.examples import digest_examples
from lib.core.files import digest, known, read_json, remove, sha256, write_json, write_text
from lib.data.stored import Stored
from lib.training.packing import ByContext
from lib.training.params import TrainingError

WHOLE = "whole"  # the file that marks a checkpoint as complete: the SHA-256 of the others
PATIENCE = timedelta(minutes=30)  # the longest wait for another process, such as one that examines or saves
COLUMNS = ("step", "loss", "lr", "tokens", "tokens_per_s", "seconds", "gpu", "peak_gb", "others_gb")
RUN = "run.json"  # what a training depends on, in its work folder and then in the student's


@dataclass(frozen=True)
class Result:
    """``steps`` of ``planned`` were taken; ``loss`` is the mean of the last 20."""

    folder: Path
    steps: int
    planned: int
    tokens: int
    seconds: float
    loss: float

    @classmethod
    def read(cls, folder: Path, planned: int) -> Result:
        """That of the finished training in ``folder``."""
        log = pd.read_csv(folder / "steps.csv")
        tokens, seconds = int(log["tokens"].sum()), float(log["seconds"].iloc[-1])
        return cls(folder, len(log), planned, tokens, seconds, float(log["loss"].tail(20).mean()))

    @property
    def stopped(self) -> str:
        """That the time cap stopped the training, in words; empty if it took all its steps."""
        done = self.steps == self.planned
        return "" if done else f"stopped by the time cap after {self.steps:,} of {self.planned:,} steps"

    @property
    def epochs(self) -> str:
        """What an epoch of the rows is and how many were trained, in words, with what was too long for a row."""
        known = read_json(self.folder / "student.json")["training"]
        passed = self.steps * known["rows_per_step"] / known["epoch_rows"]
        said = f"An epoch, all requests once, is {known['epoch_rows']:,} rows; the training took {passed:.1f} epochs."
        left = f" {known['left_out']:,} requests are too long for a row and were left out."
        return said + left * bool(known["left_out"])


def peak_gb(folder: Path) -> float | None:
    """The most of a GPU's memory, in GB, that the finished training in ``folder`` had; None without a GPU."""
    peak = pd.read_csv(folder / "steps.csv")["peak_gb"].max()
    return None if pd.isna(peak) else float(peak)


def processes() -> int:
    """How many processes train together, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", 1))


def together() -> PartialState | None:
    """What connects the processes that train together, by NCCL on GPUs, else by gloo; None for one process.

    One that waits for the others longer than PATIENCE fails.
    """
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE) if processes() > 1 else None


def first() -> bool:
    """Whether this process is the only or the first one, which writes."""
    state = together()
    return state is None or state.is_main_process


def wait() -> None:
    """Until all processes are here."""
    if state := together():
        state.wait_for_everyone()


def of_first(value: float) -> float:
    """The value that the first process has."""
    if not (state := together()):
        return value
    return float(broadcast(torch.tensor(value, dtype=torch.float64, device=state.device)))


def summed(counts: Mapping[str, float]) -> dict[str, float]:
    """The sum over the processes of each value."""
    if not (state := together()):
        return dict(counts)
    values = torch.tensor([*counts.values()], dtype=torch.float64, device=state.device)
    return dict(zip(counts, reduce(values, "sum").tolist(), strict=True))


def _agree(run: Mapping[str, Any]) -> None:
    """Raises TrainingError in every process unless all have the same parameters, data and code."""
    if not together():
        return
    mine = {**run["params"], "the examples": run["data"], "the code": run["code"]}
    given = gather_object([{name: digest(value) for name, value in mine.items()}])
    if different := [name for name in given[0] if len({other.get(name) for other in given}) > 1]:
        said = f"the {len(given)} processes disagree on {', '.join(different)}"
        raise TrainingError(f"{said}: start all with the same parameters and files")


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint in ``folder`` whose files are as they were written."""
    found = {int(mark.parent.name.rpartition("-")[2]): mark for mark in folder.glob(f"checkpoint-*/{WHOLE}")}
    for _, mark in sorted(found.items(), reverse=True):
        if mark.read_text("utf-8", "replace") == sha256(mark.parent, WHOLE):
            return str(mark.parent)
    return None


_code = partial(provenance.code, "from lib.training import distill, finetune, reinforce")


def _run(facts: Mapping[str, Any], by_context: ByContext) -> dict[str, Any]:
    if isinstance(by_context, Stored):
        data = by_context.digest
    else:
        data = digest_examples([e for examples in by_context for e in examples])
    return {"params": dict(facts), "data": data, "code": _code()}


def finished(out_dir: Path, facts: Mapping[str, Any], by_context: ByContext) -> Result | None:
    """The result in ``out_dir`` of the same training (as in ``claim``) by the same code, if its folder is whole."""
    if not (told := known(out_dir / RUN)):
        return None
    if told != {**_run(facts, by_context), "student": sha256(out_dir, RUN)}:
        return None
    tqdm.write(f"{out_dir.name}: this training was finished before and is not repeated")
    return Result.read(out_dir, facts["max_steps"])


def claim(out_dir: Path, facts: Mapping[str, Any], by_context: ByContext) -> Path:
    """Makes the work folder of ``out_dir``, or checks that the work in it has the same facts and data; returns it.

    ``facts``: JSON-able, all that the result depends on besides the data. Work without a checkpoint is begun anew.
    Raises TrainingError, also in all processes that do not agree on these.
    """
    work, run = out_dir.with_name(out_dir.name + ".part"), _run(facts, by_context)
    _agree(run)
    if first():
        _begin(work, run)
    wait()
    return work


def _begin(work: Path, run: dict[str, Any]) -> None:
    old = known(work / RUN)
    if not old or last_checkpoint(work / "checkpoints") is None:
        if old != run:
            remove(work)
        (work / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_json(work / RUN, run)
    elif (old["params"], old["data"]) != (run["params"], run["data"]):
        changed = [k for k, v in run["params"].items() if old["params"].get(k) != v] or ["the examples"]
        raise TrainingError(
            f"{work}: holds an interrupted training with another {', '.join(changed)}; "
            "delete this folder to start anew, or put the old values back to go on"
        )


def gpu() -> dict[str, Any]:
    """The GPU's name, the most of its memory that this training had, and what others have now (both GB); None without.

    What CUDA itself needs, about half a gigabyte, is among the others'.
    """
    if not torch.cuda.is_available():
        return dict.fromkeys(("gpu", "peak_gb", "others_gb"))
    (free, total), peak = torch.cuda.mem_get_info(), torch.cuda.max_memory_allocated()
    others = (total - free - torch.cuda.memory_reserved()) / 1e9
    return {"gpu": torch.cuda.get_device_name(), "peak_gb": round(peak / 1e9, 2), "others_gb": round(others, 2)}


class StepLog(TrainerCallback):
    """Writes COLUMNS and ``more`` of each step, saves every ``minutes`` and stops after ``cap`` minutes."""

    def __init__(self, path: Path, minutes: float, cap: float, more: Sequence[str]) -> None:
        self.path, self.minutes, self.cap, self.more = path, minutes, cap, more
        self.rows: list[dict[str, Any]] = []
        self.seconds, self._counts = 0.0, dict.fromkeys(["tokens", *more], 0.0)

    def count(self, **values: float) -> None:
        """Adds to the columns of the current step."""
        for name, value in values.items():
            self._counts[name] += value

    @contextmanager
    def counting(self, counted: bool) -> Iterator[None]:
        """Within it what is counted counts only if so said."""
        before = dict(self._counts)
        yield
        self._counts = self._counts if counted else before

    def measured(self) -> dict[str, Any]:
        """What the trainer does not log itself of the step that has ended."""
        counts, self._counts = summed(self._counts), dict.fromkeys(self._counts, 0.0)
        counts = {name: value if name == "tokens" else value / processes() for name, value in counts.items()}
        took = self.seconds - (self.rows[-1]["seconds"] if self.rows else 0.0)
        rate = {"tokens_per_s": round(counts["tokens"] / max(took, 1e-9), 1), "seconds": round(self.seconds, 3)}
        return {**counts, "tokens": int(counts["tokens"]), **rate, **gpu()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows = [self._row(logs) for logs in state.log_history if "seconds" in logs]
        self.seconds = self._saved = self.rows[-1]["seconds"] if self.rows else 0.0
        if state.is_world_process_zero:
            write_text(self.path, pd.DataFrame(self.rows, columns=[*COLUMNS, *self.more]).to_csv(index=False))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._since = time.monotonic() - self.seconds
        done, steps = state.global_step, state.max_steps
        self._bar = tqdm(total=steps, initial=done, desc="train", unit=" steps", disable=not first())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = of_first(time.monotonic() - self._since)  # for all processes to stop and save together
        if self.cap and self.seconds >= self.cap * 60:
            control.should_training_stop = True
        if self.seconds - self._saved >= self.minutes * 60 and not control.should_training_stop:
            control.should_save, self._saved = True, self.seconds

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "seconds" in state.log_history[-1] and state.is_world_process_zero:
            self.rows.append(self._row(state.log_history[-1]))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(pd.DataFrame(self.rows[-1:]).to_csv(index=False, header=False))
            self._bar.update()
            self._bar.set_postfix_str(f"loss {self.rows[-1]['loss']:.3f}, {self.rows[-1]['tokens_per_s']:.0f} tokens/s")

    def _row(self, logs: dict[str, Any]) -> dict[str, Any]:
        return {name: logs.get("learning_rate" if name == "lr" else name) for name in [*COLUMNS, *self.more]}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A kill while a checkpoint is written leaves it without the mark.
        # Then older ones go, by their steps: transformers would delete them before the mark, by a clock that may jump.
        wait()
        if not first():
            return
        folder, now = Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step
        write_text(folder / WHOLE, sha256(folder, WHOLE))
        steps = sorted(int(p.name.rpartition("-")[2]) for p in folder.parent.glob("checkpoint-*"))
        for step in {*steps} - {*[step for step in steps if step <= now][-2:]}:
            shutil.rmtree(folder.with_name(f"checkpoint-{step}"))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()
