"""Speed, memory and size side by side, in one run on one machine: ``make bench`` or ``python -m lib.bench``.

The released models, their parent, rule systems and large models as a user would run them answer the same one-command
requests, each in a process of its own on the same cores. ``params/bench.yaml`` says who and what; results are
``bench.csv``, ``bench.json`` and ``requests.jsonl`` in ``--out``. A killed run goes on where it stopped.

    python -m lib.bench --llm Qwen2.5-Coder-1.5B=models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf
    python -m lib.bench --only super-tiny --warm 8 --cold 2        # a quick look at one model
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.bench import table
from lib.bench.systems import BenchError, BenchParams, Entrant, entrants
from lib.bench.worker import TESTS, by_context, draw, plan
from lib.core import files, paths, provenance
from lib.core.files import Resumable, Row
from lib.core.params import read_yaml
from lib.core.task import StudyTask
from lib.tasks import load

PARAMETERS = paths.PARAMS / "bench.yaml"
GIVEN = {"task": str, "parent": str, "threads": int, "warm": int, "cold": int}
BUSY = 0.25  # load of a core, from others, above which figures are not worth much
Run = Callable[[Mapping[str, Any]], Iterable[Row]]


def worker(job: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a job done by ``lib.bench.worker`` in a process of its own. Raises BenchError with its last line."""
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT), "OMP_NUM_THREADS": str(job["threads"])}
    command = [sys.executable, "-m", "lib.bench.worker", json.dumps(job)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8") as process,
    ):
        try:
            yield from map(json.loads, process.stdout or ())
            if process.wait():
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["no output"])[-1]
                raise BenchError(f"{last} (exit code {process.returncode})")
        finally:
            process.kill()


def measure(
    found: Sequence[Entrant], groups: Mapping[str, Sequence[Sequence[str]]], told: Any, out: Resumable, run: Run
) -> dict[str, str]:
    """Appends all rows to ``out``; the errors of the systems that failed, by name. Whole systems are not asked again.

    By sample: ``groups``, ids of requests by context, and ``told``, what its jobs have in common. Raises BenchError if
    the machine itself cannot be measured, TaskError if the groups are too few.
    """
    known = {(row.get("system"), row["kind"]) for row in out.rows}
    rest = [e for e in found if (e.name, "speed" if e.file else "process") not in known]
    blocks, failed = {e.name: plan(groups[e.sample], e.cold, e.warm) for e in rest}, {}
    with tqdm(total=sum(len(b) for bs in blocks.values() for b in bs), unit=" requests", disable=None) as bar:

        def keep(job: Mapping[str, Any], sample: str = "sample") -> None:
            for row in run({**told[sample], **job}):
                out.append(row)
                bar.update("id" in row)

        if (None, "machine") not in known:
            keep({})
        for entrant in rest:
            bar.set_description(entrant.name)
            try:
                system = {**asdict(entrant), "file": str(entrant.file or "")}
                keep({"system": system, "blocks": blocks[entrant.name]}, entrant.sample)
            except ValueError as error:
                failed[entrant.name] = str(error)
    return failed


