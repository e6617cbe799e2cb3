"""Several models answer at a time, each part of the work in a process with cores of its own.

Requests are dealt out in slices of neighbours, so that all cores are busy to the end and requests of one context mostly
stay together. What a slice answered is kept; an interrupted run goes on with those that are left. Processes have their
own cores but share the memory, so that times are longer than alone.

>>> rows = of_files([Asked("tiny", path, {"dev": dev}), Asked("other", other, {"dev": dev})], task)  # doctest: +SKIP
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from tqdm.auto import tqdm

from lib import answers, records
from lib.answers import Asked
from lib.evaluation import evaluate
from lib.records import Row
from lib.task import Example, Task

SLICES = 3
"""How many slices each process gets, about: more end together more evenly, but each opens its model."""


@dataclass(frozen=True)
class Slice:
    """Some of the requests of ``asked``, and where its records go."""

    asked: Asked
    path: Path
    key: str


def of_files(asked: Sequence[Asked], task: Task, threads: int = 2, at_once: int = 1) -> list[Row]:
    """The records of all files, in order. ``at_once``: how many processes answer, 0 = as many as there are cores for.

    What was answered before is only read. Raises what ``lib.answers.of_file`` raises, once the others are done.
    """
    cores = lanes(threads, at_once)
    left = [one for one in asked if not answers.complete(one.kept, one.key(threads, answers.processor()))]
    parts: dict[str, list[Slice]] = {}
    if len(cores) > 1:
        parts = {one.name: list(_slices(one, left, threads, len(cores))) for one in left}
        _run([part for found in parts.values() for part in found], task, threads, cores)
    return [row for one in asked for row in _collected(one, parts.get(one.name, []), task, threads)]


def lanes(threads: int, at_once: int) -> list[list[int]]:
    """The cores of each process: as many processes as asked for and as there are cores for."""
    if not hasattr(os, "sched_getaffinity"):
        return [[]]
    cores = sorted(os.sched_getaffinity(0))
    most = max(len(cores) // threads, 1)
    count = min(at_once, most) if at_once else most
    return [cores[i * threads : (i + 1) * threads] for i in range(count)]


def _collected(asked: Asked, parts: Sequence[Slice], task: Task, threads: int) -> Iterator[Row]:
    """All records of a file; those that its slices did not answer are asked for now, so that an error shows."""
    known = [row for part in parts if part.path.is_file() for row in records.read_jsonl(part.path)]
    yield from answers.of_file(asked, task, threads, known)
    for part in parts:
        part.path.unlink(missing_ok=True)


def _slices(asked: Asked, all_of_them: Sequence[Asked], threads: int, lanes: int) -> Iterator[Slice]:
    size = math.ceil(sum(_count(one.tests) for one in all_of_them) / (SLICES * lanes))
    flat = [(test, example) for test, examples in asked.tests.items() for example in examples]
    count = math.ceil(len(flat) / max(size, 1))
    each = math.ceil(len(flat) / max(count, 1))
    key = asked.key(threads, answers.processor())
    for number in range(count):
        part = flat[number * each : (number + 1) * each]
        tests: dict[str, list[Example]] = {}
        for test, example in part:
            tests.setdefault(test, []).append(example)
        path = asked.kept.with_name(f"{asked.kept.stem}.{number + 1}-of-{count}.jsonl")
        yield Slice(replace(asked, tests=tests), path, records.digest([key, number, count]))


def _count(tests: Mapping[str, Sequence[Any]]) -> int:
    return sum(map(len, tests.values()))


def _run(parts: Sequence[Slice], task: Task, threads: int, cores: Sequence[list[int]]) -> None:
    """Has processes answer the slices, the longest first; one that fails leaves nothing."""
    free: Queue[list[int]] = Queue()
    for lane in cores:
        free.put(lane)
    order = sorted(parts, key=lambda part: -_count(part.asked.tests) * part.asked.file.stat().st_size)
    context = get_context("spawn")
    total = sum(_count(part.asked.tests) for part in order)
    with ThreadPoolExecutor(len(cores)) as pool, tqdm(total=total, unit=" requests", disable=None) as bar:

        def run(part: Slice) -> None:
            lane = free.get()
            process = context.Process(target=_answer, args=(part, task, threads, lane), daemon=True)
            process.start()
            process.join()
            free.put(lane)
            bar.update(_count(part.asked.tests))

        list(pool.map(run, order))


def _answer(part: Slice, task: Task, threads: int, cores: list[int]) -> None:
    """In a process of its own, which ends when the one that started it does."""
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os.sched_setaffinity(0, cores)
    system = answers.student(part.asked, task, threads)
    system.name = part.asked.name
    with records.Resumable(part.path, key=part.key) as out:
        for test, examples in part.asked.tests.items():
            evaluate(system, examples, task, test, out, progress=False)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
