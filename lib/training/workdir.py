"""The work folder of a training, ``<student>.part``, and how a finished student leaves it.

A killed training leaves its work, and the same training (parameters, data and models) resumes it; another one is
refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.examples import digest_examples
from lib.core.files import read_json, write_json
from lib.core.task import Example
from lib.model import student as students
from lib.model.student import Student
from lib.training.log import last_checkpoint
from lib.training.params import TrainingError


def folder(out_dir: Path) -> Path:
    """Where the work on ``out_dir`` is."""
    return out_dir.with_name(out_dir.name + ".part")


def claim(out_dir: Path, params: Mapping[str, Any], by_context: Sequence[Sequence[Example]]) -> Path:
    """Makes the work folder, or checks that the work in it has the same parameters and data; returns it.

    ``params``: JSON-able, all that the result depends on besides the data. Work without a checkpoint is begun anew.
    Raises TrainingError.
    """
    work = folder(out_dir)
    mark = work / "run.json"
    run: dict[str, Any] = {
        "params": dict(params),
        "data": digest_examples([e for examples in by_context for e in examples]),
    }
    (work / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not mark.is_file() or last_checkpoint(work / "checkpoints") is None:
        write_json(mark, run)
        return work
    old = read_json(mark)
    if old != run:
        changed = [k for k, v in run["params"].items() if old["params"].get(k) != v] or ["the examples"]
        raise TrainingError(
            f"{work}: holds an interrupted training with another {', '.join(changed)}; "
            "delete this folder to start anew, or put the old values back to go on"
        )
    return work


def finish(student: Student, work: Path, out_dir: Path) -> Path:
    """Writes the student inside the work folder, then puts it in place and clears the work; returns ``out_dir``."""
    done = work / "student"
    shutil.rmtree(done, ignore_errors=True)
    done.mkdir()
    student.model.cpu()
    students.write(student, done)
    for log in work.glob("*.csv"):
        shutil.copy(log, done)
    shutil.rmtree(out_dir, ignore_errors=True)
    done.replace(out_dir)
    shutil.rmtree(work)
    return out_dir
