"""What the tests of the bench share: the toy task with a sample of its own, and rows as a worker would write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toy_task import Vending, examples

from lib.core.files import Row, write_jsonl
from lib.core.task import Answer, Call, Example, System
from lib.llm.types import Prompt
from lib.teacher.pipeline import Ask

MACHINE: Row = {"kind": "machine", "threads": 1, "bandwidth": 1e9, "arithmetic": 2e9}


class Silent:
    """A System that does nothing; ``name`` is all that is known of it."""

    def __init__(self, name: str = "silent") -> None:
        self.name = name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return Answer([])


class Asking:
    """A one-stage prompt of a few words."""

    def ask(self, text: str, context: Mapping[str, Any]) -> Ask[list[Call]]:
        return Ask(Prompt.of(f"The machine has {', '.join(context['items'])}.", text, max_tokens=4), lambda raw: [])


class Sampled(Vending):
    """The toy task with what a bench asks of a task beside: a sample, baselines and prompts for large models."""

    writer = prototype = teacher_set = masked = recordings = None

    def sample(self, values: Mapping[str, Any], out: Path) -> dict[str, Any]:
        write_jsonl(out / "01_homes.jsonl", [])
        for name, count in (("01_tests.jsonl", values["dev"]), ("01_prototype.jsonl", values.get("seeds", 8) // 8)):
            groups = examples(count, 8, seed=values.get("seed", 0))
            write_jsonl(out / name, (e.to_dict() for group in groups for e in group))
        return {}

    def contexts(self, path: Path) -> dict[str, Any]:
        return {}

    def resolve(self, found: Iterable[Example], contexts: Mapping[str, Any]) -> list[Example]:
        return list(found)

    def baselines(self, train: Sequence[Example]) -> list[System]:
        return [Silent()]

    def one_stage(self, pool: Sequence[Example]) -> dict[str, Asking]:
        return {"short": Asking()}


def replies(job: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of a job without doing it: a cold request takes 100 ms, a warm one 10."""
    if "system" not in job:
        yield MACHINE
        return
    name = job["system"]["name"]
    for block in job["blocks"]:
        for number, key in enumerate(block):
            yield reply(name, key, "warm" if number else "cold", 10.0 if number else 100.0)
    yield {"system": name, "kind": "process", "load_s": 1.0, "peak_mb": 50.0}
    if job["system"]["file"]:
        yield {"system": name, "kind": "speed", "prompt_tokens_s": 1e5, "decode_tokens_s": 500.0}


def reply(name: str, key: str, kind: str, ms: float, **more: Any) -> Row:
    """One answered request."""
    counts = {"prompt_tokens": 20, "cached_tokens": 15, "new_tokens": 4}
    return {"system": name, "id": key, "kind": kind, "ms": ms, **counts, "exact": True, "error": "", **more}
