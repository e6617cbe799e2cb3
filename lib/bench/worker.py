"""The process that measures one system and ends, so that memory and caches are that system's alone.

A job comes as JSON on stdin, rows go as JSON lines to stdout; an error is one line on stderr and exit code 2. The
process keeps to the first ``threads`` cores that it may use. A job with a ``system`` answers blocks of requests: a row
for each (wall time from text to calls, in ms), one for the process (peak memory, time to load) and for a GGUF one with
its speed without grammar and task. A job without one measures the machine (``lib.bench.limits``).
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.bench.limits import measure
from lib.bench.requests import SEEDS, read
from lib.core.files import Row, dumps
from lib.core.task import Example, StudyTask, System
from lib.evaluation.evaluate import ask
from lib.tasks import load

PROMPT_TOKENS, NEW_TOKENS, REPEATS = 256, 64, 3
_PROMPT = [10 + i % 200 for i in range(PROMPT_TOKENS)]
Forget = Callable[[], object]


def rows(job: Mapping[str, Any], task: StudyTask | None = None) -> Iterator[Row]:
    """Does a job. Raises a ValueError that says what is wrong with it, or what the system's modules raise."""
    if "system" not in job:
        yield {"kind": "machine", **measure(job["threads"])}
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
    system: System,
    forget: Forget,
    blocks: Sequence[Sequence[Example]],
    task: StudyTask,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Asks the blocks in turn; ``forget`` is called before each, so that its first request finds an empty cache."""
    for block in blocks:
        forget()
        for number, example in enumerate(block):
            began = clock()
            said = ask(system, example.text, example.context)
            took = 1000 * (clock() - began)
            yield {
                "id": example.id,
                "kind": "warm" if number else "cold",
                "ms": round(took, 3),
                "prompt_tokens": said.prompt_tokens,
                "cached_tokens": said.cached_tokens,
                "new_tokens": said.new_tokens,
                "exact": not said.error and task.score(example, said.calls).exact,
                "error": said.error,
            }


def _open(
    given: Mapping[str, Any], task: StudyTask, folder: Path, spare: Example, threads: int
) -> tuple[System, Forget]:
    """The system, and what makes it forget the last context; ``spare``: a request of a context that is not measured."""
    if given["kind"] == "llm":
        return _large(given, task, folder, threads)
    if given["kind"] == "student":
        from lib.runtime.gguf_student import GgufStudent

        system: System = GgufStudent(Path(given["file"]), task, threads=threads, runtime=given["runtime"])
    else:
        system = _chosen({s.name: s for s in task.baselines([])}, given["name"], "baselines")
    return system, lambda: ask(system, spare.text, spare.context)


def _large(given: Mapping[str, Any], task: StudyTask, folder: Path, threads: int) -> tuple[System, Forget]:
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


def speed(path: Path, threads: int, runtime: str, repeats: int = REPEATS) -> Row:
    """Tokens per second of a GGUF's weights alone: medians over ``repeats`` prompts of PROMPT_TOKENS tokens."""
    from lib.runtime.llama_server import instructions

    onnx = runtime == "onnx"
    prompt, decode = zip(*(_onnx if onnx else _served)(path, threads, repeats), strict=True)
    engine = {"engine": "ONNX Runtime" if onnx else "llama.cpp", "instructions": "" if onnx else instructions()}
    medians = {"prompt_tokens_s": statistics.median(prompt), "decode_tokens_s": statistics.median(decode)}
    return {"kind": "speed", **medians, **engine}


def _onnx(path: Path, threads: int, repeats: int) -> Iterator[tuple[float, float]]:
    """Tokens of the prompt, and new ones, per second, by ONNX Runtime."""
    from lib.model.gguf_read import GgufFile
    from lib.runtime.onnx_engine import OnnxModel

    model = OnnxModel(GgufFile(path), threads, 2 * (PROMPT_TOKENS + NEW_TOKENS))
    for _ in range(repeats):
        model.keep(0)
        began = time.perf_counter()
        model.feed(_PROMPT)
        read = time.perf_counter()
        for i in range(NEW_TOKENS):
            model.feed([10 + i])
        yield PROMPT_TOKENS / (read - began), NEW_TOKENS / (time.perf_counter() - read)


def _served(path: Path, threads: int, repeats: int) -> Iterator[tuple[float, float]]:
    """The same by the server, whose first new token comes out of the prompt's pass: one decoding step fewer."""
    from lib.runtime.llama_server import open_server

    server = open_server(path, threads, 2 * (PROMPT_TOKENS + NEW_TOKENS))
    asked = {"prompt": _PROMPT, "n_predict": NEW_TOKENS, "ignore_eos": True, "cache_prompt": False}
    asked |= {"temperature": 0.0, "samplers": ["temperature"]}
    for _ in range(repeats):
        t = server.handle_completions(asked)["timings"]
        yield 1000 * t["prompt_n"] / t["prompt_ms"], 1000 * (t["predicted_n"] - 1) / t["predicted_ms"]


def peak_bytes() -> int:
    """The most memory that this process has had resident, file pages of the model included."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the process that started this one
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever a library prints goes to stderr
        job = json.load(sys.stdin)
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
