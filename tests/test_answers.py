"""Answers of each model are kept, and asked for again only if something changed."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib import answers
from lib.gguf import export

ASKED = {"one": examples(1, 3)[0], "two": examples(1, 2, seed=1)[0]}


class Asked:
    """A system that counts what it is asked."""

    name = "x"
    count = 0

    def __init__(self, *arguments: Any, **how: Any) -> None: ...

    def answer(self, text: str, context: dict[str, Any]) -> Any:
        from lib.task import Answer

        Asked.count += 1
        if Asked.count == 3:
            raise KeyboardInterrupt
        return Answer([], raw="none", latency_ms=1.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    return export(saved_student(folder / "student", layers=1), folder / "m.gguf", "q8_0")


def test_every_request_gets_one_record_under_the_name(file: Path) -> None:
    rows = answers.of_file("model m", file, ASKED, TASK, threads=1, max_new=8)
    assert [(r["test"], r["id"]) for r in rows] == [(t, e.id) for t, group in ASKED.items() for e in group]
    assert {r["system"] for r in rows} == {"model m"}
    assert answers.of_file("model m", file, ASKED, TASK, threads=1, max_new=8) == rows, "read, not asked again"
    free = answers.of_file("m free", file, ASKED, TASK, threads=1, grammar=False, max_new=8)
    assert {r["system"] for r in free} == {"m free"}
    assert answers.of_file("model m", file, ASKED, TASK, threads=1, max_new=8) == rows


def test_an_interrupted_model_goes_on_and_a_changed_one_starts_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "GgufStudent", Asked)
    Asked.count, asked = 0, {"one": ASKED["one"]}
    with pytest.raises(KeyboardInterrupt):
        answers.of_file("y", file, asked, TASK, threads=1)  # the first request is the warm-up
    for _ in range(2):
        assert len(answers.of_file("y", file, asked, TASK, threads=1)) == 3
    assert Asked.count == 3 + 1 + 2, "one record was there, and nothing is asked when all are"
    answers.of_file("y", file, asked, TASK, threads=2)
    assert Asked.count == 6 + 1 + 3
    answers.of_file("y", file, {"one": ASKED["one"][:1]}, TASK, threads=2)
    assert Asked.count == 10 + 1 + 1


def test_a_student_in_torch(tmp_path: Path) -> None:
    student = tiny_student(layers=1)
    rows = answers.of_student("torch", student, ASKED, TASK, tmp_path / "t.jsonl")
    assert {r["system"] for r in rows} == {"torch"} and len(rows) == 5
    assert answers.of_student("torch", student, ASKED, TASK, tmp_path / "t.jsonl") == rows
