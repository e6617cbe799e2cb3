"""The process that measures one thing of one system and ends, so that memory and caches are that system's alone.

A job comes as JSON on stdin, rows go as JSON lines to stdout as they come; an error is one line on stderr and exit code
2. The process keeps to the first ``threads`` of the cores that it may use, and every system gets the same ones.

- ``requests``: answers blocks of requests; a row each (wall time of ``answer`` from text to calls, in ms), and at the
  end one with the process's peak memory and the time that loading took;
- ``speed``: the engine alone, no grammar, no task: prompt and decoded tokens a second;
- ``machine``: bandwidth and arithmetic (``lib.bench.limits``).

    echo '{"do": "speed", "threads": 2, "system": {"name": "x", "kind": "student", "file": "x.gguf"}}' \\
        | python -m lib.bench.worker
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

from lib.bench.requests import SEEDS, read
from lib.core.files import Row, dumps
from lib.core.task import Example, StudyTask, System
from lib.evaluation.evaluate import ask
from lib.tasks import load

PROMPT_TOKENS, NEW_TOKENS, REPEATS = 256, 64, 3
Clock = Callable[[], float]


def rows(job: Mapping[str, Any], task: StudyTask | None = None) -> Iterator[Row]:
    """Does a job. Raises a ValueError that says what is wrong with it, or what the system's modules raise."""
    if job["do"] == "machine":
        yield _machine(job)
    elif job["do"] == "speed":
        system = job["system"]
        kind = system["runtime"] if system["kind"] == "student" else "server"
        yield {"system": system["name"], **speed(Path(system["file"]), job["threads"], kind)}
    else:
        yield from requests(job, task or load(job["task"]))


def _machine(job: Mapping[str, Any]) -> Row:
    from lib.bench.limits import measure

    found = measure(job["threads"], job["sizes"])
    return {"kind": "machine", **vars(found), "own": {str(size): rate for size, rate in found.own.items()}}


def requests(job: Mapping[str, Any], task: StudyTask) -> Iterator[Row]:
    """A row for each request of ``job["blocks"]`` (ids), then the process's own."""
    folder = Path(job["folder"])
    examples = {e.id: e for e in read(task, folder)}
    began = time.perf_counter()
    system, forget = open_system(job["system"], task, folder, examples[job["spare"]], job["threads"])
    took = time.perf_counter() - began
    yield from answer(system, forget, [[examples[i] for i in block] for block in job["blocks"]], task)
    yield {"system": system.name, "kind": "process", "load_s": round(took, 3), "peak_mb": round(peak_bytes() / 1e6, 1)}


def answer(
    system: System,
    forget: Callable[[], object],
    blocks: Sequence[Sequence[Example]],
    task: StudyTask,
    clock: Clock = time.perf_counter,
) -> Iterator[Row]:
    """Asks the blocks in turn; ``forget`` is called before each, so that its first request finds nothing read."""
    for block in blocks:
        forget()
        for number, example in enumerate(block):
            began = clock()
            said = ask(system, example.text, example.context)
            took = 1000 * (clock() - began)
            yield {
                "system": system.name,
                "id": example.id,
                "kind": "warm" if number else "cold",
                "ms": round(took, 3),
                "prompt_tokens": said.prompt_tokens,
                "cached_tokens": said.cached_tokens,
                "new_tokens": said.new_tokens,
                "exact": not said.error and task.score(example, said.calls).exact,
                "error": said.error,
            }


def open_system(
    given: Mapping[str, Any], task: StudyTask, folder: Path, spare: Example, threads: int
) -> tuple[System, Callable[[], object]]:
    """The system, and what makes it forget the last context; ``spare``: a request of a context that is not measured.

    Raises what the system's class raises.
    """
    if given["kind"] == "llm":
        return _large(given, task, folder, threads)
    if given["kind"] == "student":
        from lib.runtime.gguf_student import GgufStudent

        system: System = GgufStudent(Path(given["file"]), task, threads=threads, runtime=given["runtime"])
    else:
        system = next(s for s in task.baselines([]) if s.name == given["name"])
    system.name = given["name"]
    return system, lambda: ask(system, spare.text, spare.context)


