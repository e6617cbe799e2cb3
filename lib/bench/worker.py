"""The process that measures one system and ends, so that memory and caches are that system's alone.

A job comes as JSON in the argument, rows go as JSON lines to stdout; an error is a line on stderr and exit code 2. A
job with a ``system`` answers blocks of requests, each about one context: the first finds an empty cache (cold), the
others find the context in it (warm). There is a row for each (wall time from text to calls, in ms), one for the process
(peak memory, time to load), and for a GGUF one with its speed without grammar and task. A job without a system measures
the machine. The process keeps to the first ``threads`` cores that it may use.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from lib.core import params, paths
from lib.core.examples import read_examples
from lib.core.files import Row, dumps
from lib.core.task import Example, StudyTask, System, TaskError
from lib.evaluation.evaluate import ask
from lib.tasks import load

Request = TypeVar("Request")
HOMES, SEEDS, TESTS = "01_homes.jsonl", "01_prototype.jsonl", "01_tests.jsonl"
PROMPT_TOKENS, NEW_TOKENS, REPEATS = 256, 64, 3
LARGE, SIDE, TIMED = 512_000_000, 1024, 8
"""Bytes of a read that no cache holds, rows and columns of the matrices, and how often each is timed."""
_PROMPT = [10 + i % 200 for i in range(PROMPT_TOKENS)]
Forget = Callable[[], object]


def draw(task: StudyTask, values: Mapping[str, Any], folder: Path) -> None:
    """Writes a sample: the first notebook's smoke parameters, changed by ``values``. Raises ParamsError."""
    defaults = params.load(paths.notebooks()[0], "smoke")
    params.check(defaults, dict(values), "params/bench.yaml: sample")
    folder.mkdir(parents=True, exist_ok=True)
    task.sample({**defaults, **values}, folder)


def read(task: StudyTask, folder: Path, name: str = TESTS) -> list[Example]:
    """The sample's examples of one file, each with its whole context."""
    return task.resolve(read_examples(folder / name), task.contexts(folder / HOMES))


def by_context(task: StudyTask, folder: Path, seed: int) -> list[list[Example]]:
    """The sample's requests that one call answers, by context, in an order drawn with ``seed``."""
    groups: dict[Any, list[Example]] = {}
    for example in read(task, folder):
        groups.setdefault(tuple(task.prefix(task.references(example.context))), []).append(example)
    kept = [[e for e in group if e.gold and all(len(calls) == 1 for calls in e.gold)] for group in groups.values()]
    rng = Random(seed)
    return [rng.sample(group, len(group)) for group in kept if group]


