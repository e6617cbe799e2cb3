"""What each model answers to each test, kept beside its file: a new model or test costs its own answers only.

Records are those of lib/evaluation/evaluate.py. They are made again if the model, the requests, the way of asking, the
processor or this code changed; an interrupted model resumes. Several processes answer, the longest work first; each has
cores of its own but shares the memory, so latencies are longer than alone.

    rows = of_files([Asked("tiny", Path("tiny.gguf"), {"dev": dev})], task, threads=2, at_once=0)
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

from tqdm.auto import tqdm

from lib.core import files, provenance
from lib.core.examples import digest_examples
from lib.core.files import Row
from lib.core.task import Example, System, Task
from lib.evaluation.evaluate import evaluate
from lib.runtime.gguf_student import GgufStudent

Tests = Mapping[str, Sequence[Example]]  # resolved examples by the name of their test


@dataclass(frozen=True)
class Asked:
    """Which tests, kept in one file, a model answers under which name, and how.

    An answer of more than ``max_new`` tokens is wrong.
    """

    name: str
    file: Path
    tests: Tests
    grammar: bool = True
    max_new: int = 256

    @property
    def kept(self) -> Path:
        """The file of its records."""
        tests = re.sub(r"\W+", "_", "_".join(self.tests))
        how = "" if self.grammar else "_free"
        return self.file.with_name(f"{self.file.stem}{how}_{tests}_answers.jsonl")

    @property
    def work(self) -> int:
        """How long it takes, roughly."""
        return self.file.stat().st_size * sum(map(len, self.tests.values()))

    def key(self, threads: int) -> str:
        """What its answers depend on."""
        processor = {name: provenance.hardware()[name] for name in ("cpu", "cores")}
        how = {"threads": threads, "grammar": self.grammar, "max_new": self.max_new}
        return _key([self.name, files.sha256(self.file), how, processor], self.tests)


def of_files(asked: Sequence[Asked], task: Task, threads: int = 2, at_once: int = 1) -> list[Row]:
    """The records of all files, in order. ``at_once``: processes that answer; 0 = as many as there are cores for.

    Raises GgufError for a file that is no student of ``task``, once the others are done.
    """
    keys = [one.key(threads) for one in asked]  # each reads a whole file: once, and with all cores
    left = [(one, key) for one, key in zip(asked, keys, strict=True) if not _is_complete(one.kept, key)]
    left.sort(key=lambda pair: -pair[0].work)
    lanes = cores(threads, at_once)
    alone = len(lanes) == 1 or len(left) <= 1
    answer = partial(_of_file, task=task, threads=threads, progress=alone)
    if alone:
        for one, key in left:
            answer(one, key)
    else:
        context = get_context("spawn")
        free = context.Queue()
        for lane in lanes:
            free.put(lane)
        with ProcessPoolExecutor(len(lanes), context, initializer=_pin, initargs=(free, os.getpid())) as pool:
            list(tqdm(pool.map(answer, *zip(*left, strict=True)), "models", len(left), disable=None))
    return [row for one in asked for row in files.read_jsonl(one.kept)]


def cores(threads: int, at_once: int) -> list[list[int]]:
    """The cores of each process: as many processes as asked for and as there are cores for."""
    found = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    most = max(len(found) // threads, 1)
    return [found[i * threads : (i + 1) * threads] for i in range(min(at_once or most, most))]


def _pin(free: Any, parent: int) -> None:
    """Gives a process its cores, and ends it when its parent ends, however that does."""
    os.sched_setaffinity(0, free.get())

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _of_file(asked: Asked, key: str, task: Task, threads: int, progress: bool) -> None:
    system = GgufStudent(asked.file, task, grammar=asked.grammar, threads=threads, max_new=asked.max_new)
    _keep(system, asked, key, task, progress)


def of_student(name: str, student: Any, tests: Tests, task: Task, kept: Path) -> list[Row]:
    """The records of a ``Student`` in torch, under ``name``, asked in batches without a grammar; beside ``kept``."""
    from lib.model.student import weights_digest  # torch, which processes that answer do without
    from lib.model.torch_student import TorchStudent

    asked, key = Asked(name, kept, tests), _key([name, weights_digest(student.model)], tests)
    if not _is_complete(asked.kept, key):
        _keep(TorchStudent(student, task, name), asked, key, task)
    return files.read_jsonl(asked.kept)


def _keep(system: System, asked: Asked, key: str, task: Task, progress: bool = True) -> None:
    system.name = asked.name
    with files.Resumable(asked.kept, key=key) as out:
        for test, examples in asked.tests.items():
            evaluate(system, examples, task, test, out, progress)
    files.write_json(asked.kept.with_suffix(".json"), {"key": key, "sha256": files.sha256(asked.kept)})


def _is_complete(path: Path, key: str) -> bool:
    """Whether all records of ``key`` are kept in ``path``."""
    done = files.known(path.with_suffix(".json"))
    return path.is_file() and done == {"key": key, "sha256": files.sha256(path)}


def _key(parts: Sequence[Any], tests: Tests) -> str:
    return files.digest([*parts, {test: digest_examples(examples) for test, examples in tests.items()}, _code()])


_code = cache(partial(provenance.library, "from lib.experiments import predictions"))
