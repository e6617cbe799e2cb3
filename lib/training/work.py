"""The work folder of a training and what is known of a finished one.

Work in progress is in ``<student>.part``. A killed training leaves it, and the same training (parameters, data and
models) resumes it, also in another number of processes; another one is refused. A finished student keeps ``run.json``,
by which the same training by the same code is not repeated. Of several processes the first alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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

from lib.core import provenance
from lib.core.examples import digest_examples
from lib.core.files import digest, known, read_json, remove, sha256, write_json
from lib.data.stored import Stored
from lib.training.packing import ByContext
from lib.training.params import TrainingError

WHOLE = "whole"  # the file that marks a checkpoint as complete: the SHA-256 of the others
PATIENCE = timedelta(minutes=30)  # the longest wait for another process, such as one that examines or saves
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