def plan(groups: Sequence[Sequence[Request]], cold: int, warm: int) -> list[list[Request]]:
    """Blocks of the first ``cold`` contexts with ``warm`` further ones in all. Raises TaskError for too few."""
    counts = [warm * (i + 1) // cold - warm * i // cold for i in range(cold)]
    if len(groups) < cold or any(len(g) <= n for g, n in zip(groups, counts, strict=False)):
        raise TaskError(
            f"params/bench.yaml: {cold} contexts with {warm + cold} requests are asked for, the sample has "
            f"{[len(g) for g in groups]} for each of its own: raise sample.dev or lower cold and warm"
        )
    return [list(group[: 1 + n]) for group, n in zip(groups, counts, strict=False)]


def rows(job: Mapping[str, Any], task: StudyTask | None = None) -> Iterator[Row]:
    """Does a job. Raises a ValueError that says what is wrong with it, or what the system's modules raise."""
    if "system" not in job:
        yield {"kind": "machine", "threads": job["threads"], **machine(job["threads"])}
        return
    task, folder, system = task or load(job["task"]), Path(job["folder"]), job["system"]
    examples = {e.id: e for e in read(task, folder)}
    began = time.perf_counter()
    opened, forget = _open(system, task, folder, examples[job["spare"]], job["threads"])
    took = time.perf_counter() - began
    for row in answer(opened, forget, [[examples[i] for i in block] for block in job["blocks"]], task):
        yield {"system": system["name"], **row}
    del opened, forget
    memory = {"load_s": round(took, 3), "peak_mb": round(peak_bytes() / 1e6, 1)}
    yield {"system": system["name"], "kind": "process", **memory}
    if system["file"]:
        yield {"system": system["name"], **speed(Path(system["file"]), job["threads"], system["runtime"])}


def answer(
    system: System, forget: Forget, blocks: Sequence[Sequence[Example]], task: StudyTask, clock: Any = time.perf_counter
) -> Iterator[Row]:
    """Asks the blocks in turn; ``forget`` is called before each, so that its first request finds an empty cache."""
    for block in blocks:
        forget()
        for number, example in enumerate(block):
            began = clock()
            said = ask(system, example.text, example.context)
            row = {"id": example.id, "kind": "warm" if number else "cold", "ms": round(1000 * (clock() - began), 3)}
            row |= {name: getattr(said, name) for name in ("prompt_tokens", "cached_tokens", "new_tokens", "error")}
            yield {**row, "exact": not said.error and task.score(example, said.calls).exact}


def _open(given: Row, task: StudyTask, folder: Path, spare: Example, threads: int) -> tuple[System, Forget]:
    """The system, and what makes it forget the last context; ``spare``: a request of a context that is not measured."""
    if given["kind"] == "llm":
        return _large(given, task, folder, threads)
    if given["kind"] == "student":
        from lib.runtime.gguf_student import GgufStudent

        system: System = GgufStudent(Path(given["file"]), task, threads=threads, runtime=given["runtime"])
    else:
        system = _chosen({s.name: s for s in task.baselines([])}, given["name"], "baselines")
    return system, lambda: ask(system, spare.text, spare.context)


def _large(given: Row, task: StudyTask, folder: Path, threads: int) -> tuple[System, Forget]:
    """A chat model behind one of the task's one-stage prompts; a one-token prompt makes it forget."""
    from lib.llm.gguf import GgufBackend
    from lib.llm.types import Prompt
    from lib.teacher.contract import teacher_task
    from lib.teacher.pipeline import OneStageSystem

    prompts = teacher_task(task).one_stage(read(task, folder, SEEDS))
    style = _chosen(prompts, given["prompt"] or next(iter(prompts)), f"llms.{given['name']}: prompt")
    backend = GgufBackend(Path(given["file"]), threads, given["context_tokens"], name=given["name"])
    return OneStageSystem(style, backend, given["name"]), lambda: backend.complete([Prompt.of("", "-", max_tokens=1)])


def _chosen(known: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in known:
        raise ValueError(f"params/bench.yaml: {where}: the task has no '{name}': use one of {', '.join(known)}")
    return known[name]


def speed(path: Path, threads: int, runtime: str) -> Row:
    """Tokens per second of a GGUF's weights alone: medians over REPEATS prompts of PROMPT_TOKENS tokens."""
    from lib.runtime.llama_server import instructions

    onnx = runtime == "onnx"
    engine = {"engine": "ONNX Runtime" if onnx else "llama.cpp", "instructions": "" if onnx else instructions()}
    prompt, decode = map(statistics.median, zip(*(_onnx if onnx else _served)(path, threads), strict=True))
    return {"kind": "speed", "prompt_tokens_s": prompt, "decode_tokens_s": decode, **engine}


def _onnx(path: Path, threads: int) -> Iterator[tuple[float, float]]:
    """Tokens of the prompt, and new ones, per second, by ONNX Runtime."""
    from lib.model.gguf_read import GgufFile
    from lib.runtime.onnx_engine import OnnxModel

    model = OnnxModel(GgufFile(path), threads, 2 * (PROMPT_TOKENS + NEW_TOKENS))
    for _ in range(REPEATS):
        model.keep(0)
        began = time.perf_counter()
        model.feed(_PROMPT)
        read = time.perf_counter()
        for i in range(NEW_TOKENS):
            model.feed([10 + i])
        yield PROMPT_TOKENS / (read - began), NEW_TOKENS / (time.perf_counter() - read)


def _served(path: Path, threads: int) -> Iterator[tuple[float, float]]:
    """The same by the server, whose first new token comes out of the prompt's pass: one decoding step fewer."""
    from lib.runtime.llama_server import open_server

    server = open_server(path, threads, 2 * (PROMPT_TOKENS + NEW_TOKENS))
    asked = {"prompt": _PROMPT, "n_predict": NEW_TOKENS, "ignore_eos": True, "cache_prompt": False}
    for _ in range(REPEATS):
        t = server.handle_completions({**asked, "temperature": 0.0, "samplers": ["temperature"]})["timings"]
        yield 1000 * t["prompt_n"] / t["prompt_ms"], 1000 * (t["predicted_n"] - 1) / t["predicted_ms"]


def machine(threads: int) -> Row:
    """``bandwidth`` (bytes per second of a large read) and ``arithmetic`` (operations per second of torch's matrix

    product: int8, or fp32 where that is faster or int8 is unknown) with ``threads`` threads.
    """
    import torch

    torch.set_num_threads(threads)
    floats, large = torch.ones(SIDE, SIDE), torch.ones(LARGE // 4, dtype=torch.int32)
    integers, taken = floats.to(torch.int8), [_fastest(lambda: floats @ floats)]
    with contextlib.suppress(RuntimeError, NotImplementedError):  # not on every processor
        taken.append(_fastest(lambda: torch._int_mm(integers, integers)))
    return {"bandwidth": LARGE / _fastest(large.amax), "arithmetic": 2 * SIDE**3 / min(taken)}


def _fastest(action: Callable[[], object]) -> float:
    """Seconds of the fastest of TIMED runs after one that does not count."""
    taken = []
    for _ in range(TIMED + 1):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def peak_bytes() -> int:
    """The most memory that this process has had resident, file pages of the model included."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the process that started this one
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever a library prints goes to stderr
        job = json.loads(sys.argv[1])
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
        try:
            for row in rows(job):
                print(dumps(row), file=out, flush=True)
        except (ValueError, RuntimeError) as error:  # RuntimeError: an engine cannot load the file
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
