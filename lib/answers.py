"""What each model answers to each test, kept beside its file, so that a new model in a list costs its own answers only.

The records are those of lib/evaluation.py. They are asked for again if the model, the requests, the way of asking, the
processor or this code changed; an interrupted model goes on where it was.

>>> rows = of_file("tiny", Path("runs/gpu/06_models/tiny.gguf"), {"dev": dev}, task)     # doctest: +SKIP
>>> rows = of_files([Asked("tiny", path, {"dev": dev}), Asked("other", other, {"dev": dev})], task)  # doctest: +SKIP
>>> of_student("student torch", student, {"dev": dev}, task, folder / "torch.jsonl")     # doctest: +SKIP
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from tqdm.auto import tqdm

from lib import provenance, records
from lib.evaluation import evaluate
from lib.records import Row
from lib.serve import GgufStudent
from lib.student import Student, weights_digest
from lib.task import Example, System, Task
from lib.torch_student import TorchStudent

Tests = Mapping[str, Sequence[Example]]
"""Resolved examples by the name of their test."""


def of_file(
    name: str,
    file: Path,
    tests: Tests,
    task: Task,
    threads: int = 2,
    grammar: bool = True,
    max_new: int = 256,
    processor: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> list[Row]:
    """The records of a GGUF, asked one request at a time, under ``name``; kept beside it.

    An answer of more than ``max_new`` tokens counts as wrong. ``processor``: what answers, if this process is kept to
    a part of it. Raises GgufError for a file that is no student of
    ``task``.
    """
    how = {"threads": threads, "grammar": grammar, "max_new": max_new}

    def system() -> System:
        return GgufStudent(file, task, **how)  # type: ignore[arg-type]

    kept = file.with_name(f"{file.stem}{'' if grammar else '_free'}_answers.jsonl")
    key = [name, records.sha256(file), how, processor or _processor()]
    return _kept(kept, key, name, system, tests, task, progress)


@dataclass(frozen=True)
class Asked:
    """What a file is asked, under which name and how (as ``of_file``)."""

    name: str
    file: Path
    tests: Tests
    how: Mapping[str, Any] = field(default_factory=dict)


def of_files(asked: Sequence[Asked], task: Task, threads: int = 2, at_once: int = 1) -> list[Row]:
    """The records of all, in order. ``at_once``: how many are asked at a time, 0 = as many as the cores allow.

    Each has ``threads`` cores of its own then, but they share the memory, so that times are longer than alone. Those
    that were answered before are only read. Raises what ``of_file`` raises, once the others are done.
    """
    lanes = _lanes(threads, at_once)
    if len(lanes) > 1:
        _side_by_side(asked, task, threads, lanes)
    return [row for one in asked for row in of_file(one.name, one.file, one.tests, task, threads, **one.how)]


def _lanes(threads: int, at_once: int) -> list[list[int]]:
    """The cores of each process: as many processes as asked for and as there are cores for."""
    if not hasattr(os, "sched_getaffinity"):
        return [[]]
    cores = sorted(os.sched_getaffinity(0))
    most = max(len(cores) // threads, 1)
    count = min(at_once, most) if at_once else most
    return [cores[i * threads : (i + 1) * threads] for i in range(count)]


def _side_by_side(asked: Sequence[Asked], task: Task, threads: int, lanes: Sequence[list[int]]) -> None:
    """Has processes answer; what they write is read by who called. The longest list of requests begins first."""
    processor = _processor()
    free: Queue[list[int]] = Queue()
    for lane in lanes:
        free.put(lane)
    order = sorted(asked, key=lambda one: -sum(map(len, one.tests.values())) * one.file.stat().st_size)
    context = get_context("spawn")
    with ThreadPoolExecutor(len(lanes)) as pool, tqdm(total=len(order), unit=" models", disable=None) as bar:

        def run(one: Asked) -> None:
            lane = free.get()
            job = (one, task, threads, lane, processor)
            process = context.Process(target=_answer_alone, args=job, daemon=True)
            process.start()
            process.join()
            free.put(lane)
            bar.update()  # one that failed is asked again by the caller, whose error tells why

        list(pool.map(run, order))


def _answer_alone(one: Asked, task: Task, threads: int, cores: list[int], processor: dict[str, Any]) -> None:
    """In a process of its own, which ends when the one that started it does."""
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os.sched_setaffinity(0, cores)
    of_file(one.name, one.file, one.tests, task, threads, **one.how, processor=processor, progress=False)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def of_student(name: str, student: Student, tests: Tests, task: Task, kept: Path) -> list[Row]:
    """The records of a student in torch under ``name``, asked in batches without a grammar; kept in ``kept``."""

    def system() -> System:
        return TorchStudent(student, task, name)

    return _kept(kept, [name, weights_digest(student.model)], name, system, tests, task)


def _kept(
    path: Path,
    key: list[Any],
    name: str,
    system: Callable[[], System],
    tests: Tests,
    task: Task,
    progress: bool = True,
) -> list[Row]:
    asked = {test: [[e.id, e.text, e.context, e.gold] for e in examples] for test, examples in tests.items()}
    whole = records.digest([*key, asked, _code()])
    done = path.with_suffix(".json")
    if done.is_file() and path.is_file():
        there = records.read_json(done)
        if there.get("key") == whole and there.get("sha256") == records.sha256(path):
            return records.read_jsonl(path)
    with records.Resumable(path, key=whole) as out:
        model = system()
        model.name = name
        rows = [row for test, examples in tests.items() for row in evaluate(model, examples, task, test, out, progress)]
    records.write_json(done, {"key": whole, "sha256": records.sha256(path)})
    return rows


def _processor() -> dict[str, Any]:
    hardware = provenance.hardware()
    return {name: hardware[name] for name in ("cpu", "cores")}


@cache
def _code() -> str:
    """What tells this code from other code."""
    return provenance.library("from lib import answers")
