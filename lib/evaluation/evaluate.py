"""Runs a system over a test and records every answer with its score: the one path that all systems go through.

Rule systems and GGUF files are asked one request at a time, as a user would; a system whose latency is not reported
(the torch reference) offers ``answer_many`` and is asked in batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from lib.core.files import Resumable
from lib.core.task import Answer, Example, Score, System, Task


def evaluate(
    system: System,
    examples: Sequence[Example],
    task: Task,
    test: str,
    out: Resumable,
    progress: bool = True,
    chunk: int = 64,
) -> list[dict[str, Any]]:
    """The record of each example, appended to ``out``; what is there is not asked again.

    ``test``: the set's name in the records; ``chunk``: requests that ``answer_many`` gets at a time.
    """
    own = (row for row in out.rows if (row["system"], row["test"]) == (system.name, test))
    known = {row["id"]: row for row in own if not row.get("order")}
    rest, label = [e for e in examples if e.id not in known], f"{system.name} on {test}"
    with tqdm(total=len(rest), desc=label, unit=" requests", mininterval=2, disable=not (progress and rest)) as bar:
        for example, answer in zip(rest, _answers(system, rest, chunk), strict=True):
            known[example.id] = record(system.name, example, answer, task, test)
            out.append(known[example.id])
            bar.update()
    return [known[e.id] for e in examples]


def _answers(system: System, examples: Sequence[Example], size: int) -> Iterator[Answer]:
    """In chunks, whose time is shared out evenly, where there is ``answer_many``; else one by one, after an unrecorded

    request, since loading is no part of a request's time: the last one, whose context the first seldom shares.
    """
    many, size = getattr(system, "answer_many", None), max(size, getattr(system, "batch", 0))
    if many is None:
        for example in examples[-1:]:
            ask(system, example.text, example.context)
        yield from (ask(system, e.text, e.context) for e in examples)
        return
    for start in range(0, len(examples), size):
        chunk = examples[start : start + size]
        started = time.perf_counter()
        answers = many([(e.text, e.context) for e in chunk])
        each = (time.perf_counter() - started) * 1000 / len(chunk)
        yield from (_timed(a, each) for a in answers)


def ask(system: System, text: str, context: dict[str, Any]) -> Answer:
    """One answer, timed; bad input (a ValueError, TaskError included) becomes an answer with that error."""
    started = time.perf_counter()
    try:
        answer = system.answer(text, context)
    except ValueError as error:
        answer = Answer([], error=str(error))
    return _timed(answer, (time.perf_counter() - started) * 1000)


def _timed(answer: Answer, elapsed_ms: float) -> Answer:
    return answer if answer.latency_ms else replace(answer, latency_ms=elapsed_ms)


def record(system: str, example: Example, answer: Answer, task: Task, test: str) -> dict[str, Any]:
    """The record of one answer. One with an error counts as wrong, even where nothing was to be done."""
    score = Score(False, 0.0, "error") if answer.error else task.score(example, answer.calls)
    asked = {"id": example.id, "system": system, "test": test, "level": example.level}
    return {**asked, **vars(answer), "latency_ms": round(answer.latency_ms, 3), **vars(score)}
