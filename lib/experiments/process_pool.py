"""Several models answer at a time, each part of the work in a process with cores of its own.

Requests are dealt out in slices of neighbours, so that all cores are busy to the end and requests of one context mostly
stay together. What a slice answered is kept; an interrupted run goes on with those that are left. Processes have their
own cores but share the memory, so that times are longer than alone.

>>> rows = of_files([Asked("tiny", path, {"dev": dev}), Asked("other", other, {"dev": dev})], task)  # doctest: +SKIP
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from queue import Queue
from threading import Thread
from typing import Any

from tqdm.auto import tqdm

from lib.core import files
from lib.core.files import Row
from lib.core.task import Example, Task
from lib.experiments import predictions
from lib.experiments.predictions import Asked

SLICE = 150
"""Requests of a slice: few enough that processes end together, enough that opening the model does not count."""


@dataclass(frozen=True)
class Slice:
    """Some of the requests that a file is asked, and what tells their answers from others."""

    asked: Asked
    key: str


def of_files(asked: Sequence[Asked], task: Task, threads: int = 2, at_once: int = 1) -> list[Row]:
    """The records of all files, in order. ``at_once``: how many processes answer, 0 = as many as there are cores for.

    What was answered before is only read. Raises what ``lib.experiments.predictions.of_file`` raises, once the others are done.
    """
    cores = lanes(threads, at_once)
    keys = [one.key(threads, predictions.processor()) for one in asked]  # each reads a whole file: once
    parts = [_slices(one, key) if len(cores) > 1 else [] for one, key in zip(asked, keys, strict=True)]
    left = [part for found in parts for part in found if not predictions.complete(part.asked.kept, part.key)]
    if left:
        _run(left, task, threads, cores)
    return [
        row
        for one, key, found in zip(asked, keys, parts, strict=True)
        for row in _collected(one, key, found, task, threads)
    ]


def lanes(threads: int, at_once: int) -> list[list[int]]:
    """The cores of each process: as many processes as asked for and as there are cores for."""
    if not hasattr(os, "sched_getaffinity"):
        return [[]]
    cores = sorted(os.sched_getaffinity(0))
    most = max(len(cores) // threads, 1)
    count = min(at_once, most) if at_once else most
    return [cores[i * threads : (i + 1) * threads] for i in range(count)]


def _collected(asked: Asked, key: str, parts: Sequence[Slice], task: Task, threads: int) -> list[Row]:
    """All records of a file; those that its slices did not answer are asked for now, so that an error shows."""
    whole = [part.asked.kept for part in parts if predictions.complete(part.asked.kept, part.key)]
    rows = predictions.of_file(asked, task, threads, [row for path in whole for row in files.read_jsonl(path)], key)
    for path in (path for part in parts for path in (part.asked.kept, part.asked.kept.with_suffix(".json"))):
        path.unlink(missing_ok=True)
    return rows


def _slices(asked: Asked, key: str) -> list[Slice]:
    """Those of a file that is not answered."""
    if predictions.complete(asked.kept, key):
        return []
    flat = [(test, example) for test, examples in asked.tests.items() for example in examples]
    found = []
    for number, first in enumerate(range(0, len(flat), SLICE), 1):
        tests: dict[str, list[Example]] = {}
        for test, example in flat[first : first + SLICE]:
            tests.setdefault(test, []).append(example)
        found.append(Slice(replace(asked, tests=tests, part=f".{number}"), files.digest([key, number, SLICE])))
    return found


def _count(tests: Mapping[str, Sequence[Any]]) -> int:
    return sum(map(len, tests.values()))


def _run(parts: Sequence[Slice], task: Task, threads: int, cores: Sequence[list[int]]) -> None:
    """Has processes answer the slices, the longest first; one that fails leaves what it has answered."""
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
    end_with(os.getppid())
    os.sched_setaffinity(0, cores)
    predictions.of_file(part.asked, task, threads, key=part.key, progress=False)


def end_with(parent: int) -> None:
    """Ends this process, a child of ``parent``, when that has ended, however it did."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
