"""The command that makes the compressed models of a profile, each recovered by distillation from the assistant.

    python -m lib.compression.shrink                         (or make compress)
    python -m lib.compression.shrink --only super-tiny       one of them

``params/compress.yaml`` names the models: a shape to cut the assistant to (lib/compression/iterate.py), or none, where the
assistant itself learns to be rounded (lib/training/qat.py). A model is written to ``runs/<profile>/06_NAME``, and what it
is after the last cut and before recovery to ``06_NAME_pruned``. Complete ones are not made again; a killed run goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.compression import iterate
from lib.compression.shape import Shape
from lib.core import files, paths
from lib.core.examples import by_context
from lib.core.files import Row
from lib.core.params import ParamsError, check, read_yaml
from lib.core.task import Example, StudyTask
from lib.data import study_data
from lib.experiments import ablate
from lib.model import student as students
from lib.tasks import load
from lib.training import distill
from lib.training.params import Distillation

PARAMS = paths.PARAMS / "compress.yaml"
DEFAULTS: dict[str, Any] = {
    "task": "",
    "run": "",
    "assistant": "",
    "key": "",
    "teacher_repeats": 1,
    "models": {"": {"": None}},
    "training": {"": None},
    "held_out": 0,
}
_NEEDED = ("task", "run", "assistant", "key", "models", "training")
_MODEL: dict[str, Any] = {"shape": {"": None}, "training": {"": None}}


@dataclass(frozen=True)
class Job:
    """What the models of a profile have in common."""

    task: StudyTask
    run: Path
    assistant: Path
    groups: list[list[Example]]
    held_out: list[list[Example]]


def parameters(path: Path) -> dict[str, Any]:
    """The parameters of the command, checked. Raises ParamsError, PruneError or TrainingError that names the key."""
    given = read_yaml(path)
    check(DEFAULTS, given, path.name)
    values = {**DEFAULTS, **given}
    for key in _NEEDED:
        if not given.get(key):
            raise ParamsError(f"{path.name}: {key}: missing; see params/compress.yaml")
    for name, model in values["models"].items():
        check(_MODEL, model, f"{path.name}: models: {name}")
        settings, shape = plan(values, name)
        if not (shape.cuts or settings.qat):
            raise ParamsError(f"{path.name}: models: {name}: neither cut nor rounded: give a shape, or rounded")
    return values


def plan(values: Mapping[str, Any], name: str) -> tuple[Distillation, Shape]:
    """How a model is trained, and its shape."""
    model = values["models"][name]
    return Distillation.read({**values["training"], **model.get("training", {})}, f"models: {name}"), Shape.read(
        model.get("shape", {})
    )


def prepare(values: Mapping[str, Any]) -> Job:
    """Reads the profile's data. Raises ParamsError, PathError, RecordError or TaskError."""
    task, run = load(values["task"]), ablate.data_folder(values)
    data = study_data.of_run(task, run)
    groups = by_context(study_data.repeated(data.accepted, {"teacher": values["teacher_repeats"]}), values["key"])
    held_out = by_context(data.part(ablate.DEV, values["held_out"]), values["key"])
    return Job(task, run, run / values["assistant"], groups, held_out)


def make(job: Job, name: str, settings: Distillation, shape: Shape) -> list[Row]:
    """Makes one model, unless it is there; a row for each cut. Raises as ``compress`` and ``distill`` do."""
    out = job.run / f"06_{name}"
    if shape.cuts:
        return iterate.compress(settings, job.task, job.assistant, shape, job.groups, out, job.held_out)
    facts = {**settings.model_dump(), "assistant": files.sha256(job.assistant), "student": files.sha256(job.assistant)}
    if not iterate.is_trained(out, facts):
        distill.train(settings, job.task, job.assistant, job.assistant, job.groups, out, job.held_out)
    return []


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.compression.shrink", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--params", type=Path, default=PARAMS, metavar="FILE", help="parameters (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="these models alone")
    given = parser.parse_args(arguments)
    try:
        values = parameters(given.params)
        names = given.only or list(values["models"])
        if unknown := [name for name in names if name not in values["models"]]:
            raise ParamsError(f"--only: no model '{unknown[0]}'; known: {', '.join(values['models'])}")
        job = prepare(values)
        for name in names:
            for row in make(job, name, *plan(values, name)):
                print(f"{name}, cut {row['step']}: {row['parameters']:,} weights, KL {row['kl_after']}")
            weights = students.load(job.run / f"06_{name}").model.num_parameters()
            print(f"{name}: {weights:,} weights in {paths.relative(job.run / f'06_{name}')}")
    except (ValueError, OSError) as error:
        print(f"shrink: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