def _large(
    given: Mapping[str, Any], task: StudyTask, folder: Path, threads: int
) -> tuple[System, Callable[[], object]]:
    """A chat model behind one of the task's one-stage prompts; a prompt of one word makes it forget."""
    from lib.llm.gguf import GgufBackend
    from lib.llm.types import Prompt
    from lib.teacher.contract import teacher_task
    from lib.teacher.pipeline import OneStageSystem

    prompts = teacher_task(task).one_stage(read(task, folder, SEEDS))
    style = prompts[given["prompt"] or next(iter(prompts))]
    backend = GgufBackend(Path(given["file"]), threads, given["context_tokens"], name=given["name"])
    return OneStageSystem(style, backend, given["name"]), lambda: backend.complete([Prompt.of("", "-", max_tokens=1)])


def speed(path: Path, threads: int, kind: str = "", repeats: int = REPEATS, clock: Clock = time.perf_counter) -> Row:
    """Tokens a second of a GGUF's weights alone: medians over ``repeats`` prompts of PROMPT_TOKENS tokens.

    ``kind``: a runtime of lib/runtime/decode.py, or empty for the one that a student is run by.
    """
    from lib.model.gguf_read import GgufFile
    from lib.runtime import llama_server
    from lib.runtime.decode import suits

    kind = kind or suits(GgufFile(path))
    timed = _served(path, threads, repeats) if kind == "server" else _alone(path, threads, repeats, clock)
    prompt, decode = zip(*timed, strict=True)
    return {
        "kind": "speed",
        "engine": "ONNX Runtime" if kind == "onnx" else "llama.cpp",
        "prompt_tokens_s": statistics.median(prompt),
        "decode_tokens_s": statistics.median(decode),
        "instructions": "" if kind == "onnx" else llama_server.instructions(),
    }


_PROMPT = [10 + i % 200 for i in range(PROMPT_TOKENS)]


def _alone(path: Path, threads: int, repeats: int, clock: Clock) -> list[tuple[float, float]]:
    """Tokens of the prompt, and new ones, a second, by ONNX Runtime."""
    from lib.model.gguf_read import GgufFile
    from lib.runtime.onnx_engine import EngineError, OnnxModel

    room = 2 * (PROMPT_TOKENS + NEW_TOKENS)
    try:
        model = OnnxModel(GgufFile(path), threads, room)
    except EngineError as error:
        raise ValueError(f"{path.name}: {error}") from error
    timed = []
    for _ in range(repeats):
        model.keep(0)
        began = clock()
        model.feed(_PROMPT)
        read = clock()
        for i in range(NEW_TOKENS):
            model.feed([10 + i])
        timed.append((PROMPT_TOKENS / (read - began), NEW_TOKENS / (clock() - read)))
    return timed


def _served(path: Path, threads: int, repeats: int) -> list[tuple[float, float]]:
    """The same by the server, whose first new token comes out of the prompt's pass: one decoding step fewer."""
    server = _server(path, threads)
    request = {
        "prompt": _PROMPT,
        "n_predict": NEW_TOKENS,
        "ignore_eos": True,
        "temperature": 0.0,
        "samplers": ["temperature"],
        "cache_prompt": False,
    }
    timings = [server.handle_completions(request)["timings"] for _ in range(repeats)]
    return [(1000 * t["prompt_n"] / t["prompt_ms"], 1000 * (t["predicted_n"] - 1) / t["predicted_ms"]) for t in timings]


def _server(path: Path, threads: int) -> Any:
    from lib.runtime.llama_server import LlamaError, open_server

    try:
        return open_server(path, threads, 2 * (PROMPT_TOKENS + NEW_TOKENS))
    except LlamaError as error:
        raise ValueError(f"{path.name}: {error}") from error


def peak_bytes() -> int:
    """The most memory that this process has had resident, file pages of the model included."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_to_cores(threads: int) -> None:
    """Restricts this process to the first ``threads`` cores that it may use, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> int:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever a library prints goes to stderr
        job = json.load(sys.stdin)
        keep_to_cores(job["threads"])
        try:
            for row in rows(job):
                out.write(dumps(row) + "\n")
                out.flush()
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
