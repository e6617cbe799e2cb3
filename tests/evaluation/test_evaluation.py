"""The one path from a system to records: scores, errors, batches and resuming."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib.core import files
from lib.core.task import Answer, Call, Example, Score, TaskError
from lib.evaluation.evaluate import evaluate

CALL = {"name": "Do", "arguments": {}}


class Exact:
    """A task whose scorer compares calls; nothing else of a task is needed to evaluate."""

    name = "exact"

    def score(self, example: Example, calls: Sequence[Call]) -> Score:
        right = list(calls) in example.gold
        return Score(right, float(right), "" if right else "wrong_target")


class Echo:
    """Does what the text says: 'do', nothing, an error of the task, an error in the answer, or a crash."""

    name = "echo"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        self.asked.append(text)
        if text == "crash":
            raise RuntimeError("out of order")
        if text == "too long":
            raise TaskError("at most 9 characters")
        if text == "garbled":
            return Answer([], raw="Do(", error="not a call")
        return Answer([CALL] if text == "do" else [], raw=text, confidence=0.5, prompt_tokens=7, new_tokens=2)


class Batched(Echo):
    """The same, but it takes many requests at once."""

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        return [self.answer(text, context) for text, context in requests]


def examples(*texts: str) -> list[Example]:
    return [Example(f"e{i}", t, {}, [[CALL] if t == "do" else []], "L0", "made", "dev") for i, t in enumerate(texts)]


def run(system: Any, chosen: list[Example], path: Path) -> list[dict[str, Any]]:
    with files.Resumable(path) as out:
        return evaluate(system, chosen, Exact(), "dev", out, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Echo, Batched])
def test_records_are_complete_and_in_order(tmp_path: Path, kind: type[Echo]) -> None:
    rows = run(kind(), examples("do", "rest", "garbled"), tmp_path / "p.jsonl")
    assert rows == files.read_jsonl(tmp_path / "p.jsonl")
    assert [r["id"] for r in rows] == ["e0", "e1", "e2"]
    assert rows[0].pop("latency_ms") > 0
    known = {"id": "e0", "system": "echo", "test": "dev", "level": "L0", "calls": [CALL], "raw": "do", "error": ""}
    known |= {
        "confidence": 0.5,
        "prompt_tokens": 7,
        "cached_tokens": 0,
        "new_tokens": 2,
        "llm_calls": 0,
        "ask": None,
    }
    assert rows[0] == {**known, "exact": True, "reward": 1.0, "reason": ""}


def test_an_error_is_wrong_even_where_nothing_is_to_be_done(tmp_path: Path) -> None:
    garbled, too_long = run(Echo(), examples("garbled", "too long"), tmp_path / "p.jsonl")
    assert (garbled["exact"], garbled["reason"], garbled["error"]) == (False, "error", "not a call")
    assert (too_long["exact"], too_long["reward"], too_long["error"]) == (False, 0.0, "at most 9 characters")


def test_interrupted_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run(Echo(), examples("do", "crash", "rest"), tmp_path / "p.jsonl")
    assert not (tmp_path / "p.jsonl").exists()
    system = Echo()
    rows = run(system, examples("do", "rest", "do"), tmp_path / "p.jsonl")
    assert system.asked == ["do", "rest", "do"]  # the first to warm up
    assert [r["id"] for r in rows] == ["e0", "e1", "e2"]


def test_records_of_other_orders_that_were_asked_once_are_no_answers(tmp_path: Path) -> None:
    with files.Resumable(tmp_path / "p.jsonl") as out:
        old = evaluate(Echo(), examples("do"), Exact(), "dev", out, progress=False)  # type: ignore[arg-type]
        out.rows[:] = [{**old[0], "order": 0}, {**old[0], "order": 1, "exact": False}]
        rows = evaluate(system := Echo(), examples("do"), Exact(), "dev", out, progress=False)  # type: ignore[arg-type]
    assert system.asked == [] and [(r["order"], r["exact"]) for r in rows] == [(0, True)]


class Cold(Echo):
    """Says that its first request took 500 ms and the others 1 ms."""

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return replace(super().answer(text, context), latency_ms=1.0 if self.asked[1:] else 500.0)


def test_a_cold_start_is_in_no_recorded_latency(tmp_path: Path) -> None:
    system = Cold()
    rows = run(system, examples("do", "rest"), tmp_path / "p.jsonl")
    assert [(r["id"], r["latency_ms"]) for r in rows] == [("e0", 1.0), ("e1", 1.0)]
    assert system.asked == ["rest", "do", "rest"]
    batched = Batched()
    run(batched, examples("do", "rest"), tmp_path / "b.jsonl")
    assert batched.asked == ["do", "rest"], "batches are not warmed up"


def test_nobody_is_asked_when_everything_is_recorded(tmp_path: Path) -> None:
    system = Echo()
    with files.Resumable(tmp_path / "p.jsonl") as out:
        for _ in range(2):
            evaluate(system, examples("do"), Exact(), "dev", out, progress=False)  # type: ignore[arg-type]
    assert system.asked == ["do", "do"]
    assert len(files.read_jsonl(tmp_path / "p.jsonl")) == 1


def test_systems_and_tests_share_a_file(tmp_path: Path) -> None:
    other = Echo()
    other.name = "other"
    with files.Resumable(tmp_path / "p.jsonl") as out:
        for system, test in ((Echo(), "dev"), (other, "dev"), (Echo(), "test")):
            assert len(evaluate(system, examples("do"), Exact(), test, out, progress=False)) == 1  # type: ignore[arg-type]
    rows = files.read_jsonl(tmp_path / "p.jsonl")
    assert [(r["system"], r["test"]) for r in rows] == [("echo", "dev"), ("other", "dev"), ("echo", "test")]