def bench(
    values: BenchParams,
    out: Path,
    models: Sequence[Path] = (),
    llms: Mapping[str, Path] | None = None,
    only: Sequence[str] = (),
    task: StudyTask | None = None,
    run: Run = worker,
) -> tuple[str, bool]:
    """Measures all systems that are here, or those named by ``only``; the table, and whether all of them worked.

    Writes to ``out``. Raises BenchError, ParamsError, GgufError or TaskError before anything long has begun.
    """
    task, load_average = task or load(values.task), os.getloadavg()[0]
    found, absent = entrants(task, values, models, llms or {}, out / "models")
    for name in set(only) - {e.name for e in found}:
        raise BenchError(f"--only {name}: {absent.get(name) or 'use one of: ' + '; '.join(e.name for e in found)}")
    found, absent = ([e for e in found if e.name in only], {}) if only else (found, absent)
    groups, told = _samples(task, values, out.resolve(), {e.sample for e in found} | {"sample"})
    held = {e.name: table.held(e.file) for e in found if e.file}
    asked = {e.name: {**asdict(e), "file": paths.relative(e.file) if e.file else ""} for e in found}
    code = provenance.library("import lib.bench.worker, lib.runtime.gguf_student, lib.llm.gguf", task.name)
    tests = [files.sha256(Path(one["folder"]) / TESTS) for one in told.values()]
    key = [values.threads, tests, asked, code, provenance.versions(), provenance.hardware()]
    with files.alone(out), Resumable(out / "requests.jsonl", key) as kept:  # two at a time would measure each other
        failed = measure(found, groups, told, kept, run)
        rows = list(kept.rows)
    machine = next(row for row in rows if row["kind"] == "machine")
    shown = table.summary(found, rows, held, failed, machine)
    facts = {"load_average_before": round(load_average, 2), **machine}
    table.write(out, shown, {**_document(facts, values), "models": asked, "left_out": absent})
    busy = f"The machine was busy before the run (load {load_average:.1f}): measure again when it is quiet."
    text = table.text(shown, machine, absent)
    return text + (f"\n\n{busy}" if load_average > BUSY * (os.cpu_count() or 1) else ""), not failed


def _samples(task: StudyTask, values: BenchParams, out: Path, names: Collection[str]) -> tuple[Row, Row]:
    """Draws the samples; by name: ids of requests by context, and what its jobs have in common."""
    groups, told = Row(), Row()
    for name in sorted(names, reverse=True):
        draw(task, {**values.sample, **(values.large if name == "large" else {})}, out / name)
        contexts = [[e.id for e in group] for group in by_context(task, out / name, values.seed)]
        if len(contexts) < 2:  # the last one is put aside, to be asked between blocks so that they find an empty cache
            raise BenchError(f"params/bench.yaml: the {name} has fewer than two contexts: raise sample.dev")
        *groups[name], (spare, *_) = contexts
        told[name] = {"task": values.task, "threads": values.threads, "folder": str(out / name), "spare": spare}
    return groups, told


def _document(machine: Row, values: BenchParams) -> Row:
    """When, where and with what a bench was run."""
    made: Row = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": provenance.commit()}
    made |= {"machine": {**provenance.hardware(), **machine}, "versions": provenance.versions()}
    return {**made, "parameters": values.model_dump()}


def _llm(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not name or not Path(file).is_file():
        raise BenchError(f"--llm {text}: expected NAME=FILE, a GGUF that is there")
    return name, Path(file)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lib.bench", description=(__doc__ or "").splitlines()[0])
    add: Any = parser.add_argument
    several: dict[str, Any] = {"action": "append", "default": []}
    add("--only", **several, metavar="SYSTEM", help="measure this system alone; may be repeated")
    add("--model", **several, type=Path, help="a student's GGUF or a folder of them; may be repeated")
    add("--llm", **several, metavar="NAME=FILE", help="a chat model's GGUF; may be repeated")
    add("--params", type=Path, default=PARAMETERS, help="(default: params/bench.yaml)")
    add("--out", type=Path, default=paths.runs() / "bench", help="where results go (default: runs/bench)")
    for name, kind in GIVEN.items():
        add(f"--{name}", type=kind, help="in place of the parameter of that name")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    given = {key: value for key in GIVEN if (value := getattr(options, key)) is not None}
    try:
        values = BenchParams.read({**read_yaml(options.params), **given}, options.params.name)
        if options.only and not any(name.startswith("parent") for name in options.only):
            large = {name: one for name, one in values.llms.items() if name in options.only}
            values = values.model_copy(update={"parent": "", "llms": large})  # else they would be exported and hashed
        text, well = bench(values, options.out, options.model, dict(map(_llm, options.llm)), options.only)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{text}\n\nwritten to {paths.relative(options.out)}: bench.csv, bench.json, requests.jsonl")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
