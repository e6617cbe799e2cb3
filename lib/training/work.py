"""The work folder of a training and what is known of a finished one.

Work in progress is in ``<student>.part``. A killed training leaves it, and the same training (parameters, data and
models) resumes it; another one is refused. A finished student keeps ``run.json``, by which the same training by the
same code is not repeated. ``finetune``, ``distill`` and ``reinforce`` are for one process: a work folder has one owner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from lib.core import provenance
from lib.core.examples import digest_examples
from lib.core.files import known, read_json, remove, sha256, write_json
from lib.training.packing import ByContext
from lib.training.params import TrainingError

WHOLE = "whole"  # the file that marks a checkpoint as complete: the SHA-256 of the others
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


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint in ``folder`` whose files are as they were written."""
    found = {int(mark.parent.name.rpartition("-")[2]): mark for mark in folder.glob(f"checkpoint-*/{WHOLE}")}
    for _, mark in sorted(found.items(), reverse=True):
        if mark.read_text("utf-8", "replace") == sha256(mark.parent, without=WHOLE):
            return str(mark.parent)
    return None


_code = partial(provenance.code, "from lib.training import distill, finetune, reinforce")


def _run(facts: Mapping[str, Any], by_context: ByContext) -> dict[str, Any]:
    data = digest_examples([e for examples in by_context for e in examples])
    return {"params": dict(facts), "data": data, "code": _code()}


def finished(out_dir: Path, facts: Mapping[str, Any], by_context: ByContext) -> Result | None:
    """The result in ``out_dir`` of the same training (as in ``claim``) by the same code, if its folder is whole."""
    if not (told := known(out_dir / RUN)):
        return None
    if told != {**_run(facts, by_context), "student": sha256(out_dir, without=RUN)}:
        return None
    log = pd.read_csv(out_dir / "steps.csv")
    tqdm.write(f"{out_dir.name}: this training was finished before and is not repeated")
    tokens, seconds = int(log["tokens"].sum()), float(log["seconds"].iloc[-1])
    return Result(out_dir, len(log), facts["max_steps"], tokens, seconds, float(log["loss"].tail(20).mean()))


def claim(out_dir: Path, facts: Mapping[str, Any], by_context: ByContext) -> Path:
    """Makes the work folder of ``out_dir``, or checks that the work in it has the same facts and data; returns it.

    ``facts``: JSON-able, all that the result depends on besides the data. Work without a checkpoint is begun anew.
    Raises TrainingError, for several processes, too.
    """
    if processes() > 1:
        raise TrainingError(f"WORLD_SIZE is {processes()}: this training is for one process: start it without torchrun")
    work, run = out_dir.with_name(out_dir.name + ".part"), _run(facts, by_context)
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
    return work
