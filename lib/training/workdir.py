"""The work folder of a training: whose work it holds, and how a finished student leaves it.

Work in progress is beside the student that it will become, in ``<student>.part``. A killed training leaves it, and the
same training (parameters, data and models) takes it up again; another one is refused.

>>> work = claim(Path("runs/cpu/03_student"), params.to_dict(), groups)               # doctest: +SKIP
>>> finish(student, work, Path("runs/cpu/03_student"))                                # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.core.files import write_json
from lib.core.task import Example
from lib.model import student as students
from lib.model.student import Student
from lib.training.log import last_checkpoint
from lib.training.params import TrainingError


def folder(out_dir: Path) -> Path:
    """Where the work on ``out_dir`` is."""
    return out_dir.with_name(out_dir.name + ".part")


def claim(out_dir: Path, params: Mapping[str, Any], groups: Sequence[Sequence[Example]]) -> Path:
    """Makes the work folder, or checks that the work in it is of the same parameters and data; returns it.

    ``params``: JSON-able, all that the result depends on beside the data. Work without a checkpoint is no loss and is
    begun anew. Raises TrainingError.
    """
    work = folder(out_dir)
    mark = work / "run.json"
    run: dict[str, Any] = {"params": dict(params), "data": _digest(groups)}
    (work / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not mark.is_file() or last_checkpoint(work / "checkpoints") is None:
        write_json(mark, run)
        return work
    old = json.loads(mark.read_text(encoding="utf-8"))
    if old != run:
        changed = [k for k, v in run["params"].items() if old["params"].get(k) != v] or ["the examples"]
        raise TrainingError(
            f"{work}: holds an interrupted training with another {', '.join(changed)}; "
            "delete this folder to start anew, or put the old values back to go on"
        )
    return work


def _digest(groups: Sequence[Sequence[Example]]) -> str:
    digest = hashlib.sha256()
    for group in groups:
        for e in group:
            digest.update(f"{e.id}\t{e.text}\t{json.dumps(e.gold, sort_keys=True, default=str)}\n".encode())
    return digest.hexdigest()


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
