"""Speed, memory and size side by side, in one run on one machine: ``make bench`` or ``python -m lib.bench``.

The released models, their parent, rule systems and large models as a user would run them answer the same one-command
requests, each in a process of its own on the same cores: p50 and p95 cold and warm, tokens a second, peak memory; and
beside each model the limits that this machine sets it (``lib.bench.limits``). ``params/bench.yaml`` says who and what;
results are ``bench.csv``, ``bench.json`` and ``requests.jsonl`` in ``--out``. A second part measures training.

    python -m lib.bench --llm Qwen2.5-Coder-1.5B=models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf
    python -m lib.bench --only training --parent runs/gpu/03_student
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib.bench import table
from lib.bench.limits import weights
from lib.bench.requests import SEEDS, TESTS, by_context, draw, one_command, read
from lib.bench.run import Run, Setting, measure, worker
from lib.bench.systems import BenchError, Entrant, check_names, entrants, parameters, parse_llms
from lib.core import files, paths, provenance
from lib.core.files import Row
from lib.core.task import StudyTask
from lib.tasks import load

PARAMETERS = paths.PARAMS / "bench.yaml"
BUSY = 0.25
"""Load of a core, from others, above which figures are not worth much."""


def systems(
    task: StudyTask,
    values: dict[str, Any],
    out: Path,
    models: Sequence[Path] = (),
    llms: dict[str, Path] | None = None,
    run: Run = worker,
) -> tuple[str, bool]:
    """Measures all systems that are here; returns the table, and whether every one of them worked.

    Writes to ``out``. Raises BenchError, ParamsError, GgufError or TaskError before anything long has begun.
    """
    found, absent = entrants(task, values, models, llms or {}, out / "models")
    draw(task, values["sample"], out / "sample")
    check_names(found, task, read(task, out / "sample", SEEDS))
    groups = [[e.id for e in group] for group in one_command(by_context(task, out / "sample"), values["seed"])]
    held = {e.name: weights(e.file) for e in found if e.file}
    setting, groups = _setting(values, out / "sample", groups)
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    sizes = [model.decode_bytes for model in held.values()]
    with files.alone(out):  # two at a time would measure each other
        rows, failed = measure(found, groups, setting, sizes, out / "requests.jsonl", _key(values, found, out), run)
    shown = table.summary(found, rows, held, failed)
    table.write(out, shown, _document(values, found, rows, absent, load_average))
    return _text(shown, rows, absent, load_average), not failed


def _setting(values: dict[str, Any], folder: Path, groups: list[list[str]]) -> tuple[Setting, list[list[str]]]:
    """What the processes are told, and the contexts that are left once one is put aside to be forgotten in."""
    if len(groups) < 2:
        raise BenchError("params/bench.yaml: the sample has fewer than two contexts: raise sample.dev")
    return Setting(values["task"], values["threads"], folder.resolve(), groups[-1][0]), groups[:-1]


def _key(values: dict[str, Any], found: Sequence[Entrant], out: Path) -> list[Any]:
    """What rows measured earlier depend on."""
    measured = [values["threads"], files.sha256(out / "sample" / TESTS), table.models(found)]
    code = provenance.library("import lib.bench.worker, lib.runtime.gguf_student, lib.teacher.pipeline, lib.llm.gguf")
    return [*measured, code, provenance.versions(), provenance.hardware()]


def _document(
    values: dict[str, Any], found: Sequence[Entrant], rows: Sequence[Row], absent: dict[str, str], load_average: float
) -> Row:
    """What ``bench.json`` says of the run beside the figures."""
    machine = next(row for row in rows if row["kind"] == "machine")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "machine": {**provenance.hardware(), "load_average_before": round(load_average, 2), **machine},
        "versions": provenance.versions(),
        "parameters": values,
        "models": table.models(found),
        "left_out": absent,
    }


def _text(summary: Sequence[Row], rows: Sequence[Row], absent: dict[str, str], load_average: float) -> str:
    shown = table.text(summary, table.rates_of(rows), absent)
    cores = provenance.hardware()["cores"] or 1
    busy = f"\n\nThe machine was busy before the run (load {load_average:.1f}): measure again when it is quiet."
    return shown + (busy if load_average > BUSY * cores else "")


def training(task: StudyTask, parent: str) -> str:
    """The part about training: a line a figure."""
    from lib.bench import training

    folder = paths.ROOT / parent
    student = folder if parent and (folder / "student.json").is_file() else training.newest(paths.runs())
    return "\n".join(f"{what:60} {figure:>12}" for what, figure in training.lines(task, student))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lib.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("systems", "training"), help="one of the two parts (default: both)")
    parser.add_argument("--params", type=Path, default=PARAMETERS, help="(default: params/bench.yaml)")
    parser.add_argument("--task", help="a package of lib/tasks (default: that of the parameters)")
    parser.add_argument("--threads", type=int, help="threads and cores (default: those of the parameters)")
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="a student's GGUF or a folder of them; may be repeated"
    )
    parser.add_argument("--parent", help="the folder or GGUF that they were made from; '' for none")
    parser.add_argument("--llm", action="append", default=[], metavar="NAME=FILE", help="a chat model's GGUF")
    parser.add_argument("--out", type=Path, help="where results go (default: runs/bench)")
    return parser.parse_args(arguments)


def _values(options: argparse.Namespace) -> dict[str, Any]:
    values = parameters(options.params)
    given = {key: getattr(options, key) for key in ("task", "threads", "parent")}
    values |= {key: value for key, value in given.items() if value is not None}
    if values["threads"] < 1:
        raise BenchError(f"--threads {values['threads']}: expected at least 1")
    return values


def _run(options: argparse.Namespace) -> int:
    values = _values(options)
    task, code = load(values["task"]), 0
    if options.only != "training":
        out = options.out or paths.runs() / "bench"
        shown, well = systems(task, values, out, options.model, parse_llms(options.llm))
        print(f"{shown}\n\nwritten to {paths.relative(out)}: bench.csv, bench.json, requests.jsonl\n")
        code = 0 if well else 1
    if options.only != "systems":
        print(training(task, values["parent"]))
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return _run(_options(arguments))
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
