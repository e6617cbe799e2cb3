"""Clients learn tools that the centre never saw, and their requests stay with them: what each way gives and takes.

    make federated                     (or python -m lib.federated, with params/federated.yaml or --params)

All rows start from one student, trained without the new tools. The others: each client alone; all data in one place;
and federations (lib/federated/local.py) in Flower's simulation. All are asked for new tools and for old ones, in
contexts that nobody trained on. Work in progress is in ``runs/federated``; a finished row is not made again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.core import files, paths, provenance
from lib.core.examples import by_context
from lib.core.files import Row
from lib.core.params import ParamsError
from lib.core.task import Example, Task
from lib.evaluation import bootstrap
from lib.evaluation.evaluate import evaluate
from lib.federated.settings import CENTRAL, JOB, LOCAL, START, Federation, Job
from lib.model import student as students
from lib.model.student import Student
from lib.model.torch_student import TorchStudent
from lib.training import finetune
from lib.training.work import peak_gb

PARAMS = paths.PARAMS / "federated.yaml"
FACTS, RECORDS = "facts.json", "records.jsonl"
MISSING = "flwr is not installed: make federated installs it (requirements-federated.txt)"
COSTS = ("up_mb", "down_mb", "peak_mb")

Made = tuple[list[tuple[Task, Student]], Row]  # what is asked, and facts


def run(job: Job) -> tuple[list[Row], Row]:
    """Trains and asks one row, unless that is done: records of who was right, and facts."""
    folder = Path(job.work)
    if not (folder / FACTS).is_file():
        centre = {**job.settings.centre, "seed": job.seed}
        finetune.train(centre, job.data.task, by_context(job.data.centre, job.settings.key), job.start)
        models, facts = WAYS.get(job.strategy, _federated)(job)
        rows: list[Row] = []
        for number, (task, model) in enumerate(models):
            with files.Resumable(folder / f"answers-{number}.jsonl", key=files.sha256(job.start)) as out:
                system = TorchStudent(model, task, job.strategy)
                for test, examples in job.data.tests.items():
                    rows += evaluate(system, examples, task, test, out)
        right = pd.DataFrame(rows).astype({"exact": float}).groupby(["test", "id"], sort=False)["exact"].mean()
        found = right.reset_index().assign(variant=job.strategy, seed=job.seed)
        files.write_jsonl(folder / RECORDS, found.to_dict("records"))
        files.write_json(folder / FACTS, {"variant": job.strategy, "seed": job.seed, **facts})
    return files.read_jsonl(folder / RECORDS), files.read_json(folder / FACTS)


def _start(job: Job) -> Made:
    return [(job.data.task, students.load(job.start))], {}


def _alone(job: Job) -> Made:
    """Each client by itself; all are asked, and a request counts as right in the share of them that is."""
    made = [_tuned(job, rows, f"client-{i}", job.settings.rounds) for i, rows in enumerate(job.data.clients)]
    return [(job.data.task, student) for student, _ in made], {"peak_mb": max(peak for _, peak in made)}


def _central(job: Job) -> Made:
    """What clients have in one place, with as many steps as they take together."""
    rows, times = [e for own in job.data.clients for e in own], job.settings.rounds * job.settings.clients
    student, peak = _tuned(job, rows, CENTRAL, times)
    return [(job.data.task, student)], {"peak_mb": peak}


def _tuned(job: Job, rows: Sequence[Example], name: str, times: int) -> tuple[Student, float]:
    params, out = job.settings.of(job.strategy, job.seed, times), Path(job.work) / name
    params = params.model_copy(update={"base": str(job.start)})
    finetune.train(params, job.data.task, by_context(rows, job.settings.key), out)
    return students.load(out), 1000 * (peak_gb(out) or float("nan"))


def _federated(job: Job) -> Made:
    from lib.federated import apps
    from lib.federated.local import learnt

    folder = Path(job.work)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / apps.ROUNDS).is_file():
        os.environ[JOB] = job.told()
        apps.simulate()
    rounds = pd.DataFrame(files.read_json(folder / apps.ROUNDS)["rounds"])
    facts: Row = {"up_mb": float(rounds["up_mb"].sum()), "down_mb": float(rounds["down_mb"].sum())}
    facts |= {"peak_mb": float(rounds["peak_mb"].max()), "faults": sum(rounds["faults"], [])}
    with np.load(folder / apps.RESULT) as arrays:
        return [learnt(job, dict(arrays))], facts


WAYS: dict[str, Callable[[Job], Made]] = {START: _start, LOCAL: _alone, CENTRAL: _central}


def pack(settings: Federation, rows: Sequence[Row], facts: Sequence[Row]) -> pd.DataFrame:
    """Writes ``out`` and returns its table: paired differences from the start, and what each row sent and needed."""
    costs = pd.DataFrame(facts).reindex(columns=["variant", *COSTS]).groupby("variant").mean()
    table = bootstrap.compare(pd.DataFrame(rows), START).join(costs, on="variant")
    about: Row = {"commit": provenance.commit(), "hardware": provenance.hardware(), "versions": provenance.versions()}
    with files.replacing(paths.ROOT / settings.out) as part:
        files.write_xz(part / bootstrap.RECORDS, "".join(files.dumps(row) + "\n" for row in rows))
        files.write_text(part / bootstrap.TABLE, table.assign(by_seed=table["by_seed"].map(str)).to_csv(index=False))
        files.write_json(part / "provenance.json", {**about, "parameters": settings.model_dump(), "runs": facts})
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.federated", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--params", type=Path, default=PARAMS)
    options = parser.parse_args(arguments)
    try:
        if not find_spec("flwr"):
            raise ParamsError(MISSING)
        first = Job(str(options.params.resolve()), START, 0, "")
        jobs = [
            first.placed(name, seed) for seed in first.settings.seeds for name in (START, *first.settings.strategies)
        ]
        made: list[Any] = [run(job) for job in jobs]
        table = pack(first.settings, [row for rows, _ in made for row in rows], [facts for _, facts in made])
        print(table.round(3).to_string(index=False))
    except (ValueError, OSError) as error:
        print(f"federated: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
